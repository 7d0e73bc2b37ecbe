"""What people write when they think of another language or another keyboard, and what they mean.

Works on the tokens before they are parsed. What is meant takes the place of what was written, so
that the rest of the statement is still read and one slip gives one diagnostic.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from itertools import pairwise

from lark import Token

from recoverdsl.language.diagnostics import Edit, Mend
from recoverdsl.language.mending import numbers, signs, texts
from recoverdsl.language.mending.comments import slash
from recoverdsl.language.mending.cursor import Cursor
from recoverdsl.language.tokens import Mistake, Tokens, span_of

_WORDLIKE = frozenset(["NAME", "NUMBER", "DOT", "SLASH", "BROKEN"])
_RULES: dict[str, Callable[[Cursor, int], int]] = {
    ".": numbers.dot, "+": numbers.plus, "=": signs.equal, "==": signs.equals,
    "-": signs.minus, "<": signs.less, "*": signs.star, "/": slash,
}  # fmt: skip
"""What a sign may be the beginning of."""


def mend_slips(result: Tokens, text: str, kinds: Mapping[str, str]) -> None:
    """Replace what was written by what is meant. `kinds` maps words and signs to token types."""
    cursor = Cursor(result, text, kinds)
    invisible: list[Token] = []
    at = 0
    while at < len(cursor.tokens):
        token = cursor.tokens[at]
        taken = 0
        if token.type == "BROKEN" and not hasattr(token, "mistake"):
            if unicodedata.category(token.value[0]) in ("Zs", "Cf"):
                invisible.append(token)
                taken = 1
            else:
                taken = _unknown(cursor, at)
        elif rule := _RULES.get(token.value):
            taken = rule(cursor, at)
        elif token.type == "NUMBER":
            taken = numbers.number(cursor, at)
        elif token.type == "AUDIT":
            taken = texts.audit(cursor, at)
        if not taken and token.type in _WORDLIKE:
            taken = texts.unquoted(cursor, at)
        if not taken:
            cursor.out.append(token)
        at += taken or 1
    if invisible:
        _report_invisible(result, invisible)
    _free_keywords(cursor.out)
    result.tokens = cursor.out


def _free_keywords(tokens: list[Token]) -> None:
    """`with = …` and `in = …`: before an equals sign, a keyword is a name like any other."""
    for token, after in pairwise(tokens):
        if after.type == "EQUAL" and token.value.isidentifier() and token.type != "BROKEN":
            token.type = "NAME"


def _unknown(cursor: Cursor, at: int) -> int:
    """What no terminal of the grammar matches."""
    written = str(cursor.tokens[at])
    if written[0] in texts.QUOTES or written[0] == '"':
        return texts.quotes(cursor, at)
    if set(written) == {"%"}:
        return numbers.percent(cursor, at)
    return signs.unknown(cursor, at)


def _report_invisible(result: Tokens, invisible: list[Token]) -> None:
    first = invisible[0]
    name = unicodedata.name(first.value[0], f"U+{ord(first.value[0]):04X}").lower()
    many = "" if len(invisible) == 1 else f"; there are {len(invisible)} in this file"
    fix = tuple(
        Edit(span_of(t), " " * (unicodedata.category(t.value[0]) == "Zs") * len(t.value))
        for t in invisible
    )
    help = Mend(f"replace it by a plain space, or remove it{many}", fix)
    mistake = Mistake("REC103", f"an invisible character stands here ({name})", help=help)
    result.found.append((span_of(first), mistake))
