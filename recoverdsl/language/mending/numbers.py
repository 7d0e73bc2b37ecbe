"""Numbers as other languages write them: `.5`, `1_000`, `5 %`, `layers.14`."""

from __future__ import annotations

import re
from itertools import pairwise

from lark import Token

from recoverdsl.language.diagnostics import Edit, Mend, replace
from recoverdsl.language.mending.comments import comment
from recoverdsl.language.mending.cursor import Cursor
from recoverdsl.language.tokens import (
    Mistake,
    Slip,
    across,
    adjacent,
    halves,
    placed,
    slip,
    span_of,
)

_BEFORE_VALUE = frozenset(
    ["=", "(", ",", "[", "<", "<=", ">", ">=", "==", "+", "-", "*", "/", ".."]
)
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_THOUSANDS = {"k": 1_000, "K": 1_000, "M": 1_000_000}


_HOOKS = {"hook_resid_post": "output", "hook_resid_pre": "input"}


def percent(cursor: Cursor, at: int) -> int:
    """A percent sign that is no part of a number."""
    token, previous, after = cursor.tokens[at], cursor.previous(), cursor.peek(at + 1)
    if cursor.begins() and after is not None and after.value.isidentifier():
        return comment(cursor, at, len(token), cursor.line_end(at), str(token))
    if after is not None and after.value == ")" and without_opening(cursor, token):
        return 1
    if previous is not None and isinstance(previous, Slip) and _NUMBER.fullmatch(previous[1:-1]):
        # `“95”%`: the number in quotation marks is the token before.
        cursor.out.pop()
        cursor.number(f"{previous[1:-1]}%", at - 1, 2)
        return 1
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


def without_opening(cursor: Cursor, percent: Token) -> bool:
    """`wilson95%)`: a call whose bracket is missing before its number."""
    name = cursor.previous()
    split = re.fullmatch(r"([^\W\d]\w*?)([0-9]+)", str(name)) if name is not None else None
    if name is None or split is None or name.type != "NAME" or not adjacent(name, percent):
        return False
    before, behind = halves(span_of(name), len(split[1]))
    mistake = Mistake(
        "REC105", "this `)` has no `(`",
        help=Mend("add a `(` before the number", (Edit(behind.before, "("),)),
    )  # fmt: skip
    cursor.out[-1:] = [
        placed("NAME", split[1], before),
        slip(cursor.kinds["("], "(", behind.before, mistake),
        placed("NUMBER", f"{split[2]}%", behind.to(span_of(percent))),
    ]
    return True


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
    if read := hook(cursor, at):
        return read
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


def hook(cursor: Cursor, at: int) -> int:
    """`blocks.14.hook_resid_post`, as TransformerLens names a point of the residual stream"""
    blocks, number = cursor.previous(), cursor.tokens[at + 1]
    stop, name = cursor.peek(at + 2), cursor.peek(at + 3)
    side = _HOOKS.get(str(name))
    if blocks is None or name is None or (blocks.value, stop) != ("blocks", ".") or side is None:
        return 0
    model = next(
        (str(b) for a, b in pairwise(cursor.tokens) if a.value == "model" and b.type == "NAME"),
        "my_model",
    )
    place = across(blocks, name)
    meant = f"{model}.layers[{number}].{side}"
    mistake = Mistake(
        "REC123", "a point of the residual stream is written by model, layer and side",
        help=replace(place, meant),
    )  # fmt: skip
    words = ((".", "."), ("NAME", "layers"), ("[", "["), ("NUMBER", str(number)), ("]", "]"), (".", "."), ("NAME", side))  # fmt: skip
    cursor.out[-1] = slip("NAME", model, place, mistake)
    cursor.out += [
        Token.new_borrow_pos(cursor.kinds.get(kind, kind), value, number) for kind, value in words
    ]
    return 4


def plus(cursor: Cursor, at: int) -> int:
    """`+5`"""
    previous, after = cursor.previous(), cursor.peek(at + 1)
    if previous is None or previous.value not in _BEFORE_VALUE:
        return 0
    if after is None or after.type != "NUMBER":
        return 0
    return cursor.number(str(after), at, 2)
