"""Blocks that have lost their kind: `scored {`, where `behavior scored {` is meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs
from attrs import evolve

from recoverdsl.language import schema
from recoverdsl.language.diagnostics import Collector, Edit, Help
from recoverdsl.language.diagnostics.suggestions import did_you_mean
from recoverdsl.language.schema.fields import flat, hints, keys
from recoverdsl.language.syntax.nodes import Attribute, Block, Call, Statement, Word


def add_kinds(statements: tuple[Statement, ...], report: Collector) -> tuple[Statement, ...]:
    """Return the statements, with its kind for each block that has lost it.

    What is reported is one mistake. A block whose kind is not certain keeps the word that it has.
    """
    blocks = [s for s in statements if isinstance(s, Block) and s.kind.text != "attribute"]
    kinds = {block.name.text: block.kind.text for block in blocks if block.name}
    return tuple(
        _with_kind(s, _kinds(s, kinds), report) if _lacks_kind(s, schema.KINDS)
        else evolve(s, body=tuple(_stages(s.body, report))) if isinstance(s, Block) and s.kind.text == "attack"
        else s
        for s in statements
    )  # fmt: skip


def _lacks_kind(statement: Statement, known: Iterable[str]) -> bool:
    if not isinstance(statement, Block) or statement.name or not statement.whole:
        return False
    word = statement.kind.text
    if word in schema.KINDS or word in schema.BLOCKS:
        return False
    near = did_you_mean(word, known)
    return near is None or not _fits(near, statement)


def _stages(body: Iterable[Statement], report: Collector) -> Iterable[Statement]:
    for statement in body:
        if isinstance(statement, Block) and _lacks_kind(statement, ("stage",)):
            statement = _with_kind(statement, ["stage"], report)
        yield statement


def _with_kind(statement: Statement, kinds: list[str], report: Collector) -> Statement:
    assert isinstance(statement, Block)
    word = statement.kind
    help: Help | str = f"write its kind before it, such as `attack {word.text} {{`"
    if len(kinds) == 1:
        help = Help(f"write `{kinds[0]} {word.text} {{`", (Edit(word.span.before, f"{kinds[0]} "),))
    report.add("REC201", f"expected the kind of a block, found `{word.text}`", word.span, help=help)
    if len(kinds) != 1:
        return evolve(statement, whole=False)
    return evolve(statement, kind=Word(kinds[0], span=word.span), name=word)


def _kinds(statement: Statement, named: Mapping[str, str]) -> list[str]:
    """Return the kinds that a block can be, by what it is like, or else by what it holds."""
    assert isinstance(statement, Block)
    if statement.like and statement.like.text in named:
        return [named[statement.like.text]]
    return [kind for kind in schema.KINDS if _fits(kind, statement)]


def _fits(kind: str, block: Block) -> bool:
    """Tell whether a block of some kind may hold what a block holds, and needs no more."""
    attributes = [s for s in block.body if isinstance(s, Attribute)]
    given = {s.key.name or "." for s in attributes}
    if kind == "sweep":
        return bool(given) and given <= {".", "zipped"}
    if kind == "measure":
        return bool(given) and given <= set(schema.METRICS)
    cls = schema.BLOCKS[kind]
    known = keys(cls)
    stages = any(isinstance(s, Block) for s in block.body)
    if stages != (kind == "attack") and stages:
        return False
    needed = {key for key, a in known.items() if a.default is attrs.NOTHING}
    if not given <= set(known) or not (needed <= given or block.like):
        return False
    calls = [(s.key.name or "", s.value.function.text) for s in attributes if isinstance(s.value, Call)]  # fmt: skip
    return all(
        schema.FUNCTIONS[function] in flat(hints(cls)[known[key].name])
        for key, function in calls
        if function in schema.FUNCTIONS
    )
