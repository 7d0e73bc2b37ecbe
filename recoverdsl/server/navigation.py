"""Navigation from a name to its definition and its uses: definition, references, highlights."""

from __future__ import annotations

from pathlib import Path

from lsprotocol.types import DocumentHighlight, DocumentHighlightKind, Location, Position, Range
from pygls.uris import from_fs_path

from recoverdsl.language.checker.index import Symbol
from recoverdsl.language.schema.fields import value_words
from recoverdsl.language.syntax.nodes import Import
from recoverdsl.server.cursor import cursor_at
from recoverdsl.server.document import Document


def symbols_at(document: Document, offset: int) -> list[Symbol]:
    """Return the symbol of the word at an offset.

    In a statement that cannot be parsed these are all symbols of that name.
    """
    index = document.checked.index
    if found := index.at(offset):
        return [found[0]]
    cursor = cursor_at(document, offset)
    if cursor is None or cursor.word is None or not cursor.before or cursor.after in ("=", "("):
        return []
    word = str(cursor.word)
    return [] if word in value_words() else index.named(word)


def definitions(document: Document, offset: int) -> list[Location]:
    """Return where the name at an offset is defined; for a file named by `import`, its beginning."""
    index = document.checked.index
    for statement in document.checked.tree.statements:
        if isinstance(statement, Import) and document.path:
            path = statement.path
            other = document.path.with_name(Path(path.value).name)
            if path.span.start <= offset <= path.span.end and other.is_file():
                start = Position(0, 0)
                return [Location(from_fs_path(str(other)) or "", Range(start, start))]
    found = symbols_at(document, offset)
    return [
        document.location(definition.place.span)
        for symbol in found
        for definition in index.definitions.get(symbol, [])
    ]


def references(document: Document, offset: int, *, declaration: bool = True) -> list[Location]:
    """Return every place of the name at an offset, its definition included if asked for."""
    index = document.checked.index
    found = symbols_at(document, offset)
    given = [d.place for symbol in found for d in index.definitions.get(symbol, [])]
    places = [place for symbol in found for place in index.places(symbol)]
    return [document.location(p.span) for p in places if declaration or p not in given]


def highlights(document: Document, offset: int) -> list[DocumentHighlight]:
    """Return the places of the name at an offset in this file; a definition counts as a write."""
    index = document.checked.index
    if not (found := index.at(offset)):
        return []
    given = [definition.place for definition in index.definitions.get(found[0], [])]
    return [
        DocumentHighlight(
            document.lines.of(place.span),
            DocumentHighlightKind.Write if place in given else DocumentHighlightKind.Read,
        )
        for place in index.places(found[0])
        if place.file == document.file
    ]
