"""Conversion between offsets in a text and positions as an editor counts them."""

from __future__ import annotations

import re
from bisect import bisect_right

from lsprotocol.types import Position, PositionEncodingKind, Range

from recoverdsl.language import Span

_WIDTHS = {
    PositionEncodingKind.Utf8: ("utf-8", 1),
    PositionEncodingKind.Utf16: ("utf-16-le", 2),
    PositionEncodingKind.Utf32: ("utf-32-le", 4),
}
"""Encodings that a client may ask for, with the bytes of one unit."""


class Lines:
    """The lines of a text. A line ends with `\\n`, `\\r\\n` or `\\r` and with nothing else.

    Spans count characters, and only `\\n` ends their lines, so every conversion is by offset.
    """

    def __init__(self, text: str, encoding: str = PositionEncodingKind.Utf16) -> None:
        self.text = text
        self.starts = [0, *(end.end() for end in re.finditer(r"\r\n|\n|\r", text))]
        self._codec, self._width = _WIDTHS[PositionEncodingKind(encoding)]

    def _units(self, text: str) -> int:
        return len(text.encode(self._codec, "surrogatepass")) // self._width

    def position(self, offset: int) -> Position:
        """Return the position of an offset."""
        line = bisect_right(self.starts, offset) - 1
        return Position(line, self._units(self.text[self.starts[line] : offset]))

    def range(self, start: int, end: int) -> Range:
        """Return the range between two offsets."""
        return Range(self.position(start), self.position(end))

    def of(self, span: Span) -> Range:
        """Return the range of a span."""
        return self.range(span.start, span.end)

    def offset(self, position: Position) -> int:
        """Return the offset of a position; one past the end of its line or text is that end."""
        if position.line >= len(self.starts):
            return len(self.text)
        start = self.starts[position.line]
        stop = self.starts[position.line + 1] if position.line + 1 < len(self.starts) else None
        line = self.text[start:stop].rstrip("\r\n")
        units = 0
        for i, character in enumerate(line):
            if units >= position.character:
                return start + i
            units += self._units(character)
        return start + len(line)
