"""Rename: changes a name everywhere, provided that the spec keeps its meaning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from attrs import evolve
from lsprotocol.types import PrepareRenamePlaceholder, TextEdit

from recoverdsl.errors import UsageError
from recoverdsl.language import Checked, Symbol, parse
from recoverdsl.language.checker.index import Place
from recoverdsl.language.checker.scope import lost_names
from recoverdsl.language.syntax import nodes
from recoverdsl.language.syntax.nodes import Attribute
from recoverdsl.server.document import Document


def prepare(document: Document, offset: int) -> PrepareRenamePlaceholder | None:
    """Return the name at an offset; None where there is none that can be renamed."""
    found = document.checked.index.at(offset)
    if found is None or found[0] not in document.checked.index.definitions:
        return None
    return PrepareRenamePlaceholder(document.lines.of(found[1].span), found[0].name)


def rename(document: Document, offset: int, name: str) -> list[TextEdit]:
    """Return the edits that rename the symbol at an offset.

    Raises:
        UsageError: there is no name here, the new name is invalid or taken, or the rename would
            change the meaning of the spec.
    """
    index = document.checked.index
    found = index.at(offset)
    if found is None or found[0] not in index.definitions:
        raise UsageError("expected the cursor on a name that this spec defines")
    symbol = found[0]
    if name == symbol.name:
        return []
    if not _is_name(name):
        raise UsageError(
            f"expected a name, found `{name}`",
            help="use letters, digits and `_`, beginning with a letter or `_`, and no word of the language",
        )
    if _taken(document.checked, symbol, name):
        raise UsageError(f"`{name}` is already defined", help="choose another name")
    if _hidden(document, symbol):
        raise UsageError(
            f"`{symbol.name}` also occurs in a statement that cannot be parsed",
            help="fix that statement first",
        )
    places = index.places(symbol)
    if elsewhere := [Path(place.file).name for place in places if place.file != document.file]:
        raise UsageError(
            f"`{symbol.name}` is imported from {elsewhere[0]}",
            help="rename it there, then here and in every other file that imports it",
        )
    if not _same(document, places, symbol, name):
        raise UsageError(
            f"renaming it to `{name}` would change the meaning of the spec",
            help="choose another name",
        )
    return [TextEdit(document.lines.of(place.span), name) for place in places]


def _is_name(text: str) -> bool:
    """Tell whether a text parses as a name. (Before `=` every word does, so it is parsed after one.)"""
    tree, diagnostics = parse(f"x = {text}")
    if diagnostics or len(tree.statements) != 1:
        return False
    (one,) = tree.statements
    return (
        isinstance(one, Attribute) and isinstance(one.value, nodes.Path) and one.value.name == text
    )


def _taken(checked: Checked, symbol: Symbol, name: str) -> bool:
    """Tell whether a name is in use in the symbol's space; the name of a param must be free in all."""
    known = checked.index.definitions
    return evolve(symbol, name=name) in known or any(
        other.name == name and "param" in (other.space, symbol.space) for other in known
    )


def _hidden(document: Document, symbol: Symbol) -> bool:
    """Tell whether the name also occurs in text that could not be parsed."""
    checked = document.checked
    if symbol.name in lost_names(checked.tree.statements):
        return True
    lines = {d.span.line for d in checked.diagnostics if d.code.startswith("REC1")}
    read = {place.span.start for place in checked.index.places(symbol)}
    return any(
        token == symbol.name and token.line in lines and token.start_pos not in read
        for token in document.tokens
    )


def _same(document: Document, places: Sequence[Place], symbol: Symbol, name: str) -> bool:
    """Tell whether after the rename every name has the same symbol, and the mistakes are the same."""
    checked = document.checked
    text, starts = checked.tree.text, [place.span.start for place in places]
    longer = len(name) - len(symbol.name)
    ends = [place.span.end for place in places]
    parts = [text[a:b] for a, b in zip([0, *ends], [*starts, len(text)], strict=True)]
    after = document.check(name.join(parts))

    def moved(start: int) -> int:
        return start + longer * sum(place < start for place in starts)

    def named(other: Symbol) -> Symbol:
        owned = symbol.space == "attack" and other.owner == symbol.name
        if other == symbol:
            return evolve(other, name=name)
        return evolve(other, owner=name) if owned else other

    def own(one: Checked) -> dict[int, Symbol]:
        symbols = one.index.symbols.items()
        return {p.span.start: s for p, s in symbols if p.file == document.file}

    expected = {(moved(start), named(s)) for start, s in own(checked).items()}
    found = set(own(after).items())
    codes = [Counter(d.code for d in one.diagnostics) for one in (checked, after)]
    return expected == found and codes[0] == codes[1]
