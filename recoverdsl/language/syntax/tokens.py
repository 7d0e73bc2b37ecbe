"""Tokens and the places where they stand."""

from __future__ import annotations

from lark import Token

from recoverdsl.language.syntax.nodes import Span


def span_of(token: Token) -> Span:
    """Return where a token stands."""
    return Span(
        token.start_pos, token.end_pos, token.line, token.column, token.end_line, token.end_column
    )


def across(first: Token, last: Token) -> Span:
    """Return the stretch from the start of one token to the end of another."""
    return span_of(first).to(span_of(last))


def placed(kind: str, value: str, at: Span) -> Token:
    """Return a token that stands at a place, whatever is written there."""
    return Token(
        kind, value, at.start, at.line, at.column, at.end_line, at.end_column, at.end
    )  # fmt: skip


def adjacent(first: Token, second: Token) -> bool:
    """Tell whether nothing, not even a space, stands between two tokens."""
    return bool(first.end_pos == second.start_pos)
