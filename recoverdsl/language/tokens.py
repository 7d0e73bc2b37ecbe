"""What the parser is fed.

A token that was written wrongly becomes a `Slip`: the token that was meant, with the mistake to
report once the parser has taken it. Where nothing sensible was meant it is a `BROKEN` one, which the
grammar accepts nowhere but as a whole statement, so that the parser stops at it.
"""

from __future__ import annotations

from attrs import define, field, frozen
from lark import Token

from recoverdsl.language.diagnostics import Edit, Mend
from recoverdsl.language.syntax.nodes import Comment, Span

DEEPEST = 60
"""How deep values and blocks nest. Everything behind the parser may recurse without a guard."""


@frozen
class Mistake:
    """What is wrong, where that is known before the text is parsed."""

    code: str
    message: str
    why: str | None = None
    help: Mend | str | None = None
    related: tuple[tuple[Span, str], ...] = ()
    span: Span | None = None
    """Where, if that is not the token."""


class Slip(Token):  # type: ignore[misc]  # lark is not typed
    """A token that was meant, in the place of what was written."""

    mistake: Mistake


class Mended(Token):  # type: ignore[misc]
    """The kind of a block whose head could not be read."""


@define
class Tokens:
    """The tokens of a file, its comments, and the mistakes that no token stands for."""

    tokens: list[Token] = field(factory=list)
    comments: list[Comment] = field(factory=list)
    found: list[tuple[Span, Mistake]] = field(factory=list)


def span_of(token: Token) -> Span:
    """Where a token stands."""
    return Span(
        token.start_pos, token.end_pos, token.line, token.column, token.end_line, token.end_column
    )


def across(first: Token, last: Token) -> Span:
    """From the start of one token to the end of another."""
    return span_of(first).to(span_of(last))


def slip(kind: str, value: str, at: Span, mistake: Mistake) -> Slip:
    """A token of some kind in the place of what stands at `at`."""
    token = Slip(
        kind, value, at.start, at.line, at.column, at.end_line, at.end_column, at.end
    )  # fmt: skip
    token.mistake = mistake
    return token


def placed(kind: str, value: str, at: Span) -> Token:
    """A token that stands somewhere."""
    return Token(
        kind, value, at.start, at.line, at.column, at.end_line, at.end_column, at.end
    )  # fmt: skip


def halves(span: Span, at: int) -> tuple[Span, Span]:
    """A stretch of one line, cut behind some characters."""
    middle, column = span.start + at, span.column + at
    return (
        Span(span.start, middle, span.line, span.column, span.line, column),
        Span(middle, span.end, span.line, column, span.line, span.end_column),
    )


def broken(first: Token, last: Token, mistake: Mistake) -> Slip:
    """What stands from one token to another, as something that can be no part of a statement."""
    # A token is a text, and an empty one would count as none.
    return slip("BROKEN", str(first) if first is last else "…", across(first, last), mistake)


def adjacent(first: Token, second: Token) -> bool:
    """Whether nothing, not even a space, stands between two tokens."""
    return bool(first.end_pos == second.start_pos)


def between(first: Token, second: Token, text: str) -> Edit:
    """The edit that puts a text in place of the space between two tokens."""
    return Edit(span_of(first).behind.to(span_of(second).before), text)
