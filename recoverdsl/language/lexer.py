"""Text → tokens that can be parsed: slips mended, brackets matched, newlines inside them dropped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from lark import Lark, Token

from recoverdsl.language.diagnostics import replace
from recoverdsl.language.mending.brackets import match_brackets
from recoverdsl.language.mending.lines import mend_lines
from recoverdsl.language.mending.slips import mend_slips
from recoverdsl.language.syntax.nodes import Comment
from recoverdsl.language.tokens import Mistake, Tokens, broken, slip, span_of

_ESCAPE = re.compile(r"\\(?:u(?P<hex>[0-9a-fA-F]{4})|(?P<one>.))", re.DOTALL)
_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t", "r": "\r"}


def scan(lark: Lark, text: str) -> Iterator[Token]:
    """The tokens of a text, comments included and spaces left out.

    They are what `lark.lex` gives, in a third of its time, but for empty lines: several ends of lines
    are one.
    """
    pattern, words = _terminals(lark)
    line, line_start, ended = 1, 0, True
    for match in pattern.finditer(text):
        kind = match.lastgroup
        if kind == "SPACE":
            continue
        start, end = match.span()
        value = match[0]
        if kind in ("NAME", "SIGN"):
            kind = words.get(value, "NAME")
        if kind == "NEWLINE":
            if not ended:
                yield Token(kind, value, start, line, start - line_start + 1, line + 1, 1, end)
            line, line_start, ended = line + 1, end, True
            continue
        ended = ended and kind == "COMMENT"
        yield Token(
            kind, value, start, line, start - line_start + 1, line, end - line_start + 1, end
        )  # fmt: skip


@cache
def _terminals(lark: Lark) -> tuple[re.Pattern[str], dict[str, str]]:
    """One pattern for all terminals of the grammar, and the types of its words and signs."""
    fixed = {t.pattern.value: t.name for t in lark.terminals if t.pattern.type == "str"}
    signs = sorted((v for v in fixed if not v.isidentifier()), key=len, reverse=True)
    others = sorted(
        (t for t in lark.terminals if t.pattern.type == "re"), key=lambda t: -t.priority
    )
    last = [t for t in others if t.priority < 0]
    parts = [(t.name, t.pattern.to_regexp()) for t in others if t.priority >= 0]
    parts += [("SIGN", "|".join(map(re.escape, signs)))]
    parts += [(t.name, t.pattern.to_regexp()) for t in last]
    return re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in parts)), fixed


def unescape(literal: str) -> str:
    """The text that a string literal stands for."""

    def one(match: re.Match[str]) -> str:
        return chr(int(match["hex"], 16)) if match["hex"] else _ESCAPES[match["one"]]

    return _ESCAPE.sub(one, literal[1:-1])


MOST = 350_000
"""Tokens in a spec."""


def tokenize(lark: Lark, text: str) -> Tokens | None:
    """Split a text into tokens; None if there are too many.

    What is wrong with them becomes a slip, or a mistake found.
    """
    kinds = {t.pattern.value: t.name for t in lark.terminals if t.pattern.type == "str"}
    result = Tokens()
    for token in scan(lark, text):
        if token.type == "COMMENT":
            result.comments.append(Comment(token.value.rstrip(), span=span_of(token)))
        else:
            result.tokens.append(read_literal(token))
        if len(result.tokens) > MOST:
            return None
    mend_slips(result, text, kinds)
    match_brackets(result, text, kinds)
    mend_lines(result, text, kinds)
    return result


def read_literal(token: Token) -> Token:
    """The token, or a slip or a broken one if it is a string or number that cannot be read."""
    if token.type == "STRING":
        return _string(token)
    return _number(token) if token.type == "NUMBER" else token


def _string(token: Token) -> Token:
    text = str(token)
    if "\\" not in text:
        return token
    for escape in _ESCAPE.finditer(text):
        if escape["hex"] and 0xD800 <= int(escape["hex"], 16) < 0xE000:
            return broken(token, token, Mistake("REC110", f"`{escape[0]}` is half of a character"))
        if escape["one"] and escape["one"] not in _ESCAPES:
            doubled = _ESCAPE.sub(_doubled, text)
            mistake = Mistake(
                "REC110",
                f"a string has no escape `{escape[0]}`",
                why=r"known are `\"`, `\\`, `\n`, `\t`, `\r` and `\uXXXX`",
                help=replace(span_of(token), doubled, r"write `\\` for a backslash"),
            )
            return slip("STRING", doubled, span_of(token), mistake)
    return token


def _doubled(escape: re.Match[str]) -> str:
    known = escape["hex"] or escape["one"] in _ESCAPES
    return escape[0] if known else f"\\{escape[0]}"


def _number(token: Token) -> Token:
    number = token.rstrip("%")
    if len(number) <= 40 and float(number) <= 1e300:
        return token
    mistake = Mistake("REC111", "this number is too large or too long", help="write it as `1e30`")
    return broken(token, token, mistake)
