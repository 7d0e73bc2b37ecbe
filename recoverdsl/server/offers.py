"""An offer of completion: a word, the text that it inserts, and its meaning."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal, get_args, get_origin

from attrs import frozen
from lsprotocol.types import CompletionItemKind

from recoverdsl.language.schema import FORMS
from recoverdsl.language.schema.fields import flat
from recoverdsl.language.schema.vocabulary import Ref
from recoverdsl.server.cursor import Cursor
from recoverdsl.server.expected_type import Parameter


@frozen
class Offer:
    """One entry of the list."""

    label: str
    kind: CompletionItemKind
    snippet: str | None = None
    """The text it inserts, with `$1` or `${1:…}` for each gap to fill in; None inserts its label."""
    doc: str = ""
    detail: str = ""
    rank: int = 1
    """Lower ones come first."""

    @property
    def plain(self) -> str:
        """The text it inserts in an editor without snippets."""
        if self.snippet is None or "\n" in self.snippet:
            return self.label
        text = re.sub(r"\$\d+|\$\{\d+:((?:\\.|[^}\\])*)\}", r"\1", self.snippet)
        return re.sub(r"\\(.)", r"\1", text)


def escaped(text: str) -> str:
    """Escape a text for a snippet."""
    return re.sub(r"([\\$}])", r"\\\1", text)


def call_snippet(name: str, takes: Iterable[Parameter], cursor: Cursor) -> str:
    """Return a snippet of a call with its required arguments: the first by position, the rest by name."""
    if cursor.after == "(":
        return name
    needed = [parameter for parameter in takes if parameter.required]
    gaps = [gap(i, one.annotation, cursor) for i, one in enumerate(needed, 1)]
    parts = [f"{one.key} = {gaps[i]}" if i else gaps[i] for i, one in enumerate(needed)]
    return f"{name}({', '.join(parts) or '$1'})"


def gap(number: int, annotation: Any, cursor: Cursor) -> str:
    """Return a gap of a snippet, with an example of what belongs there."""
    types = flat(annotation)
    if str in types:
        return f'"${number}"'
    for one in types:
        if text := _example(one, cursor):
            return f"${{{number}:{escaped(text)}}}"
    return f"${number}"


def _example(one: Any, cursor: Cursor) -> str:
    if kinds := referred(one):
        return [*names(cursor, kinds), kinds[0]][0]
    if get_origin(one) is Literal:
        return str(get_args(one)[0])
    found = re.search(r"`([^`]+)`", FORMS[one]) if one in FORMS else None
    text = found[1] if found else ""
    for kind, word in (("model", "model"), ("sae", "mid")):
        if known := names(cursor, [kind]):
            text = re.sub(rf"\b{word}\b", known[0], text)
    return text


def referred(one: Any) -> Sequence[str]:
    """Return the kinds of block that a type refers to by name; none if it is no reference."""
    marks = [mark for mark in getattr(one, "__metadata__", ()) if isinstance(mark, Ref)]
    return marks[0].kinds if marks else ()


def names(cursor: Cursor, kinds: Collection[str]) -> list[str]:
    """List the names of the blocks of these kinds, without the one around the cursor."""
    return [name for _, name in named(cursor, kinds)]


def named(cursor: Cursor, kinds: Collection[str]) -> list[tuple[str, str]]:
    """List kind and name of the blocks of these kinds, without the one around the cursor."""
    here = cursor.block
    while here and here.outer:
        here = here.outer
    own = [(b.kind, b.name) for b in cursor.blocks if b is not here and b.name]
    found = {name: kind for kind, name in [*own, *cursor.imported] if kind in kinds}
    return [(kind, name) for name, kind in found.items()]
