"""The table of attacks and controls by budget, as text; every form of the report shows the same."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from recoverdsl.measure.intervals import Estimate
from recoverdsl.measure.results import AttackResult, Result
from recoverdsl.report.words import clean_line, figure, interval, norm, percent


@frozen
class Row:
    """One attack or control at one limit, formatted."""

    name: str
    kind: str
    """`attack` or `control`."""
    limit: str
    recovered: str
    """Recovery rate, `100%`."""
    interval: str
    """Its interval, `94.8–100%`; empty if there is none."""
    n: int
    """How many valid flips did not fail."""
    quiet: str
    """Zero-reactivation recovery."""
    drift: str
    reactivated: str
    norm: str
    smallest_norm: str
    """Only in the row of the largest limit, and if it was searched for; otherwise empty."""
    first: bool
    """Whether this is the first row of its attack or control."""


HEADINGS: dict[str, str] = {
    "limit": "norm ≤",
    "recovered": "recovered",
    "quiet": "recovered, none reactivated",
    "drift": "drift",
    "reactivated": "reactivated",
    "norm": "norm",
    "smallest_norm": "smallest norm",
}
"""Field of `Row` to its heading."""


def table(result: Result, *, decimals: int = 1) -> tuple[Row, ...]:
    """The rows, attacks first, each by ascending limit; percentages with so many decimals."""
    return tuple(
        row
        for kind, group in (("attack", result.attacks), ("control", result.controls))
        for name, outcome in group.items()
        for row in _rows(clean_line(name), kind, outcome, decimals)
    )


def _rows(name: str, kind: str, outcome: AttackResult, decimals: int) -> list[Row]:
    budgets = [(budget.limit, budget.metrics) for budget in outcome.budgets]
    # The headline has what the budgets lack: the smallest norm.
    budgets[-1:] = [(outcome.limit, outcome.metrics)]
    rows = []
    for i, (limit, metrics) in enumerate(budgets):
        rate = metrics.get("recovery_rate")
        rows.append(
            Row(
                name=name,
                kind=kind,
                limit=norm(limit),
                recovered=percent(_value(metrics, "recovery_rate"), decimals),
                interval=interval(rate, decimals) if rate else "",
                n=rate.n if rate else 0,
                quiet=percent(_value(metrics, "zero_reactivation_recovery"), decimals),
                drift=figure(_value(metrics, "drift")),
                reactivated=percent(_value(metrics, "reactivated_fraction"), decimals),
                norm=figure(_value(metrics, "norm")),
                smallest_norm=figure(_value(metrics, "smallest_norm"))
                if "smallest_norm" in metrics
                else "",
                first=i == 0,
            )
        )
    return rows


def _value(metrics: Mapping[str, Estimate], metric: str) -> float | None:
    estimate = metrics.get(metric)
    return estimate.value if estimate else None


def confidence(result: Result) -> float | None:
    """Confidence level of the recovery rate's interval, in (0, 1)."""
    used = result.intervals.get("recovery_rate")
    return used.confidence if used else None


def caption(result: Result) -> str:
    """What the table is over."""
    level = confidence(result)
    text = f"Over {result.counts.valid_flips} valid flips"
    if any(row.n != result.counts.valid_flips for row in table(result)):
        text += " unless a row gives another n"
    if level is not None:
        text += f"; in brackets the {percent(level)} interval"
    return text + "."
