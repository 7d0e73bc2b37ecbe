"""Where a name is defined and used: definition, references, highlights."""

from __future__ import annotations

from pathlib import Path

from lsprotocol.types import DocumentHighlight, DocumentHighlightKind, Location, Position, Range
from pygls.uris import from_fs_path

from recoverdsl.language.checker.index import Symbol
from recoverdsl.language.schema.fields import value_words
from recoverdsl.language.syntax.nodes import Import
from recoverdsl.server.cursor import look
from recoverdsl.server.document import Document


def symbols_at(document: Document, offset: int) -> list[Symbol]:
    """What the word at an offset stands for.

    In a statement that cannot be read it is everything that bears the name.
    """
    index = document.checked.index
    if found := index.at(offset):
        return [found[0]]
    cursor = look(document, offset)
    if cursor is None or cursor.word is None or not cursor.before or cursor.after in ("=", "("):
        return []
    word = str(cursor.word)
    return [] if word in value_words() else index.named(word)


def definitions(document: Document, offset: int) -> list[Location]:
    """Where the name at an offset is defined; of the file that an `import` names, its beginning."""
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
    """Every place of the name at an offset, with those of its definitions only if asked for."""
    index = document.checked.index
    found = symbols_at(document, offset)
    given = [d.place for symbol in found for d in index.definitions.get(symbol, [])]
    places = [place for symbol in found for place in index.places(symbol)]
    return [document.location(p.span) for p in places if declaration or p not in given]


def highlights(document: Document, offset: int) -> list[DocumentHighlight]:
    """The places of the name at an offset in this file; a definition counts as written."""
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
