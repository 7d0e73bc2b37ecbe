"""Completion: what may be written at the cursor, most likely first."""

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

from recoverdsl.server.completing_statements import offer_statements
from recoverdsl.server.completing_values import offer_values
from recoverdsl.server.cursor import Cursor, is_string, look
from recoverdsl.server.document import Document
from recoverdsl.server.offers import Offer
from recoverdsl.server.wanted import wanted

MOST = 200
"""Entries of a list. A release may have thousands of SAEs; the list is asked for again as one types."""


def complete(
    document: Document,
    offset: int,
    *,
    snippets: bool = True,
    markup: MarkupKind = MarkupKind.Markdown,
) -> CompletionList:
    """What may be written at an offset. Works on any text, however broken."""
    cursor = look(document, offset)
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
    value = wanted(cursor)
    if value is not None:
        offers = offer_values(cursor, value, document)
        # In front of a bracket stands what can be called.
        called = cursor.after == "("
        return [o for o in offers if o.kind == CompletionItemKind.Function] if called else offers
    in_text = cursor.word is not None and is_string(cursor.word)
    return [] if in_text or "=" in cursor.before else offer_statements(cursor)


def _fitting(offers: Iterable[Offer], typed: str) -> list[Offer]:
    """The offers that hold what is typed, the likely ones first, each word once."""
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
