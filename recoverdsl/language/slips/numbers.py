"""Numbers as other languages write them: `.5`, `1_000`, `5 %`, `layers.14`."""

from __future__ import annotations

import re

from lark import Token

from recoverdsl.language.diagnostics import Edit, Mend, replace
from recoverdsl.language.slips.comments import comment
from recoverdsl.language.slips.cursor import Cursor
from recoverdsl.language.tokens import Mistake, across, adjacent, slip, span_of

_BEFORE_VALUE = frozenset(
    ["=", "(", ",", "[", "<", "<=", ">", ">=", "==", "+", "-", "*", "/", ".."]
)
_THOUSANDS = {"k": 1_000, "K": 1_000, "M": 1_000_000}


def percent(cursor: Cursor, at: int) -> int:
    """A percent sign that is no part of a number."""
    token, previous, after = cursor.tokens[at], cursor.previous(), cursor.peek(at + 1)
    if cursor.begins() and after is not None and after.value.isidentifier():
        return comment(cursor, at, len(token), cursor.line_end(at), str(token))
    if previous is not None and previous.type == "NUMBER" and not hasattr(previous, "mistake"):
        cursor.out.pop()
        start = next(i for i in range(at, -1, -1) if cursor.tokens[i] is previous)
        cursor.number(previous.rstrip("%") + "%", start, at + 1 - start)
        return 1
    if after is not None and after.type == "NUMBER" and not hasattr(after, "mistake"):
        return cursor.number(after.rstrip("%") + "%", at, 2)
    help = Mend(
        "a share is written `5%`, with the sign behind the number", (Edit(span_of(token), ""),)
    )
    return cursor.broken(at, 1, Mistake("REC117", f"`{token}` has no number here", help=help))


def number(cursor: Cursor, at: int) -> int:
    """`5.`, `1_000`, `10k`, `5 percent`"""
    token, after = cursor.tokens[at], cursor.peek(at + 1)
    if after is None or after.type == "NEWLINE":
        return 0
    if after.type == "NAME" and after.value.lower() in ("percent", "pct"):
        return cursor.number(token.rstrip("%") + "%", at, 2)
    if not adjacent(token, after):
        return 0
    beyond = cursor.peek(at + 2)
    loose = beyond is None or not adjacent(after, beyond) or beyond.value in (")", "]", ",", "}", ";", "\n", ".")  # fmt: skip
    if after.value == "." and loose and "." not in token:
        # `5.`, but not the end of `..`.
        return cursor.number(str(token), at, 2)
    if not after.value.isidentifier() or not loose:
        return 0
    word = str(after)
    if re.fullmatch(r"(_[0-9]+)+", word):
        return cursor.number(str(token) + word.replace("_", ""), at, 2)
    if word in _THOUSANDS and token.isdigit():
        return cursor.number(str(int(token) * _THOUSANDS[word]), at, 2)
    return 0


def dot(cursor: Cursor, at: int) -> int:
    """`.5`, or `layers.14`"""
    token, previous, after = cursor.tokens[at], cursor.previous(), cursor.peek(at + 1)
    if previous is not None and adjacent(previous, token) and previous.value not in _BEFORE_VALUE:  # fmt: skip
        named = previous.type == "NAME" and cursor.next(at, str(after))
        return index(cursor, at) if named and after is not None and after.isdigit() else 0
    if after is None or after.type != "NUMBER" or not adjacent(token, after):
        return 0
    return cursor.number(f"0.{after}", at, 2)


def index(cursor: Cursor, at: int) -> int:
    """`layers.14` for `layers[14]`"""
    number = cursor.tokens[at + 1]
    place = across(cursor.tokens[at], number)
    mistake = Mistake(
        "REC123", "what numbers a layer stands in `[ ]`", help=replace(place, f"[{number}]")
    )
    cursor.out += [
        slip(cursor.kinds["["], "[", place, mistake),
        number,
        Token.new_borrow_pos(cursor.kinds["]"], "]", number),
    ]
    return 2


def plus(cursor: Cursor, at: int) -> int:
    """`+5`"""
    previous, after = cursor.previous(), cursor.peek(at + 1)
    if previous is None or previous.value not in _BEFORE_VALUE:
        return 0
    if after is None or after.type != "NUMBER":
        return 0
    return cursor.number(str(after), at, 2)
