"""Braces: where each block begins and ends, by the layout where a brace is missing or too many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from lark import Token

from recoverdsl.language.diagnostics import Edit, Mend, replace
from recoverdsl.language.mending.heads import FAR, OPENER, indent_of, is_head, mend_heads, unclosed
from recoverdsl.language.syntax.nodes import Span
from recoverdsl.language.tokens import Mistake, Slip, Tokens, across, adjacent, slip, span_of


def match_braces(result: Tokens, text: str, kinds: Mapping[str, str]) -> None:
    """Give every `{` its `}`; braces that hold a value become what was meant."""
    mend_heads(result, text, kinds)
    blocks = _Blocks(result, text, kinds)
    blocks.drop_surplus()
    blocks.close()


class _Blocks:
    def __init__(self, result: Tokens, text: str, kinds: Mapping[str, str]) -> None:
        self.result, self.text, self.kinds = result, text, kinds
        self.begins: list[int] = []
        """For each token the first of its line."""

    def _slip(self, value: str, at: Span, mistake: Mistake) -> Slip:
        return slip(self.kinds[value], value, at, mistake)

    # --- Too many ends ------------------------------------------------------------------------

    def drop_surplus(self) -> None:
        """Drop a `}` that closes nothing, or open the block that it was meant to close."""
        tokens = self.result.tokens
        first = 0
        for i in range(len(tokens)):
            first = i if i and tokens[i - 1].type == "NEWLINE" else first
            self.begins.append(first)
        depth, since = 0, 0
        closed: int | None = None
        dropped: set[int] = set()
        opened: dict[int, Token] = {}
        turned: dict[int, Token] = {}
        for i, token in enumerate(tokens):
            if token.value == "{":
                depth += 1
            elif token.value == "}" and self._opens_arguments(i):
                closers = (t.value for t in tokens[i + 1 : i + 9] if t.value in (")", "]"))
                opener = "[" if next(closers, ")") == "]" else "("
                help = replace(span_of(token), opener)
                mistake = Mistake("REC123", "this `}` looks the wrong way", help=help)
                turned[i] = self._slip(opener, span_of(token), mistake)
            elif token.value == "}" and (closer := self._closes_bracket(i)):
                help = replace(span_of(token), closer)
                mistake = Mistake("REC123", f"`}}` cannot close `{OPENER[closer]}`", help=help)
                turned[i] = self._slip(closer, span_of(token), mistake)
            elif token.value == "}" and depth:
                depth -= 1
                if not depth:
                    closed, since = i, i + 1
            elif token.value == "}":
                head = self._bare_head(since, i)
                if head is not None:
                    last = tokens[head - 1]
                    place = span_of(last).behind
                    mistake = Mistake(
                        "REC120", "this block is not opened", span=self._head_span(head),
                        help=Mend("add a `{` behind its name", (Edit(place, " {"),)),
                        related=((span_of(token), "it ends here"),),
                    )  # fmt: skip
                    opened[head] = self._slip("{", place, mistake)
                elif closed is not None and self._ends_too_early(closed, i):
                    self._surplus(closed, "this `}` closes the block too early")
                    dropped.add(closed)
                else:
                    self._surplus(i, "there is no block here for this `}` to close")
                    dropped.add(i)
                closed, since = (None if i in dropped else i), i + 1
        if dropped or opened or turned:
            out: list[Token] = []
            for i, token in enumerate(tokens):
                out += [opened[i]] if i in opened else []
                out += [] if i in dropped else [turned.get(i, token)]
            self.result.tokens = out

    def _opens_arguments(self, at: int) -> bool:
        """`wilson}95%)`"""
        near = self.result.tokens[max(0, at - 1) : at + 2]
        return (
            len(near) == 3
            and near[0].type == "NAME"
            and near[2].type in ("NAME", "NUMBER", "STRING")
            and all(adjacent(a, b) for a, b in pairwise(near))
        )

    def _closes_bracket(self, at: int) -> str | None:
        """`folder("x"}`: the bracket that a `}` stands for."""
        tokens = self.result.tokens
        begin = max(self.begins[at], at - FAR)
        after = tokens[at + 1].value if at + 1 < len(tokens) else "\n"
        line = tokens[begin:at]
        if (
            not line
            or not adjacent(line[-1], tokens[at])
            or after not in ("\n", ".", ",", ")", "]")
        ):
            return None
        if any(token.value in ("{", "}") for token in line):
            return None
        lacking = unclosed(line)
        return lacking[-1] if lacking else None

    def _surplus(self, at: int, message: str) -> None:
        place = span_of(self.result.tokens[at])
        begin = self.text.rfind("\n", 0, place.start) + 1
        end = self.text.find("\n", place.end)
        alone = self.text[begin : end if end >= 0 else None].strip() == "}" and end >= 0
        gone = Span(begin, end + 1, place.line, 1, place.line + 1, 1) if alone else place
        help = Mend("remove it", (Edit(gone, ""),))
        self.result.found.append((place, Mistake("REC105", message, help=help)))

    def _bare_head(self, since: int, closing: int) -> int | None:
        """The end of the last line that looks like a block's first and lacks its brace."""
        tokens = self.result.tokens
        column = tokens[self.begins[closing]].column
        for i in range(closing - 1, since, -1):
            if tokens[i].type != "NEWLINE":
                continue
            begin = self.begins[i]
            line = tokens[begin:i]
            if line and line[0].column == column:
                shaped = is_head(line, 0, len(line)) and (len(line) > 1 or i + 1 < closing)
                return i if shaped and all(t.value != "{" for t in line) else None
        return None

    def _head_span(self, end: int) -> Span:
        return across(self.result.tokens[self.begins[end]], self.result.tokens[end - 1])

    def _ends_too_early(self, closed: int, surplus: int) -> bool:
        """Whether what follows a `}` is still further in than the `}` that is too many."""
        tokens = self.result.tokens
        column = tokens[self.begins[surplus]].column
        behind = [i for i in range(closed + 1, surplus) if tokens[i].type != "NEWLINE"]
        firsts = [i for i in behind if tokens[i - 1].type == "NEWLINE"]
        return bool(firsts) and all(tokens[i].column > column for i in firsts)

    # --- Ends that are missing ----------------------------------------------------------------

    def close(self) -> None:
        """Put in the missing closing braces. Which block lacks its own, only the layout can tell."""
        depth = 0
        for token in self.result.tokens:
            depth += {"{": 1, "}": -1}.get(token.value, 0)
        if depth > 0:
            self.result.tokens = list(self._closed())

    def _scan(self) -> Iterator[int]:
        """The tokens before which a block ends by its layout, once for each such block."""
        open_columns: list[int] = []
        first = 1
        previous = None
        for i, token in enumerate(self.result.tokens):
            if previous is None or previous.type == "NEWLINE":
                first = token.column
                while open_columns and token.type != "NEWLINE" and (
                    first < open_columns[-1] or (first == open_columns[-1] and token.value != "}")
                ):  # fmt: skip
                    open_columns.pop()
                    yield i
            if token.value == "{":
                open_columns.append(first)
            elif token.value == "}" and open_columns:
                open_columns.pop()
            previous = token
        for _ in open_columns:
            yield len(self.result.tokens)

    def _closed(self) -> Iterator[Token]:
        """The tokens with the missing closing braces put in, each with its mistake noted."""
        tokens = self.result.tokens
        ends: dict[int, int] = {}
        for i in self._scan():
            ends[i] = ends.get(i, 0) + 1
        opened: list[int] = []
        out: list[Token] = []
        for i in range(len(tokens) + 1):
            for _ in range(ends.get(i, 0)):
                at = opened.pop()
                last = next(t for t in reversed(out) if t.type != "NEWLINE")
                brace = out[at]
                out[at] = self._unclosed(brace, last, tokens[i] if i < len(tokens) else None)
                closing = Token.new_borrow_pos(self.kinds["}"], "}", last)
                newline = Token.new_borrow_pos("NEWLINE", "\n", last)
                out += [closing, newline]
            if i < len(tokens):
                if tokens[i].value == "{":
                    opened.append(len(out))
                elif tokens[i].value == "}" and opened:
                    opened.pop()
                out.append(tokens[i])
        yield from out

    def _unclosed(self, brace: Token, last: Token, after: Token | None) -> Slip:
        same_line = last.end_line == brace.line
        text = " }" if same_line else f"\n{indent_of(self.text, span_of(brace))}}}"
        mistake = Mistake(
            "REC105", "this block is not closed",
            help=Mend("add a `}` where it ends", (Edit(span_of(last).behind, text),)),
            related=((span_of(after), "it should end before this"),) if after is not None else (),
        )  # fmt: skip
        return self._slip("{", span_of(brace), mistake)
