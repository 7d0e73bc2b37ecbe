"""The rows of a run: the behavior of every example, and the recovery of each valid flip by each
attack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import evolve

from recoverdsl.compiler.steps import RunBase, RunDefended, Step
from recoverdsl.engine.behavior.observation import Observations
from recoverdsl.engine.steps.output import Output
from recoverdsl.measure.keys import PartKey
from recoverdsl.measure.rows import ExampleRow, Observation, Recovery


def example_rows(output: Output, ids: Mapping[str, str]) -> Iterator[ExampleRow]:
    """Yield the rows of the table of examples, table by table.

    Args:
        ids: id of each example to the one that artifacts hold; see `audit.texts.shown_ids`.
    """
    base, defended = (observed(output, kind) for kind in (RunBase, RunDefended))
    for table, key in output.graph.tables.items():
        for index, rows in zip(output.valid_flips, _recoveries(output, key), strict=True):
            before, after = base[index], defended[index]
            for part, recovery in rows:
                yield ExampleRow(
                    key=table,
                    part=part,
                    score_base=before.score,
                    score_defended=after.score,
                    rank_base=before.target.rank if before.target else None,
                    rank_defended=after.target.rank if after.target else None,
                    probability_base=before.target.probability if before.target else None,
                    probability_defended=after.target.probability if after.target else None,
                    recovery=evolve(recovery, example=ids[recovery.example]),
                )


def _recoveries(output: Output, key: str) -> list[list[tuple[PartKey | None, Recovery]]]:
    """Return the rows of each valid flip: one, or one for each part of δ and how it was replayed."""
    record = output.table(key)
    replays = record.replays() if record else ()
    return [
        list(rows)
        for rows in zip(
            *([(part, row) for row in replay.rows] for part, replay in replays), strict=True
        )
    ]


def observed(output: Output, kind: type[Step]) -> tuple[Observation, ...]:
    """Return the rows of the steps of a kind that observes the behavior, one for each example."""
    return tuple(
        row for key in output.graph.keys_of(kind) for row in output.record(key, Observations).rows
    )


def failed(output: Output) -> dict[str, str]:
    """Return the ids of the examples that failed without or with the clamp, with the reason."""
    rows = (*observed(output, RunBase), *observed(output, RunDefended))
    return {row.example: row.failed for row in rows if row.failed}
