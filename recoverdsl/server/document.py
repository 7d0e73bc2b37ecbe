"""One version of an open text, with its check."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from lark import Token
from lsprotocol.types import Location, PositionEncodingKind
from pygls.uris import from_fs_path, to_fs_path

from recoverdsl.language import Checked, Diagnostic, Reader, beside, check
from recoverdsl.language.syntax.grammar import lexed
from recoverdsl.language.syntax.nodes import SET, Span
from recoverdsl.server.lines import Lines


class Document:
    """A text as an editor shows it. Everything derived from it is computed on first use.

    Args:
        read: reads the files beside it, with the editor's version of those that are open; by
            default all are read from disk.
    """

    def __init__(
        self,
        text: str,
        uri: str = "file:///spec.rec",
        version: int | None = None,
        encoding: str = PositionEncodingKind.Utf16,
        read: Reader | None = None,
    ) -> None:
        self.text, self.uri, self.version, self.encoding = text, uri, version, encoding
        path = to_fs_path(uri) if uri.startswith("file:") else None
        self.file = path or uri
        """Its name in diagnostics and in the index."""
        self.path = Path(path) if path else None
        self.read = read or (beside(self.path) if self.path else None)

    def check(self, text: str) -> Checked:
        """Check another text in place of this one."""
        return check(text, self.file, read=self.read)

    @cached_property
    def checked(self) -> Checked:
        """Its tree, its diagnostics and the index of its names."""
        return self.check(self.text)

    @property
    def own(self) -> tuple[Diagnostic, ...]:
        """The mistakes in this text itself, without those in files that it imports."""
        return tuple(one for one in self.checked.diagnostics if one.file == self.file)

    @cached_property
    def tokens(self) -> list[Token]:
        """Its tokens as written, without spaces."""
        return [token for token in lexed(self.text) if token.type != "SPACE"]

    @cached_property
    def lines(self) -> Lines:
        """Its lines, in the client's encoding."""
        return Lines(self.text, self.encoding)

    def location(self, span: Span) -> Location:
        """Return where a span is, in this file or in one that it imports."""
        if span.source is None or span.source.file == SET:
            return Location(self.uri, self.lines.of(span))
        lines = Lines(span.source.text, self.encoding)
        return Location(from_fs_path(span.source.file) or span.source.file, lines.of(span))
