"""The rows of a run: the behavior of every example, and what each attack achieved on the valid flips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import evolve

from recoverdsl.compiler.graph import Graph
from recoverdsl.compiler.steps import RunBase, RunDefended, Step
from recoverdsl.engine.behavior.observation import Observations
from recoverdsl.engine.steps.delta_split import DeltaParts
from recoverdsl.engine.steps.runner import Output
from recoverdsl.measure.keys import PartKey
from recoverdsl.measure.rows import ExampleRow, Observation, Recovery


def example_rows(graph: Graph, output: Output, ids: Mapping[str, str]) -> Iterator[ExampleRow]:
    """Yield the rows of the table of examples, table by table.

    Args:
        ids: id of each example to the one that artifacts hold.
    """
    base, defended = (observed(graph, output, kind) for kind in (RunBase, RunDefended))
    for table, key in graph.tables.items():
        for index, rows in zip(output.valid_flips, _recoveries(output, key), strict=True):
            for part, recovery in rows:
                yield ExampleRow(
                    key=table,
                    part=part,
                    score_base=base[index].score,
                    score_defended=defended[index].score,
                    recovery=evolve(recovery, example=ids[recovery.example]),
                )


def _recoveries(output: Output, key: str) -> list[list[tuple[PartKey | None, Recovery]]]:
    """Return the rows of each valid flip: one, or one for each part of δ and how it was replayed."""
    record = output.results[key].record
    if record is None:
        return []
    if not isinstance(record, DeltaParts):
        return [[(None, row)] for row in record.rows]
    replays = [
        [(PartKey(name, how), row) for row in replay.rows]
        for name, part in record.parts.items()
        for how, replay in part.replays()
    ]
    return [list(rows) for rows in zip(*replays, strict=True)]


def observed(graph: Graph, output: Output, kind: type[Step]) -> tuple[Observation, ...]:
    """Return the rows of the steps of a kind that observe the behavior."""
    return tuple(
        row for key in graph.keys_of(kind) for row in output.record(key, Observations).rows
    )


def failed(graph: Graph, output: Output) -> dict[str, str]:
    """Return the examples that could not be run at all, with the reason."""
    rows = (*observed(graph, output, RunBase), *observed(graph, output, RunDefended))
    return {row.example: row.failed for row in rows if row.failed}
