"""The rows of a run: the behavior of every example, and the recovery of each valid flip by each
attack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import evolve

from recoverdsl.engine.behavior.observation import Observations
from recoverdsl.engine.steps.output import Output
from recoverdsl.engine.steps.target_records import ChosenTargets
from recoverdsl.measure.keys import PartKey
from recoverdsl.measure.rows import ExampleRow, Observation, Recovery, WithoutDelta


def example_rows(output: Output, ids: Mapping[str, str]) -> Iterator[ExampleRow]:
    """Yield the rows of the table of examples, table by table.

    Args:
        ids: id of each example to the one that artifacts hold; see `audit.texts.shown_ids`.
    """
    for table, key in output.graph.tables.items():
        pairs = zip(_without_delta(output, key), _recoveries(output, key), strict=True)
        for without, rows in pairs:
            for part, draw, recovery in rows:
                shown = evolve(recovery, example=ids[recovery.example])
                yield ExampleRow(key=table, part=part, draw=draw, without=without, recovery=shown)


def _without_delta(output: Output, key: str) -> list[WithoutDelta]:
    """Return the figures that the goal of a step has without δ, for each valid flip."""
    flips, inputs = output.flips(key), output.graph[key].inputs
    if flips and "targets" in inputs:
        chosen = output.record(inputs["targets"], ChosenTargets).rows
        return [one.without or WithoutDelta() for one in chosen]
    kept = output.graph[inputs["flips"]].inputs
    base, defended = (observed(output, kept[role]) for role in ("base", "defended"))
    return [
        WithoutDelta.of((before.score, after.score), before.target, after.target)
        for before, after in ((base[index], defended[index]) for index in flips)
    ]


def _recoveries(
    output: Output, key: str
) -> list[list[tuple[PartKey | None, int | None, Recovery]]]:
    """Return the rows of each valid flip: one, or one for each random draw, or for each part of δ and how
    it was replayed."""
    record = output.table(key)
    replays = record.replays() if record else ()
    return [
        list(rows)
        for rows in zip(
            *([(part, replay.draw, row) for row in replay.rows] for part, replay in replays),
            strict=True,
        )
    ]


def observed(output: Output, key: str) -> tuple[Observation, ...]:
    """Return the rows of a step that observes a behavior, one for each example."""
    return output.record(key, Observations).rows


def failed(output: Output, *keys: str) -> dict[str, str]:
    """Return the ids of the examples that failed in steps that observe behaviors, with the reason."""
    rows = [row for key in keys for row in observed(output, key)]
    return {row.example: row.failed for row in rows if row.failed}
