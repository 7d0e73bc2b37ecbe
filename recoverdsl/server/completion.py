"""Completion: lists what may be written at the cursor, the likeliest first."""

from __future__ import annotations

from collections.abc import Iterable

from lsprotocol.types import (
    CompletionItem,
    CompletionItemKind,
    CompletionList,
    InsertTextFormat,
    MarkupContent,
    MarkupKind,
    Range,
    TextEdit,
)

from recoverdsl.server.cursor import Cursor, cursor_at, is_string
from recoverdsl.server.document import Document
from recoverdsl.server.expected_type import expected_at
from recoverdsl.server.offers import Offer
from recoverdsl.server.statement_completion import offer_statements
from recoverdsl.server.value_completion import offer_values

MOST = 200
"""Entries in one list. A release may have thousands of SAEs; the editor asks again as one types."""


def complete(
    document: Document,
    offset: int,
    *,
    snippets: bool = True,
    markup: MarkupKind = MarkupKind.Markdown,
) -> CompletionList:
    """Return what may be written at an offset. Works on any text, however broken."""
    cursor = cursor_at(document, offset)
    if cursor is None:
        return CompletionList(False, [])
    start = cursor.start + (cursor.word is not None and is_string(cursor.word))
    typed = document.text[start:offset]
    offers = _fitting(_offers(cursor, document), typed)
    edited = document.lines.range(start, offset)
    return CompletionList(
        is_incomplete=len(offers) > MOST,
        items=[_item(offer, edited, snippets, markup) for offer in offers[:MOST]],
    )


def _offers(cursor: Cursor, document: Document) -> Iterable[Offer]:
    if cursor.word is not None and cursor.word.type == "NUMBER":
        return []
    value = expected_at(cursor)
    if value is not None:
        offers = offer_values(cursor, value, document)
        # Only a function can precede a bracket.
        called = cursor.after == "("
        return [o for o in offers if o.kind == CompletionItemKind.Function] if called else offers
    in_text = cursor.word is not None and is_string(cursor.word)
    return [] if in_text or "=" in cursor.before else offer_statements(cursor)


def _fitting(offers: Iterable[Offer], typed: str) -> list[Offer]:
    """Return the offers that contain what is typed, the likeliest first, each word once."""
    found: dict[str, Offer] = {}
    for offer in offers:
        if typed.casefold() in offer.label.casefold():
            found.setdefault(offer.label, offer)
    return sorted(found.values(), key=lambda offer: offer.rank)


def _item(offer: Offer, edited: Range, snippets: bool, markup: MarkupKind) -> CompletionItem:
    snippet = offer.snippet if snippets else None
    return CompletionItem(
        offer.label,
        kind=offer.kind,
        detail=offer.detail or None,
        documentation=MarkupContent(markup, offer.doc) if offer.doc else None,
        sort_text=f"{offer.rank}{offer.label}",
        filter_text=offer.label,
        text_edit=TextEdit(edited, snippet or offer.plain),
        insert_text_format=InsertTextFormat.Snippet if snippet else InsertTextFormat.PlainText,
    )
