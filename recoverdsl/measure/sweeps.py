"""The results of a sweep: one spec at many points, as one record and one table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from recoverdsl.measure.results import (
    Result,
    SpecIdentity,
    from_text,
    metric_rows,
    to_data,
    to_text,
)

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "recoverdsl/sweep/2"
FORMER = "recoverdsl/sweep/1"
"""The schema before: its points have results of the former schema."""

_COLUMNS = frozenset(
    {
        "sweep", "point", "kind", "name", "limit", "metric", "value", "low", "high", "n",
        "valid_flips", "verdict",
    }
)  # fmt: skip
"""The columns of the table other than the axes."""

_NUMBER = re.compile(r"(?:norm\s*<=\s*)?(-?\s*\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(%?)")


@frozen
class PointResult:
    """The result of the spec at one point of a sweep."""

    sweep: str
    """Name of the sweep."""
    values: dict[str, str]
    """Axis to its value, both as the spec writes them."""
    folder: str
    """The point's run folder, relative to that of the sweep."""
    result: Result
    """The result at that point."""


@frozen
class SweepResult:
    """The whole result of a run of a spec with sweeps."""

    spec: SpecIdentity
    """Which spec was run."""
    points: tuple[PointResult, ...]
    """In the order of the spec: sweep by sweep, the last axis running fastest."""
    schema: str = field(default=SCHEMA)
    """Name and version of this record's form."""

    @property
    def sweeps(self) -> dict[str, tuple[PointResult, ...]]:
        """Name of each sweep to its points."""
        return {name: tuple(group) for name, group in groupby(self.points, lambda p: p.sweep)}

    @property
    def failing(self) -> tuple[PointResult, ...]:
        """Points whose verdict is `does_not_hold` or `inconclusive`."""
        return tuple(
            p for p in self.points if p.result.verdict in ("does_not_hold", "inconclusive")
        )


def to_json(swept: SweepResult) -> str:
    """Write a sweep as JSON: same sweep, same bytes."""
    return to_text(
        {
            "schema": swept.schema,
            "spec": to_data(swept.spec),
            "points": [
                {
                    "sweep": point.sweep, "values": dict(point.values), "folder": point.folder,
                    "result": to_data(point.result),
                }
                for point in swept.points
            ],
        }
    )  # fmt: skip


def from_json(text: str) -> SweepResult:
    """Read a sweep that `to_json` wrote, in this version or when the schema was the former one.

    Raises:
        UsageError: the text is not JSON, is of another schema, or does not have its structure.
    """
    return evolve(from_text(text, SweepResult, SCHEMA, FORMER), schema=SCHEMA)


def number(value: str) -> float | None:
    """Return the number that an axis's value is, or to which it limits a norm; None for words and
    lists."""
    found = _NUMBER.fullmatch(value.strip())
    if found is None:
        return None
    return float(found[1].replace(" ", "")) / (100 if found[2] else 1)


def axes_of(points: Sequence[PointResult]) -> tuple[str, ...]:
    """Return the axes of a sweep, those along which the value changes first."""
    axes = list(points[0].values) if points else []
    return tuple(sorted(axes, key=lambda a: len({p.values[a] for p in points}) == 1))


def to_frame(swept: SweepResult) -> pd.DataFrame:
    """Return a table with one row per point, attack or control, limit and metric.

    Columns: `sweep`, `point` (from 1), one for each axis by its path (numbers where all of its values
    are; `param.n` for a param `n` that has the name of another column), `kind`, `name`, `limit`,
    `metric`, `value`, `low`, `high`, `n`; `valid_flips` (of the behavior and the clamp of the attack or
    control); and `verdict` of the point.
    """
    import pandas as pd

    rows = [
        {
            "sweep": point.sweep,
            "point": number,
            **{_column(axis): value for axis, value in point.values.items()},
            **row,
            "valid_flips": point.result.counts_of(outcomes[row["name"]]).valid_flips,
            "verdict": point.result.verdict,
        }
        for number, point in enumerate(swept.points, start=1)
        for outcomes in ({**point.result.attacks, **point.result.controls},)
        for row in metric_rows(point.result)
    ]
    frame = pd.DataFrame(rows)
    for axis in {_column(axis) for point in swept.points for axis in point.values}:
        numbers = {v: number(v) for v in frame[axis].dropna().unique()} if len(frame) else {}
        if numbers and None not in numbers.values():
            frame[axis] = frame[axis].map(_as_numbers(numbers))
    return frame


def _column(axis: str) -> str:
    return f"param.{axis}" if axis in _COLUMNS else axis


def _as_numbers(numbers: Mapping[str, float | None]) -> dict[str, float | int]:
    whole = all(n is not None and n.is_integer() for n in numbers.values())
    return {text: int(n) if whole else n for text, n in numbers.items() if n is not None}
