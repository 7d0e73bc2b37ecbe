"""Where the names of a spec are defined and used, for whoever wants to go there or to rename them.

The checker notes each name as it resolves it, so nothing here knows what a name may mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from attrs import define, field, fields, frozen

from recoverdsl.language.syntax import nodes
from recoverdsl.language.syntax.nodes import SET, Block, Param, Path, Source, Span, Word


@frozen
class Symbol:
    """The thing that a name names. Within a space every name names one thing."""

    space: str
    """`param`, or the kind of block; blocks of kinds that share their names have one space."""
    name: str
    owner: str | None = None
    """The attack that a stage belongs to."""


@frozen
class Place:
    """A stretch of a file."""

    span: Span
    file: str


@frozen
class Definition:
    """Where a name is given, and to what."""

    place: Place
    node: Block | Param


@define
class Index:
    """Every place of every name. A name that names nothing is in none."""

    file: str = "<text>"
    text: str = field(default="", repr=False)
    definitions: dict[Symbol, list[Definition]] = field(factory=dict)
    symbols: dict[Place, Symbol] = field(factory=dict)
    """The symbols where names are written: definitions and uses."""

    def define(self, symbol: Symbol, word: Word, node: Block | Param) -> None:
        """Note what a name is given to."""
        if place := self._note(symbol, word):
            self.definitions.setdefault(symbol, []).append(Definition(place, node))

    def use(self, symbol: Symbol, word: Word) -> None:
        """Note a use of a name."""
        self._note(symbol, word)

    def _note(self, symbol: Symbol, word: Word) -> Place | None:
        source = word.span.source or Source(self.file, self.text)
        place = Place(word.span, source.file)
        # A param's value stands where the param is used, and what `--set` gives stands in no file.
        if source.file == SET or source.text[word.span.start : word.span.end] != word.text:
            return None
        # Inherited attributes are read once for each heir.
        return place if self.symbols.setdefault(place, symbol) == symbol else None

    def places(self, symbol: Symbol) -> list[Place]:
        """Return where a name is written, in the order of the text."""
        found = [place for place, known in self.symbols.items() if known == symbol]
        return sorted(found, key=lambda place: (place.file, place.span.start))

    def at(self, offset: int) -> tuple[Symbol, Place] | None:
        """Return the name at an offset of the file, or just before it."""
        for place, symbol in self.symbols.items():
            if place.file == self.file and place.span.start <= offset <= place.span.end:
                return symbol, place
        return None

    def named(self, name: str) -> list[Symbol]:
        """Return everything that bears a name."""
        return [symbol for symbol in self.definitions if symbol.name == name]

    def guess(self, statements: Iterable[nodes.Statement], words: frozenset[str]) -> None:
        """Note the names in values that nothing has read, because something around them is wrong.

        A name is taken for what alone bears it. `words` have a meaning of their own.
        """
        alone: dict[str, Symbol | None] = {}
        for symbol in self.definitions:
            alone[symbol.name] = None if symbol.name in alone else symbol
        for word in heads(tuple(statements)):
            likely = alone.get(word.text)
            if likely and word.text not in words:
                self._note(likely, word)


def heads(node: Any) -> Iterator[Word]:
    """Return the first word of every path in a node: the names that it may refer to."""
    if isinstance(node, tuple):
        for item in node:
            yield from heads(item)
    elif isinstance(node, Path):
        if isinstance(node.parts[0], Word):
            yield node.parts[0]
        yield from heads(node.parts[1:])
    elif isinstance(node, nodes.Attribute):
        # A key is a word of its block, unless it is the path of an axis.
        yield from heads(node.key if len(node.key.parts) > 1 else ())
        yield from heads(node.value)
    elif hasattr(node, "__attrs_attrs__") and not isinstance(node, (Word, Span)):
        for a in fields(type(node)):
            yield from heads(getattr(node, a.name))
