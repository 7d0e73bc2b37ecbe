"""Strings and numbers as they are written."""

from __future__ import annotations

import re

from lark import Token

ESCAPE = re.compile(r"\\(?:u(?P<hex>[0-9a-fA-F]{4})|(?P<one>.))", re.DOTALL)
ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t", "r": "\r"}


def unescape(literal: str) -> str:
    """Return the text of a string literal."""

    def one(match: re.Match[str]) -> str:
        return chr(int(match["hex"], 16)) if match["hex"] else ESCAPES[match["one"]]

    return ESCAPE.sub(one, literal[1:-1])


def wrong_escape(literal: str) -> re.Match[str] | None:
    """Return the first escape of a string literal that has no meaning."""
    for escape in ESCAPE.finditer(literal) if "\\" in literal else ():
        if escape["one"] and escape["one"] not in ESCAPES:
            return escape
        if escape["hex"] and 0xD800 <= int(escape["hex"], 16) < 0xE000:
            return escape
    return None


def is_number(literal: str) -> bool:
    """Tell whether a number is neither too large nor too long."""
    digits = literal.rstrip("%")
    return len(digits) <= 40 and float(digits) <= 1e300


def is_literal(token: Token) -> bool:
    """Tell whether a token can be read, if it is a string or a number."""
    if token.type == "STRING":
        return wrong_escape(token.value) is None
    return token.type != "NUMBER" or is_number(token.value)
