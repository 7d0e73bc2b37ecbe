"""Completion outside values: statements, blocks and their heads, attributes, the axes of a sweep."""

from __future__ import annotations

from collections.abc import Iterator

from lsprotocol.types import CompletionItemKind as Kind

from recoverdsl.language import schema
from recoverdsl.language.schema import KINDS
from recoverdsl.language.schema import descriptions as meaning
from recoverdsl.language.schema.descriptions import required
from recoverdsl.language.schema.fields import describe, hints, keys
from recoverdsl.server.cursor import Cursor, Opened
from recoverdsl.server.expected_type import FUNCTION_NAMES, axis, parameters
from recoverdsl.server.offers import Offer, call_snippet, gap, names


def offer_statements(cursor: Cursor) -> Iterator[Offer]:
    """Yield what may be written at the cursor outside values."""
    before = [str(token) for token in cursor.before]
    block = cursor.block
    if block and block.kind == "sweep":
        yield from _axes(cursor, before)
    elif block and not before:
        yield from (_metrics(cursor) if block.kind == "measure" else _attributes(block, cursor))
    elif not block and not before:
        yield from _blocks(cursor)
    elif not block and before == ["attribute"]:
        yield from (Offer(name, Kind.Reference) for name in names(cursor, ["attack"]))
    elif not block and len(before) == 2 and before[0] in schema.BLOCKS:
        yield Offer("like", Kind.Keyword)
    elif not block and len(before) == 3 and before[2] == "like":
        others = names(cursor, [before[0]])
        yield from (Offer(name, Kind.Reference) for name in others if name != before[1])


def _blocks(cursor: Cursor) -> Iterator[Offer]:
    for kind in KINDS:
        yield Offer(kind, Kind.Class, _block(kind, cursor), meaning.statement(kind), "block")
    heads = {
        "expect": "expect ", "param": "param ${1:name} = $2", "audit": 'audit "$1"',
        "import": 'import "$1.rec"',
    }  # fmt: skip
    for word in schema.STATEMENTS:
        if word not in KINDS:
            rank = 0 if cursor.first and word == "recoverdsl" else 2
            snippet = heads.get(word, f"{word} 1")
            if word != "recoverdsl" or cursor.first:
                yield Offer(word, Kind.Keyword, snippet, meaning.statement(word), "", rank)


def _block(kind: str, cursor: Cursor) -> str:
    """Return a snippet of a block with its required attributes."""
    cls = schema.BLOCKS.get(kind)
    needed = [(key, a) for key, a in keys(cls).items() if required(a)] if cls else []
    width = max((len(key) for key, _ in needed), default=0)
    first = 1 if kind == "measure" else 2
    lines = [
        f"  {key:<{width}} = {gap(i, hints(cls)[a.name], cursor)}\n"
        for i, (key, a) in enumerate(needed, first)
    ]
    attacks = names(cursor, ["attack"]) if kind == "attribute" else []
    head = kind if kind == "measure" else f"{kind} ${{1:{[*attacks, 'name'][0]}}}"
    return f"{head} {{\n{''.join(lines) or f'  ${first}' + chr(10)}}}"


def _attributes(block: Opened, cursor: Cursor) -> Iterator[Offer]:
    """Yield the attributes that a block does not have yet, the required ones first."""
    if (cls := schema.BLOCKS.get(block.kind)) is None:
        return
    inherited = {key for one in cursor.lineage(block)[1:] for key in one.keys}
    for key, a in keys(cls).items():
        if key == "stage":
            snippet = _block("stage", cursor)
            yield Offer(key, Kind.Class, snippet, meaning.statement("stage"), "block", 2)
        elif key not in cursor.others:
            rank = 0 if required(a) and key not in inherited else 1
            snippet = key if cursor.after == "=" else f"{key} = "
            doc = meaning.field(block.kind, cls, key)
            yield Offer(key, Kind.Property, snippet, doc, describe(hints(cls)[a.name]), rank)


def _metrics(cursor: Cursor) -> Iterator[Offer]:
    for name, metric in schema.METRICS.items():
        if name not in cursor.others:
            interval = FUNCTION_NAMES[schema.Wilson if metric.rate else schema.Bootstrap]
            value = call_snippet(interval, parameters(interval)[0], cursor)
            snippet = name if cursor.after == "=" else f"{name} = {value}"
            yield Offer(name, Kind.Property, snippet, meaning.metric(name), metric.unit or "")


def _axes(cursor: Cursor, before: list[str]) -> Iterator[Offer]:
    """Yield the next word in the path of an axis."""
    dot = "" if cursor.after == "." else "."
    if not before:
        if dot:
            # A path that goes on begins with a block.
            yield from (Offer(name, Kind.Constant) for name in cursor.params)
            yield Offer("zipped", Kind.Property, "zipped = ${1:true}", rank=3)
        found = names(cursor, schema.BLOCKS)
        yield from (Offer(name, Kind.Reference, f"{name}{dot}") for name in found)
        kinds = [kind for kind in KINDS if kind != "sweep"]
        yield from (Offer(kind, Kind.Class, f"{kind}{dot}", rank=4) for kind in kinds)
    if before[-1:] != ["."]:
        return
    route = [word for word in before if word != "."]
    for block in axis(cursor, route):
        cls = schema.BLOCKS.get(block.kind)
        known = list(schema.METRICS) if block.kind == "measure" else list(keys(cls)) if cls else []
        yield from (Offer(key, Kind.Property) for key in known if key != "stage")
        inner = [one.name for one in block.inner if one.name]
        yield from (Offer(name, Kind.Reference, f"{name}{dot}") for name in inner)
    if len(route) == 1 and route[0] in KINDS:
        found = names(cursor, route)
        yield from (Offer(name, Kind.Reference, f"{name}{dot}") for name in found)
