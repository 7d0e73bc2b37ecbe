"""Texts with a cursor in them."""

from __future__ import annotations

from pathlib import Path

from recoverdsl.server.document import Document
from tests.language.texts import FULL, SMALL

FOLDER = Path(__file__).parents[2] / "specs"

SHIPPED = {path: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.rec"))}

SPECS = {path.stem: text for path, text in SHIPPED.items() if "\nimport " not in text}
"""The shipped specs without imports, by name: they can be checked outside their folder."""

TEXTS = SPECS | {"full": FULL}
"""The same, and the one that uses nearly all of the language."""


def at(text: str, *, whole: bool = False) -> tuple[Document, int]:
    """Return a text after a small valid spec, without its `|`, and the offset of the `|`."""
    text = text if whole else SMALL + text
    offset = text.index("|")
    return Document(text[:offset] + text[offset + 1 :]), offset


def on(text: str, word: str, nth: int = 0) -> tuple[Document, int]:
    """Return a text and an offset inside the nth occurrence of a word in it."""
    offset = -1
    for _ in range(nth + 1):
        offset = text.index(word, offset + 1)
    return Document(text), offset + 1
