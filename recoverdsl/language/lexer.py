"""Text → tokens that can be parsed: slips mended, brackets matched, newlines inside them dropped."""

from __future__ import annotations

import re

from lark import Lark, Token

from recoverdsl.language.brackets import match_brackets
from recoverdsl.language.diagnostics import replace
from recoverdsl.language.lines import mend_lines
from recoverdsl.language.nodes import Comment
from recoverdsl.language.slips import mend_slips
from recoverdsl.language.tokens import Mistake, Tokens, broken, slip, span_of

_ESCAPE = re.compile(r"\\(?:u(?P<hex>[0-9a-fA-F]{4})|(?P<one>.))", re.DOTALL)
_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t", "r": "\r"}


def unescape(literal: str) -> str:
    """The text that a string literal stands for."""

    def one(match: re.Match[str]) -> str:
        return chr(int(match["hex"], 16)) if match["hex"] else _ESCAPES[match["one"]]

    return _ESCAPE.sub(one, literal[1:-1])


def tokenize(lark: Lark, text: str) -> Tokens:
    """Split a text into tokens. Never fails: what is wrong becomes a slip, or a mistake found."""
    kinds = {t.pattern.value: t.name for t in lark.terminals if t.pattern.type == "str"}
    result = Tokens()
    for token in lark.lex(text, dont_ignore=True):
        if token.type == "COMMENT":
            result.comments.append(Comment(token.value.rstrip(), span=span_of(token)))
        elif token.type == "STRING":
            result.tokens.append(_string(token))
        elif token.type == "NUMBER":
            result.tokens.append(_number(token))
        elif token.type != "SPACE":
            result.tokens.append(token)
    mend_slips(result, text, kinds)
    match_brackets(result, text, kinds)
    mend_lines(result, text, kinds)
    return result


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
