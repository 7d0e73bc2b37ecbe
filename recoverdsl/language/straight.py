"""A text that follows the grammar, read as it stands.

What is right is never taken for something else: only a text that cannot be read in this way is looked
through for what its writer may have meant.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from lark import Lark, Token

from recoverdsl.language.lexer import MOST, read_literal, scan
from recoverdsl.language.machine import Machine
from recoverdsl.language.mending.brackets import PARTNER, limit_depth
from recoverdsl.language.syntax.nodes import Comment
from recoverdsl.language.tokens import Slip, Tokens, span_of

_BEGINNINGS = frozenset({"RECOVERDSL", "IMPORT", "AUDIT", "PARAM", "EXPECT"})


def read_straight(lark: Lark, text: str) -> tuple[tuple[Any, ...], list[Comment]] | None:
    """The statements and comments of a text; None if it does not follow the grammar."""
    read = _tokens(lark, text)
    if read is None:
        return None
    machine = Machine(lark)
    if not all(machine.take(token) for token in read.tokens):
        return None
    last = read.tokens[-1] if read.tokens else Token("NEWLINE", "", 0, 1, 1, 1, 1, 0)
    statements = machine.finish(last)
    return None if statements is None else (statements, read.comments)


def _tokens(lark: Lark, text: str) -> Tokens | None:
    """The tokens without newlines in round and square brackets; None if something is wrong with one."""
    read = Tokens()
    open_: list[str] = []
    for token in scan(lark, text):
        if token.type == "COMMENT":
            read.comments.append(Comment(token.value.rstrip(), span=span_of(token)))
            continue
        if token.value in PARTNER:
            open_.append(PARTNER[token.value])
        elif token.value in (")", "]"):
            if not open_ or open_.pop() != token.value:
                return None
        elif open_ and token.value in ("{", "}", ";"):
            return None
        if token.type == "NEWLINE" and open_:
            continue
        token = read_literal(token)
        if token.type == "BROKEN" or isinstance(token, Slip) or len(read.tokens) > MOST:
            return None
        read.tokens.append(token)
    if open_:
        return None
    for token, after in pairwise(read.tokens):
        # `with = …` and `in = …`: before an equals sign, a keyword is a name like any other.
        # `audit = …` is none of these: what begins a statement outside all blocks takes no `=`.
        if after.type == "EQUAL" and token.value.isidentifier() and token.type not in _BEGINNINGS:
            token.type = "NAME"
    limit_depth(read)
    return None if any(token.type == "BROKEN" for token in read.tokens) else read
