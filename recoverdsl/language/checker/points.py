"""A sweep, taken apart: the spec at each of its points."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from attrs import evolve, frozen

from recoverdsl.language.checker.overrides import set_value
from recoverdsl.language.diagnostics import Collector
from recoverdsl.language.schema import Sweep
from recoverdsl.language.syntax import nodes
from recoverdsl.language.syntax.nodes import Attribute, Block, List, Tree
from recoverdsl.language.syntax.printer import print_expression

MOST_POINTS = 400
"""Points of all sweeps of a spec together."""


@frozen
class Point:
    """One combination of the values of a sweep's axes."""

    sweep: str
    """Name of the sweep."""
    values: Mapping[str, str]
    """Axis to its value, both as `--set` takes them, in the order of the text."""
    changes: tuple[Attribute, ...]
    """The same as they are written."""

    def __str__(self) -> str:
        return ", ".join(f"{axis} = {value}" for axis, value in self.values.items())


def count_points(sweeps: Mapping[str, Sweep]) -> int:
    """Return how many points all sweeps have together."""
    total = 0
    for sweep in sweeps.values():
        lengths = [len(values) for values in sweep.axes.values()]
        product = 1
        for length in lengths:
            product *= length
        total += min(lengths, default=0) if sweep.zipped else product if lengths else 0
    return total


def points(tree: Tree, sweeps: Mapping[str, Sweep]) -> Iterator[Point]:
    """Return the points of every sweep, in the order of the text; the last axis of a product runs fastest."""
    for block in tree.statements:
        if not isinstance(block, Block) or not _is_sweep(block) or block.name is None:
            continue
        sweep = sweeps.get(block.name.text)
        if sweep is None:
            continue
        axes = [
            [evolve(s, value=item) for item in _items(s)]
            for s in block.body
            if isinstance(s, Attribute) and print_expression(s.key) in sweep.axes
        ]
        for changes in zip(*axes, strict=True) if sweep.zipped else itertools.product(*axes):
            values = {print_expression(c.key): print_expression(c.value) for c in changes}
            yield Point(block.name.text, values, tuple(changes))


def at_point(tree: Tree, point: Point, report: Collector) -> Tree:
    """Return the tree as if the values of a point were written in it, without its sweeps."""
    for change in point.changes:
        tree = set_value(tree, change, report)
    return without_sweeps(tree)


def without_sweeps(tree: Tree) -> Tree:
    """Return the tree without its sweeps and the comments in them."""
    swept = [s.span for s in tree.statements if _is_sweep(s)]
    return evolve(
        tree,
        statements=tuple(s for s in tree.statements if not _is_sweep(s)),
        comments=tuple(
            c for c in tree.comments
            if not any(span.start <= c.span.start < span.end for span in swept)
        ),
    )  # fmt: skip


def _items(axis: Attribute) -> tuple[nodes.Expression, ...]:
    return axis.value.items if isinstance(axis.value, List) else (axis.value,)


def _is_sweep(statement: nodes.Statement) -> bool:
    return isinstance(statement, Block) and statement.kind.text == "sweep"
