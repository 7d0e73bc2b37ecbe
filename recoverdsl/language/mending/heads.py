"""Where a block begins, and braces that stand where none belongs."""

from __future__ import annotations

from collections.abc import Mapping

from lark import Token

from recoverdsl.language.diagnostics import Edit, Mend, replace
from recoverdsl.language.syntax.nodes import Span
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

CLOSER = {"(": ")", "[": "]"}
OPENER = {")": "(", "]": "["}
FAR = 100
"""Tokens that are looked back at."""
_WITHIN_VALUE = frozenset(["=", "(", ",", "[", "<", "<=", ">", ">=", "+", "-", "*", "/"])


def mend_heads(result: Tokens, text: str, kinds: Mapping[str, str]) -> None:
    """Mend the beginnings of blocks, and braces that hold a value or look like another bracket."""
    _Heads(result, text, kinds).mend()


class _Heads:
    def __init__(self, result: Tokens, text: str, kinds: Mapping[str, str]) -> None:
        self.result, self.text, self.kinds = result, text, kinds
        self.depth = 0

    def _slip(self, value: str, at: Span, mistake: Mistake) -> Slip:
        return slip(self.kinds[value], value, at, mistake)

    def mend(self) -> None:
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
            elif token.value in ("(", "[") and is_head(out, begin, len(out)) and (
                stop := self._bracketed_block(at, out[begin])
            ):  # fmt: skip
                out.append(self._other_brackets(at, stop))
                tokens[stop] = Token.new_borrow_pos(self.kinds["}"], "}", tokens[stop])
            elif token.value == ":" and token.type == "BROKEN" and is_head(out, begin, len(out)):
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
        elif previous.value == "=" and is_head(out, begin, len(out) - 1) and (
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
        elif adjacent(previous, brace) and not is_head(out, begin, len(out)) and (
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
        if not is_head(out, begin, end):
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
        brace, line = self.result.tokens[at], out[max(begin, len(out) - FAR) :]
        lacking = unclosed(line)
        if not lacking or out[-1].type not in ("NAME", "NUMBER", "STRING"):
            return 0
        help = replace(span_of(brace), lacking[-1])
        mistake = Mistake("REC123", "this `{` looks the wrong way", help=help)
        out.append(self._slip(lacking[-1], span_of(brace), mistake))
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
        indent = indent_of(self.text, mark)
        help = Mend(
            "write `{` behind its name and `}` behind its last line",
            (Edit(mark, " {"), Edit(span_of(last).behind, f"\n{indent}}}")),
        )
        closing = Token.new_borrow_pos(self.kinds["}"], "}", last)
        ends.setdefault(stop, []).insert(0, closing)
        mistake = Mistake("REC120", "a block stands in `{ }`, not behind a `:`", help=help)
        return self._slip("{", mark, mistake)


def unclosed(line: list[Token]) -> list[str]:
    """The brackets that some tokens lack, from the outermost."""
    lacking: list[str] = []
    for token in line:
        if token.value in CLOSER:
            lacking.append(CLOSER[token.value])
        elif lacking and token.value == lacking[-1]:
            lacking.pop()
    return lacking


def is_head(tokens: list[Token], begin: int, end: int) -> bool:
    """Whether tokens are the head of a block: `attack`, `attack a`, `attack a like b`."""
    if not 1 <= end - begin <= 4:
        return False
    line = tokens[begin:end]
    if not all(t.value.isidentifier() for t in line):
        return False
    return len(line) < 3 or line[-2].value == "like"


def indent_of(text: str, at: Span) -> str:
    """The spaces with which a line begins."""
    line = text[text.rfind("\n", 0, at.start) + 1 : at.start]
    return line[: len(line) - len(line.lstrip(" \t"))]
