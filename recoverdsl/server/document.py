"""One version of a text, and what the language says of it."""

from __future__ import annotations

from functools import cached_property

from lark import Token
from lsprotocol.types import PositionEncodingKind

from recoverdsl.language import Checked, check
from recoverdsl.language.parser import lexed
from recoverdsl.server.lines import Lines


class Document:
    """A text as an editor shows it. What is known of it is worked out when it is asked for."""

    def __init__(
        self,
        text: str,
        uri: str = "file:///spec.rec",
        version: int | None = None,
        encoding: str = PositionEncodingKind.Utf16,
    ) -> None:
        self.text, self.uri, self.version, self.encoding = text, uri, version, encoding

    @cached_property
    def checked(self) -> Checked:
        """Its tree, its mistakes, and the places of its names."""
        return check(self.text, self.uri)

    @cached_property
    def tokens(self) -> list[Token]:
        """Its tokens as they are written, without spaces."""
        return [token for token in lexed(self.text) if token.type != "SPACE"]

    @cached_property
    def lines(self) -> Lines:
        """Its lines, in the client's encoding."""
        return Lines(self.text, self.encoding)
