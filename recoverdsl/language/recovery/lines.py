"""Tokens → lines: the statements, heads and ends of blocks, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from attrs import define
from lark import Token

from recoverdsl.language.syntax.tokens import adjacent

CLOSER = {"(": ")", "[": "]", "{": "}"}
OPENER = {closer: opener for opener, closer in CLOSER.items()}
_CONTINUES = frozenset([",", "(", "["])
"""After these a newline ends no statement."""


@define
class Line:
    """A statement, the head of a block, or nothing, and the sign that it ends with."""

    tokens: list[Token]
    end: Token | None
    """A newline, `;`, `{` or `}`; None at the end of the text."""
    alone: bool
    """Whether nothing stands before it on its line of the text."""

    @property
    def ends_with(self) -> str:
        """Return the sign; a newline for the end of the text."""
        return "\n" if self.end is None or self.end.type == "NEWLINE" else str(self.end)

    @property
    def is_head(self) -> bool:
        """Tell whether it could be the head of a block: words only."""
        words = self.tokens
        return 0 < len(words) <= 4 and is_words(words) and words[0].type == "NAME"


def is_words(tokens: Sequence[Token]) -> bool:
    """Tell whether tokens are words, in quotation marks or not."""
    return all(token.value.isidentifier() or token.type == "STRING" for token in tokens)


def lines_of(tokens: Sequence[Token]) -> list[Line]:
    """Return the lines of a text. A bracket that is not closed ends with its line."""
    return _Splitter(tokens).split()


class _Splitter:
    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.partner = _partners(tokens)
        self.lines: list[Line] = []
        self.line: list[Token] = []
        self.open: list[int] = []
        """The brackets that are open in the line at hand."""
        self.alone = True

    def split(self) -> list[Line]:
        """Return all lines."""
        for i, token in enumerate(self.tokens):
            if token.type == "NEWLINE":
                if self.open and self._goes_on(i):
                    continue
                self._end(token)
            elif (
                (
                    token.value == ";"
                    and not (self.open and self._closes(i))
                    and not self._in_head(i)
                )
                or (token.value == "{" and self._begins_block(i))
                or (token.value == "}" and self._ends_block(i))
            ):
                self._end(token)
            else:
                if token.value in CLOSER and token.type != "BROKEN":
                    self.open.append(i)
                elif token.value in OPENER and self.open:
                    self.open.pop()
                self.line.append(token)
        if self.line:
            self._end(None)
        return self.lines

    def _end(self, token: Token | None) -> None:
        if self.line or token is None or token.type != "NEWLINE":
            self.lines.append(Line(self.line, token, self.alone))
        self.line = []
        self.open.clear()
        self.alone = token is not None and token.type == "NEWLINE"

    def _closes(self, at: int) -> bool:
        """Tell whether the outermost open bracket is closed after a token, on the same line of the text."""
        partner = self.partner.get(self.open[0])
        return partner is not None and partner > at and (
            self.tokens[partner].line == self.tokens[at].line
        )  # fmt: skip

    def _goes_on(self, at: int) -> bool:
        """Tell whether a statement with an open bracket goes on after a newline."""
        if self.partner.get(self.open[0], 0) > at:
            return True
        after = next((t for t in self.tokens[at : at + 50] if t.type != "NEWLINE"), None)
        further = after is not None and after.column > self.line[0].column
        return self.line[-1].value in _CONTINUES and further

    def _in_head(self, at: int) -> bool:
        """Tell whether a `;` is a stray sign between the words of a head and its `{`."""
        words = list(takewhile(lambda t: t.value.isidentifier(), self.tokens[at + 1 : at + 5]))
        brace = self.tokens[at + 1 + len(words) : at + 2 + len(words)]
        head = Line([*self.line, *words], None, self.alone).is_head
        return head and bool(self.line) and bool(brace) and brace[0].value == "{"

    def _begins_block(self, at: int) -> bool:
        """Tell whether a `{` opens a block, and not a value."""
        if any(opener in self.partner for opener in self.open):
            return False
        if self.open and self.line[0].type not in ("NAME", "LPAR", "LSQB"):
            return False
        values = [token.value for token in self.line]
        strays = len(self.open)
        if (
            len(values) <= 6
            and "=" not in values
            and values.count("(") + values.count("[") == strays
        ):
            return True
        after = self.tokens[at + 1] if at + 1 < len(self.tokens) else None
        return after is not None and after.type == "NEWLINE" and not (
            adjacent(self.line[-1], self.tokens[at])
        )  # fmt: skip

    def _ends_block(self, at: int) -> bool:
        """Tell whether a `}` closes a block, and not a value."""
        if any(self.tokens[i].value == "{" for i in self.open):
            return False
        after = self.tokens[at + 1] if at + 1 < len(self.tokens) else None
        ends = after is None or after.type == "NEWLINE" or after.value in ("}", ";")
        if not self.line or not adjacent(self.line[-1], self.tokens[at]):
            return True
        # `folder("x"}` on a line of its own has the wrong bracket; so has `wilson}95%)`.
        return (not self.open and ends) or bool(self.open and ends and not self.alone)


def _partners(tokens: Sequence[Token]) -> dict[int, int]:
    """Return the brackets that are closed before the next brace, each with the place of its end."""
    found: dict[int, int] = {}
    open_: list[int] = []
    for i, token in enumerate(tokens):
        if token.value in ("(", "["):
            open_.append(i)
        elif token.value in (")", "]") and open_:
            found[open_.pop()] = i
        elif token.value in ("{", "}") and (i == 0 or not adjacent(tokens[i - 1], token)):
            open_.clear()
    return found
