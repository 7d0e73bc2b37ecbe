"""Recovered share against the norm budget."""

from __future__ import annotations

import math

import pandas as pd
from attrs import frozen

from recoverdsl.measure.intervals import Estimate, wilson, wilson_of_shares
from recoverdsl.measure.summary import outcomes


@frozen
class Point:
    """The recovered share at one limit."""

    limit: float
    """Largest norm, in units of the residual stream; infinite if there was no limit."""
    share: Estimate
    """Over valid flips that did not fail, with Wilson's interval."""


@frozen
class Curve:
    """How recovery grows with the budget, for one attack or control."""

    kind: str
    """`attack` or `control`."""
    name: str
    points: tuple[Point, ...]
    """One per limit that was run, ascending."""
    reached: tuple[tuple[float, float], ...]
    """(norm, share of examples whose smallest recovering norm is at most that), ascending.

    The empirical distribution of the smallest norms. Its last share is below 1 if some example did
    not recover at any norm that was tried; it is empty if no search ran or nothing recovered.
    """


def recovery_curve(rows: pd.DataFrame, *, confidence: float = 0.95) -> tuple[Curve, ...]:
    """Compute the curve of each attack, then of each control, in the order of the table.

    Args:
        rows: a table of the schema `measure.table.SCHEMA`.
        confidence: of the Wilson intervals, in (0, 1).

    Raises:
        ValueError: `confidence` is not in (0, 1).
    """
    return tuple(
        Curve(
            kind,
            name,
            _points(outcomes(rows, kind, name), confidence),
            _reached(outcomes(rows, search, name)),
        )
        for kind, search in (("attack", "smallest_norm"), ("control", "smallest_norm_control"))
        for name in rows.loc[rows["kind"] == kind, "name"].unique()
    )


def _points(done: pd.DataFrame, confidence: float) -> tuple[Point, ...]:
    points = []
    for limit in sorted({float(limit) for limit in done["limit"]}):
        at = done[done["limit"] == limit]
        recovered, draws = at["recovered"], at["draw"]
        if draws.notna().any():
            share = wilson_of_shares(recovered, int(draws.sum()), confidence)
        else:
            share = wilson(int(recovered.sum()), len(recovered), confidence)
        points.append(Point(limit, share))
    return tuple(points)


def _reached(searched: pd.DataFrame) -> tuple[tuple[float, float], ...]:
    norms = sorted(float(norm) for norm in searched.loc[searched["recovered"], "norm"])
    norms = [norm for norm in norms if math.isfinite(norm)]
    # Of equal norms the last has the share of all of them.
    return tuple({norm: i / len(searched) for i, norm in enumerate(norms, start=1)}.items())
