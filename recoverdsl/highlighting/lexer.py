"""A lexer for Pygments, and so for every tool that uses it, such as Sphinx, MkDocs and rich."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar

from pygments.lexer import Lexer
from pygments.token import (
    Comment,
    Error,
    Keyword,
    Name,
    Number,
    Operator,
    Punctuation,
    String,
    Whitespace,
)

from recoverdsl.highlighting.roles import Role, stretches

TOKENS: dict[Role, Any] = {
    Role.SPACE: Whitespace,
    Role.COMMENT: Comment.Single,
    Role.TEXT: String.Double,
    Role.ESCAPE: String.Escape,
    Role.COLUMN: String.Interpol,
    Role.NUMBER: Number,
    Role.UNIT: Keyword.Type,
    Role.STATEMENT: Keyword,
    Role.LINK: Keyword,
    Role.OPERATOR: Operator,
    Role.OPERATOR_WORD: Operator.Word,
    Role.TRUTH: Keyword.Constant,
    Role.PUNCTUATION: Punctuation,
    Role.BLOCK: Keyword.Declaration,
    Role.BLOCK_NAME: Name.Class,
    Role.KEY: Name.Attribute,
    Role.FUNCTION: Name.Function,
    Role.METRIC: Name.Builtin,
    Role.WORD: Name.Constant,
    Role.NAME: Name,
    Role.MISTAKE: Error,
}


class RecLexer(Lexer):  # type: ignore[misc]  # Pygments is not typed
    """`.rec` files."""

    name = "recoverdsl"
    aliases: ClassVar = ["rec", "recoverdsl"]
    filenames: ClassVar = ["*.rec"]
    mimetypes: ClassVar = ["text/x-recoverdsl"]
    url = "https://arxiv.org/abs/2606.18322"

    def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, Any, str]]:
        """Yield every stretch of the text: its offset, its token type and itself."""
        for role, start, end in stretches(text):
            yield start, TOKENS[role], text[start:end]

    @staticmethod
    def analyse_text(text: str) -> float:
        """Return 1 for a text that begins as a spec must begin, else 0."""
        return float(bool(re.match(r"(?:\s|#.*\n)*recoverdsl[ \t]+\d", text)))
