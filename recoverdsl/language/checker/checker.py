"""Syntax tree → `Spec`. The attributes of a block are read from the schema's classes.

Each step reports its mistakes and goes on; a spec comes out only if there was no error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from attrs import evolve, field, frozen

from recoverdsl.language import schema
from recoverdsl.language.checker.definitions import define_blocks
from recoverdsl.language.checker.did_you_mean import Meant
from recoverdsl.language.checker.expectations import read_expectation
from recoverdsl.language.checker.heads import add_kinds
from recoverdsl.language.checker.index import Index, Symbol
from recoverdsl.language.checker.overrides import apply_overrides
from recoverdsl.language.checker.params import read_params
from recoverdsl.language.checker.paths import Paths
from recoverdsl.language.checker.points import MOST_POINTS, Point, at_point, count_points, points
from recoverdsl.language.checker.rules import check_meaning
from recoverdsl.language.checker.scope import SAME_SPACE, Scope, lost_names, substitute, symbol_of
from recoverdsl.language.checker.statements import read_measure, read_sweep
from recoverdsl.language.checker.values import INVALID, Values
from recoverdsl.language.diagnostics import Collector, Edit, Help, TooManyError, replace
from recoverdsl.language.schema.fields import hints, keys, value_words
from recoverdsl.language.schema.strongest import STRONGEST
from recoverdsl.language.schema.vocabulary import article
from recoverdsl.language.syntax import nodes
from recoverdsl.language.syntax.nodes import Attribute, Block, Source, Span, Tree


@frozen
class SpecAt:
    """The spec at one point of a sweep."""

    point: Point
    spec: schema.Spec
    tree: Tree = field(repr=False, eq=False)


def check_tree(
    tree: Tree,
    report: Collector,
    overrides: Mapping[str, str] | None = None,
    index: Index | None = None,
) -> tuple[schema.Spec | None, tuple[SpecAt, ...]]:
    """Return the spec that a tree describes, and at each point of its sweeps; None if anything is wrong.

    The places of its names are noted in `index`.
    """
    index = index or Index()
    try:
        check_version(tree.statements, report)
        tree = apply_overrides(tree, overrides or {}, report)
        statements = add_kinds(tree.statements, report)
        tree = evolve(tree, statements=Meant(report, schema.KINDS).statements(statements))
        spec = _check(tree, report, index)
        if not report.errors:
            swept = _check_points(tree, spec, report)
            if not report.errors:
                return spec, swept
    except TooManyError:
        return None, ()
    index.guess(tree.statements, value_words())
    return None, ()


def _check(tree: Tree, report: Collector, index: Index) -> schema.Spec:
    params, values = read_params(tree, report)
    for statement in tree.statements:
        if isinstance(statement, nodes.Param):
            index.define(Symbol("param", statement.name.text), statement.name, statement)
    return _Checker(substitute(tree, params, index), report, index).check(values)


def _check_points(tree: Tree, spec: schema.Spec, report: Collector) -> tuple[SpecAt, ...]:
    """Return the spec at each point of its sweeps, and report what is wrong there.

    Each value has its type and range already; here is what values do not allow together.
    """
    if (count := count_points(spec.sweeps)) > MOST_POINTS:
        name = next(iter(spec.sweeps))
        report.add(
            "REC420", f"the sweeps have {count:,} points together", spec.spans[f"sweep.{name}"],
            why=f"a spec has at most {MOST_POINTS}", help="give the axes fewer values, or add `zipped = true`",
        )  # fmt: skip
        return ()
    made: list[SpecAt] = []
    said: set[tuple[str, Span, str]] = set()
    for point in points(tree, spec.sweeps):
        here = Collector(tree.file, tree.text)
        there = at_point(tree, point, here)
        found = _check(there, here, Index())
        for d in here.errors:
            if (d.code, d.span, d.message) not in said:
                said.add((d.code, d.span, d.message))
                why = f"at a point of the sweep `{point.sweep}`: {point}"
                report.add(d.code, d.message, d.span, why=why, help=d.help, related=d.related)
        made.append(SpecAt(point, found, there))
    return tuple(made)


class _Checker:
    def __init__(self, tree: Tree, report: Collector, index: Index) -> None:
        self.tree, self.report, self.index = tree, report, index
        self.scope = Scope(report, index, lost=lost_names(tree.statements) | set(tree.unsure))
        self.values = Values(self.scope)
        self.spans: dict[str, Span] = {}
        self.read: dict[tuple[int, type], Any] = {}
        self.partial: set[str] = set()
        """Paths of blocks of which a part could not be read, so that nothing can be said to be missing."""
        self.stray = {s.key.name: s.key.span for s in tree.statements if isinstance(s, Attribute)}

    def check(self, params: Mapping[str, schema.Param]) -> schema.Spec:
        """Read everything. The spec is whole only if nothing was reported."""
        define_blocks(self.tree.statements, self.scope)
        self.scope.check_likes()
        found: dict[str, dict[str, Any]] = {plural: {} for plural in schema.PLURALS.values()}
        for (kind, name), block in self.scope.blocks.items():
            self.spans[f"{kind}.{name}"] = block.head
            if kind in schema.PLURALS:
                if kind == "attribute":
                    self.scope.find(name, (block.name or block.kind).span, ("attack",))
                value = self.block(block, schema.BLOCKS[kind], f"{kind}.{name}")
                if value is not INVALID:
                    found[schema.PLURALS[kind]][name] = value
        measures = self._measures()
        expects = self._expects(found)
        paths = Paths(self.tree, self.scope.lost, self.scope.unnamed)
        sweeps = {
            name: sweep
            for (kind, name), block in self.scope.blocks.items()
            if kind == "sweep" and (sweep := read_sweep(block, paths, self.values, params))
        }
        audit = [s for s in self.tree.statements if isinstance(s, nodes.Audit)]
        spec = schema.Spec(
            version=1,
            audit=audit[0].text.value if audit else None,
            **found,
            measures=measures,
            expects=expects,
            params=params,
            sweeps=sweeps,
            spans=self.spans,
        )
        self._reserved()
        check_meaning(spec, self.report, self.partial, self.scope.unnamed)
        return spec

    def _reserved(self) -> None:
        """Report an attack or control with the name of all attacks together, and rename it everywhere."""
        for kind in sorted(SAME_SPACE):
            block = self.scope.blocks.get((kind, STRONGEST))
            if block is None or block.name is None:
                continue
            other = f"strongest_{kind}"
            while any((known, other) in self.scope.blocks for known in SAME_SPACE):
                other += "_"
            places = self.index.places(symbol_of(kind, STRONGEST))
            here = [place.span for place in places if place.file == self.index.file]
            edits = tuple(Edit(span, other) for span in here) if len(here) == len(places) else ()
            self.report.add(
                "REC217",
                f"`{STRONGEST}` is the name of all attacks together",
                block.name.span,
                help=Help(f"take another name, such as `{other}`", edits),
            )

    # --- Blocks -------------------------------------------------------------------------------

    def block(self, block: Block, cls: type, path: str) -> Any:
        """Return the value of one block, by the fields of its class."""
        kind, known = block.kind.text, keys(cls)
        has_stages = "stage" in known
        self._repeats(block, known, has_stages)
        attributes, inner, whole = self.scope.attributes(block)
        if not whole:
            self.partial.add(path)
        given: dict[str, Any] = {}
        for key, attribute in attributes.items():
            a = known.get(key)
            if a is None or key == "stage":
                continue
            self.spans[f"{path}.{key}"] = attribute.span
            given[a.alias or a.name] = self._value(cls, a, key, attribute)
        if has_stages and inner:
            given["stages"] = self._stages(inner, path)
        for key, a in known.items():
            if (
                a.default is attrs.NOTHING
                and key not in attributes
                and whole
                and key not in self.stray
                # An attribute that another block lacks is reported there.
                and not (block.like and (kind, block.like.text) in self.scope.blocks)
            ):
                self.report.add(
                    "REC304", f"this `{kind}` block needs `{key}`", block.head, why=a.metadata.get("doc"),
                    help=f"add `{key} = …`",
                )  # fmt: skip
            if a.default is attrs.NOTHING and a.alias not in given:
                return INVALID
        return INVALID if any(v is INVALID for v in given.values()) else cls(**given)

    def _value(self, cls: type, a: attrs.Attribute[Any], key: str, attribute: Attribute) -> Any:
        """Return the value of an attribute, read once, however many blocks inherit it."""
        known = self.read.get((id(attribute), cls))
        if known is None:
            known = self.values.read(hints(cls)[a.name], attribute.value, f"`{key}`", a.metadata)
            self.read[id(attribute), cls] = known
        return known

    def _stages(self, inner: list[Block], path: str) -> Any:
        read = []
        for i, stage in enumerate(inner):
            if stage.kind.text == "stage":
                self.spans.setdefault(f"{path}.stage", stage.head)
                read.append(
                    self.block(
                        stage, schema.Stage, f"{path}.stage.{stage.name.text if stage.name else i}"
                    )
                )
        return INVALID if any(stage is INVALID for stage in read) else tuple(read)

    def _repeats(self, block: Block, known: Mapping[str, Any], has_stages: bool) -> None:
        """Report what a block holds that it does not take, or holds twice."""
        seen: dict[str, Span] = {}
        for statement in block.body:
            if isinstance(statement, Attribute):
                key = statement.key.name or ""
                if key in seen:
                    self.report.add(
                        "REC208",
                        f"`{key}` is given twice",
                        statement.key.span,
                        help="remove one of them",
                        related=[(seen[key], "first given here")],
                    )
                seen.setdefault(key, statement.key.span)
            elif isinstance(statement, Block) and statement.kind.text == "stage" and has_stages:
                name = f"stage {statement.name.text}" if statement.name else ""
                if name and name in seen:
                    self.report.add(
                        "REC207",
                        f"`{name}` is defined twice",
                        statement.head,
                        help="give one of them another name",
                        related=[(seen[name], "first defined here")],
                    )
                seen.setdefault(name, statement.head)
                if statement.name:
                    symbol = self.scope.stage(block, statement.name.text)
                    self.index.define(symbol, statement.name, statement)
                if statement.like:
                    self.report.add(
                        "REC213",
                        "a stage cannot be `like` another",
                        statement.like.span,
                        help="write out what it does, or let its attack be `like` another",
                    )
            elif isinstance(statement, Block) and statement.whole:
                self.report.add(
                    "REC213",
                    f"{article(statement.kind.text)} `{statement.kind.text}` block cannot stand inside {article(block.kind.text)} `{block.kind.text}` block",
                    statement.head,
                    help="write it at the top of the file",
                )
            elif not isinstance(statement, (nodes.Broken, Block)):
                message = "this cannot stand inside a block"
                help = "write it at the top of the file"
                self.report.add("REC213", message, statement.span, help=help)

    # --- Measures and expectations ------------------------------------------------------------

    def _measures(self) -> dict[str, schema.Interval]:
        measures: dict[str, schema.Interval] = {}
        seen: dict[str, Span] = {}
        for block in self.tree.statements:
            if isinstance(block, Block) and block.kind.text == "measure":
                for statement in block.body:
                    read_measure(statement, measures, seen, self.values, self.spans)
        return measures

    def _expects(self, found: Mapping[str, Mapping[str, Any]]) -> tuple[schema.Expectation, ...]:
        read: list[schema.Expectation] = []
        for statement in self.tree.statements:
            if isinstance(statement, nodes.Expect):
                path = f"expect.{len(read)}"
                if expectation := read_expectation(statement, self.values, path, self.spans):
                    read.append(expectation)
        return tuple(read)


def check_version(
    statements: Sequence[nodes.Statement], report: Collector, source: Source | None = None
) -> None:
    """Report a file that does not begin with its version, or gives it twice.

    Args:
        source: the file, if it is one that is imported.
    """
    first, *others = statements or (None,)
    start = Span(0, 0, 1, 1, 1, 1, source=source)
    versions = [s for s in others if isinstance(s, nodes.Version)]
    if isinstance(first, nodes.Version):
        number = first.number.text
        if number != "1":
            plain = number.rstrip("%0") in ("1", "1.")
            report.add(
                "REC112", f"this is version {number} of the language, and this tool knows version 1",
                first.number.span,
                help=replace(first.number.span, "1") if plain else "write `recoverdsl 1`, or update recoverdsl",
            )  # fmt: skip
    elif not isinstance(first, nodes.Broken):
        span = versions[0].span if versions else first.span if first else start
        message = (
            "the version comes first"
            if versions
            else "the spec does not say which version of the language it is in"
        )
        put = Edit((first.span if first else start).before, "recoverdsl 1\n\n")
        gone = tuple(Edit(version.span, "") for version in versions[:1])
        help = Help("begin the file with `recoverdsl 1`", (put, *gone))
        report.add("REC112", message, span.before, help=help)
        versions = versions[1:]
    for version in versions:
        help = Help("remove it", (Edit(version.span, ""),))
        report.add("REC213", "the version is given a second time", version.span, help=help)
