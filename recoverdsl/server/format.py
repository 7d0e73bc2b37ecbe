"""Format: rewrites the whole text in its canonical layout."""

from __future__ import annotations

from lsprotocol.types import TextEdit

from recoverdsl.errors import SpecError
from recoverdsl.language import format_text
from recoverdsl.server.document import Document


def format_document(document: Document) -> list[TextEdit]:
    """Return the edit that gives a text its canonical layout; none if it has it or cannot be parsed."""
    try:
        text = format_text(document.text)
    except SpecError:
        return []
    if "\r\n" in document.text:
        text = text.replace("\n", "\r\n")
    if text == document.text:
        return []
    return [TextEdit(document.lines.range(0, len(document.text)), text)]
