"""Texts with a cursor in them."""

from __future__ import annotations

from pathlib import Path

from recoverdsl.server.document import Document
from tests.language.texts import FULL, SMALL

FOLDER = Path(__file__).parents[2] / "specs"

SHIPPED = {path: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.rec"))}

SPECS = {path.stem: text for path, text in SHIPPED.items() if "\nimport " not in text}
"""The shipped specs that stand alone, by name: those that make sense without their folder."""

TEXTS = SPECS | {"full": FULL}
"""These, and the one that uses nearly everything."""


def at(text: str, *, whole: bool = False) -> tuple[Document, int]:
    """A text behind a small valid spec, and the place of the `|` in it, which is taken out."""
    text = text if whole else SMALL + text
    offset = text.index("|")
    return Document(text[:offset] + text[offset + 1 :]), offset


def on(text: str, word: str, nth: int = 0) -> tuple[Document, int]:
    """A text and the place inside the nth occurrence of a word in it."""
    offset = -1
    for _ in range(nth + 1):
        offset = text.index(word, offset + 1)
    return Document(text), offset + 1
