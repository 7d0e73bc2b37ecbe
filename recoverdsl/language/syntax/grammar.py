"""The grammar of `.rec` files, and the texts that follow it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

from lark import Lark, Token
from lark.exceptions import UnexpectedInput
from lark.lark import PostLex
from lark.parsers.lalr_interactive_parser import InteractiveParser

from recoverdsl.language.syntax.builder import Builder
from recoverdsl.language.syntax.literals import is_literal
from recoverdsl.language.syntax.nesting import Nesting
from recoverdsl.language.syntax.nodes import Comment, Statement
from recoverdsl.language.syntax.tokens import span_of

LONGEST = 1 << 20
"""Characters in a spec."""

MOST = 350_000
"""Tokens in a spec."""

_REMEMBERED = 1 << 15
"""Characters of the longest text whose statements are remembered."""

_STATEMENTS = frozenset({"RECOVERDSL", "IMPORT", "AUDIT", "PARAM", "EXPECT"})
_COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*"|(#[^\n]*)')


class Layout(PostLex):  # type: ignore[misc]  # lark is not typed
    """The post-lexer: it does what the grammar leaves to it.

    Newlines within ( ) and [ ] are dropped, and a keyword before `=` is read as a name. A token that
    cannot be read, nests too deeply, or is one too many is passed on as `BROKEN`, which no rule takes.
    """

    always_accept = ("BROKEN",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        """Yield the tokens that the parser reads."""
        nesting, depth, held = Nesting(), 0, None
        for count, token in enumerate(stream):
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(token.value, 0)
            if depth > 0 and token.type == "NEWLINE":
                continue
            if count > MOST or nesting.too_deep(token) or not is_literal(token):
                token.type = "BROKEN"
            if held is not None:
                yield named(held, token)
            held = token
        if held is not None:
            yield named(held, Token("NEWLINE", ""))


def named(token: Token, following: Token) -> Token:
    """Return a token that stands before another: before `=` a keyword is a name like any other,
    and `by` before anything but a name.

    `audit = …` is none of these: what begins a statement outside all blocks takes no `=`.
    """
    if following.type == "EQUAL" and token.value.isidentifier() and token.type not in _STATEMENTS:
        token.type = "NAME"
    # Specs may have named something `by` before it became a keyword.
    if token.value == "by":
        token.type = "BY" if following.type == "NAME" else "NAME"
    return token


@cache
def grammar() -> str:
    """Return the text of the grammar: in the package of a wheel, in `grammar/` of a checkout."""
    package = Path(__file__).parents[1]
    for path in (package / "recover.lark", package.parents[1] / "grammar" / "recover.lark"):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError("recover.lark is missing from this installation of recoverdsl")


@cache
def _lark() -> Lark:
    return Lark(
        grammar(),
        start=["file", "statement", "head"],
        parser="lalr",
        lexer="basic",
        postlex=Layout(),
        keep_all_tokens=True,
        maybe_placeholders=False,
        transformer=Builder(),
    )


@cache
def terminals() -> dict[str, str]:
    """Return the grammar's terminals in Lark's order: the regular expression of each."""
    return {terminal.name: terminal.pattern.to_regexp() for terminal in _lark().terminals}


@cache
def words() -> dict[str, str]:
    """Return the fixed words and signs of the grammar, each with its type of token."""
    return {t.pattern.value: t.name for t in _lark().terminals if t.pattern.type == "str"}


def lexed(text: str) -> list[Token]:
    """Return every token as it is written, comments and spaces among them; none of a text that is too long."""
    return list(_lark().lex(text, dont_ignore=True)) if len(text) <= LONGEST else []


def parse_strictly(text: str) -> tuple[Statement, ...] | None:
    """Return the statements of a text; None if it does not follow the grammar."""
    return _remembered(text) if len(text) <= _REMEMBERED else _parsed(text)


def _parsed(text: str) -> tuple[Statement, ...] | None:
    try:
        statements: tuple[Statement, ...] = _lark().parse(text, start="file")
    except UnexpectedInput:
        return None
    return statements


# A file that several import is parsed once, and an editor checks a file again and again.
_remembered = lru_cache(maxsize=32)(_parsed)


def comments(text: str) -> tuple[Comment, ...]:
    """Return the comments of a text that follows the grammar."""
    found = []
    line, counted = 1, 0
    for match in _COMMENT.finditer(text):
        if match[1]:
            start = match.start()
            line, counted = line + text.count("\n", counted, start), start
            column = start - text.rfind("\n", 0, start)
            end = start + len(match[1])
            token = Token("COMMENT", match[1], start, line, column, line, column + end - start, end)
            found.append(Comment(match[1].rstrip(), span=span_of(token)))
    return tuple(found)


def interactive(start: str) -> InteractiveParser:
    """Return a parser of one `statement` or `head`, which is fed token by token."""
    return _lark().parse_interactive(start=start)
