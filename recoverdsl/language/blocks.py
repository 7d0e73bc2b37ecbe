"""Braces: where each block begins and ends, by the layout where a brace is missing or too many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from lark import Token

from recoverdsl.language.diagnostics import Edit, Mend, replace
from recoverdsl.language.nodes import Span
from recoverdsl.language.tokens import (
    Mistake,
    Slip,
    Tokens,
    across,
    adjacent,
    between,
    broken,
    slip,
    span_of,
)

_CLOSERS = {"(": ")", "[": "]"}
_WITHIN_VALUE = frozenset(["=", "(", ",", "[", "<", "<=", ">", ">=", "+", "-", "*", "/"])


def match_braces(result: Tokens, text: str, kinds: Mapping[str, str]) -> None:
    """Give every `{` its `}`; braces that hold a value become what was meant."""
    blocks = _Blocks(result, text, kinds)
    blocks.mend_heads()
    blocks.drop_surplus()
    blocks.close()


class _Blocks:
    def __init__(self, result: Tokens, text: str, kinds: Mapping[str, str]) -> None:
        self.result, self.text, self.kinds = result, text, kinds
        self.depth = 0
        self.begins: list[int] = []
        """For each token the first of its line."""

    def _slip(self, value: str, at: Span, mistake: Mistake) -> Slip:
        return slip(self.kinds[value], value, at, mistake)

    # --- How a block begins -------------------------------------------------------------------

    def mend_heads(self) -> None:
        """`attack a` with its brace on the next line, `attack a = {`, `attack a:`, `{lr: 0.1}`."""
        tokens = self.result.tokens
        ends: dict[int, list[Token]] = {}
        out: list[Token] = []
        begin = 0
        at = 0
        while at < len(tokens):
            token = tokens[at]
            for end in ends.pop(at, ()):
                out += [end, Token.new_borrow_pos("NEWLINE", "\n", end)]
            taken, before = 1, out[-1] if out else None
            if token.value == "{" and out:
                taken = self._brace(at, out, begin)
            elif token.value in ("(", "[") and _is_head(out, begin, len(out)) and (
                stop := self._bracketed_block(at, out[begin])
            ):  # fmt: skip
                out.append(self._other_brackets(at, stop))
                tokens[stop] = Token.new_borrow_pos(self.kinds["}"], "}", tokens[stop])
            elif token.value == ":" and token.type == "BROKEN" and _is_head(out, begin, len(out)):
                if end_of := self._indented(at, out[begin]):
                    out.append(self._python_block(at, end_of, ends))
                else:
                    out.append(token)
            else:
                out.append(token)
            if taken == 1 and out and out[-1] is not before:
                self.depth += {"{": 1, "}": -1}.get(out[-1].value, 0)
            if token.type == "NEWLINE" or token.value in ("{", "}", ";"):
                begin = len(out) if taken == 1 else begin
            at += taken
        for end in ends.pop(len(tokens), ()):
            out += [Token.new_borrow_pos("NEWLINE", "\n", end), end]
        self.result.tokens = out

    def _brace(self, at: int, out: list[Token], begin: int) -> int:
        """Put an opening brace, or what was meant by it; how many tokens that took."""
        brace = self.result.tokens[at]
        previous = out[-1]
        if previous.value == "{" and adjacent(previous, brace):
            mistake = Mistake(
                "REC105", "there is a brace too many",
                help=Mend("remove it", (Edit(span_of(brace), ""),)),
            )  # fmt: skip
            self.result.found.append((span_of(brace), mistake))
            return 1
        if previous.type == "NEWLINE":
            self._join_head(brace, out)
        elif previous.value == "=" and _is_head(out, begin, len(out) - 1) and (
            len(out) - 1 - begin > 1 or not self.depth
        ):  # fmt: skip
            out.pop()
            place = span_of(previous).before.to(span_of(brace).before)
            mistake = Mistake(
                "REC120", "no `=` stands before the `{` of a block",
                help=Mend("remove it", (Edit(place, ""),)),
            )  # fmt: skip
            self.result.found.append((span_of(previous), mistake))
        elif previous.value in _WITHIN_VALUE and (stop := self._partner(at)):
            return self._braced_value(at, stop, out)
        elif adjacent(previous, brace) and not _is_head(out, begin, len(out)) and (
            taken := self._braced_arguments(at, out) or self._closing_brace(at, out, begin)
        ):  # fmt: skip
            return taken
        out.append(brace)
        return 1

    def _join_head(self, brace: Token, out: list[Token]) -> None:
        """A brace on a line of its own belongs to the line above."""
        end = len(out)
        while end and out[end - 1].type == "NEWLINE":
            end -= 1
        begin = end
        while begin and out[begin - 1].type != "NEWLINE" and out[begin - 1].value not in ("{", "}", ";"):  # fmt: skip
            begin -= 1
        if not _is_head(out, begin, end):
            return
        edit = between(out[end - 1], brace, " ")
        empty = not self.text[edit.span.start : edit.span.end].strip()
        help = "write it behind the block's name, on the same line"
        mistake = Mistake(
            "REC120", "the `{` of a block stands on the line of its name",
            help=Mend(help, (edit,)) if empty else help,
            related=((across(out[begin], out[end - 1]), "it belongs here"),),
        )  # fmt: skip
        self.result.found.append((span_of(brace), mistake))
        del out[end:]

    def _braced_arguments(self, at: int, out: list[Token]) -> int:
        """`features{12, 480}`"""
        tokens, stop = self.result.tokens, self._partner(at)
        if out[-1].type != "NAME" or stop is None or any(t.type == "NEWLINE" for t in tokens[at:stop]):  # fmt: skip
            return 0
        opening, closing = span_of(tokens[at]), span_of(tokens[stop])
        help = Mend("write `(…)`", (Edit(opening, "("), Edit(closing, ")")))
        mistake = Mistake("REC123", "arguments stand in `( )`", help=help)
        out.append(self._slip("(", opening, mistake))
        out += tokens[at + 1 : stop]
        out.append(Token.new_borrow_pos(self.kinds[")"], ")", tokens[stop]))
        return stop + 1 - at

    def _closing_brace(self, at: int, out: list[Token], begin: int) -> int:
        """`[first, last_token{`"""
        brace, line = self.result.tokens[at], out[max(begin, len(out) - 100) :]
        unclosed: list[str] = []
        for token in line:
            if token.value in _CLOSERS:
                unclosed.append(_CLOSERS[token.value])
            elif unclosed and token.value == unclosed[-1]:
                unclosed.pop()
        if not unclosed or out[-1].type not in ("NAME", "NUMBER", "STRING"):
            return 0
        help = replace(span_of(brace), unclosed[-1])
        mistake = Mistake("REC123", "this `{` looks the wrong way", help=help)
        out.append(self._slip(unclosed[-1], span_of(brace), mistake))
        return 1

    def _partner(self, at: int) -> int | None:
        depth = 0
        for i in range(at, min(len(self.result.tokens), at + 500)):
            depth += {"{": 1, "}": -1}.get(self.result.tokens[i].value, 0)
            if depth == 0:
                return i
        return None

    def _braced_value(self, at: int, stop: int, out: list[Token]) -> int:
        tokens = self.result.tokens
        inside = tokens[at + 1 : stop]
        opening, closing = span_of(tokens[at]), span_of(tokens[stop])
        why = "`{ }` hold the statements of a block, `[ ]` a list, `( )` arguments"
        named = any(t.value == "=" for t in inside)
        if named and out[-1].value != "(":
            mistake = Mistake(
                "REC123", "braces hold no value", why=why,
                help="write a call, `name(key = value)`",
            )  # fmt: skip
            out.append(broken(tokens[at], tokens[stop], mistake))
            return stop + 1 - at
        if named or not any(t.value == "," for t in inside):
            edits = [Edit(opening, ""), Edit(closing, "")]
            for i, token in enumerate(inside):
                if isinstance(token, Slip) and token.type != "BROKEN":
                    edits += token.mistake.help.fix if isinstance(token.mistake.help, Mend) else ()
                    inside[i] = Token.new_borrow_pos(token.type, str(token), token)
            help = Mend("remove them", tuple(edits))
            mistake = Mistake("REC123", "braces hold no value", why=why, help=help)
            self.result.found.append((opening, mistake))
            out += inside
            return stop + 1 - at
        help = Mend("write the list in `[ ]`", (Edit(opening, "["), Edit(closing, "]")))
        mistake = Mistake("REC123", "braces hold no list", why=why, help=help)
        out.append(self._slip("[", opening, mistake))
        out += inside
        out.append(Token.new_borrow_pos(self.kinds["]"], "]", tokens[stop]))
        return stop + 1 - at

    def _bracketed_block(self, at: int, head: Token) -> int | None:
        """Where a block in other brackets ends: `control a (`, statements, and `)` on its own."""
        tokens = self.result.tokens
        if at + 1 >= len(tokens) or tokens[at + 1].type != "NEWLINE":
            return None
        for i in range(at + 1, min(len(tokens), at + 2000)):
            if tokens[i - 1].type == "NEWLINE" and tokens[i].type != "NEWLINE":
                if tokens[i].column < head.column:
                    return None
                if tokens[i].column == head.column:
                    return i if tokens[i].value in (")", "]") else None
        return None

    def _other_brackets(self, at: int, stop: int) -> Slip:
        opening, closing = span_of(self.result.tokens[at]), span_of(self.result.tokens[stop])
        help = Mend("write `{` and `}`", (Edit(opening, "{"), Edit(closing, "}")))
        mistake = Mistake("REC123", "a block stands in `{ }`", help=help)
        return self._slip("{", opening, mistake)

    def _indented(self, at: int, head: Token) -> int | None:
        """Where the lines behind a `:` end that are further in than its own."""
        tokens = self.result.tokens
        if at + 1 < len(tokens) and tokens[at + 1].type != "NEWLINE":
            return None
        i = at + 1
        fresh = True
        while i < len(tokens):
            if fresh and tokens[i].type != "NEWLINE" and tokens[i].column <= head.column:
                break
            fresh = tokens[i].type == "NEWLINE"
            i += 1
        return i if any(t.type != "NEWLINE" for t in tokens[at + 1 : i]) else None

    def _python_block(self, at: int, stop: int, ends: dict[int, list[Token]]) -> Slip:
        tokens = self.result.tokens
        last = next(t for t in reversed(tokens[:stop]) if t.type != "NEWLINE")
        mark = span_of(tokens[at])
        indent = self._indent(mark)
        help = Mend(
            "write `{` behind its name and `}` behind its last line",
            (Edit(mark, " {"), Edit(span_of(last).behind, f"\n{indent}}}")),
        )
        closing = Token.new_borrow_pos(self.kinds["}"], "}", last)
        ends.setdefault(stop, []).insert(0, closing)
        mistake = Mistake("REC120", "a block stands in `{ }`, not behind a `:`", help=help)
        return self._slip("{", mark, mistake)

    def _indent(self, at: Span) -> str:
        line = self.text[self.text.rfind("\n", 0, at.start) + 1 : at.start]
        return line[: len(line) - len(line.lstrip(" \t"))]

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
                shaped = _is_head(line, 0, len(line)) and (len(line) > 1 or i + 1 < closing)
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
        text = " }" if same_line else f"\n{self._indent(span_of(brace))}}}"
        mistake = Mistake(
            "REC105", "this block is not closed",
            help=Mend("add a `}` where it ends", (Edit(span_of(last).behind, text),)),
            related=((span_of(after), "it should end before this"),) if after is not None else (),
        )  # fmt: skip
        return self._slip("{", span_of(brace), mistake)


def _is_head(tokens: list[Token], begin: int, end: int) -> bool:
    """Whether tokens are the head of a block: `attack`, `attack a`, `attack a like b`."""
    if not 1 <= end - begin <= 4:
        return False
    line = tokens[begin:end]
    if not all(t.value.isidentifier() for t in line):
        return False
    return len(line) < 3 or line[-2].value == "like"
