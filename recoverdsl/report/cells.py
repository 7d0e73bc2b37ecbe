"""The tables of attacks and controls as text; every form of the report shows the same cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd
from attrs import frozen

from recoverdsl.language.schema.strongest import STRONGEST
from recoverdsl.measure.intervals import Estimate
from recoverdsl.measure.results import AttackResult, Result
from recoverdsl.measure.strongest import with_strongest
from recoverdsl.report.clamps import clamp_named, flips_of_all, several
from recoverdsl.report.words import clean_line, enumerated, figure, interval, norm, percent, plural


@frozen
class Row:
    """One attack or control at one limit, formatted."""

    name: str
    kind: str
    """`attack` or `control`."""
    limit: str
    recovered: str
    """Recovery rate, such as `100%`."""
    interval: str
    """Its interval, such as `94.8–100%`; empty if there is none."""
    n: int
    """The number of valid flips that did not fail."""
    zero_reactivation: str
    """Zero-reactivation recovery."""
    base_like: str
    """Rate of base-like texts."""
    drift: str
    generated_drift: str
    reactivated: str
    norm: str
    smallest_norm: str
    """Only in the row of the largest limit, if it was searched for; otherwise empty."""
    first: bool
    """Whether this is the first row of its attack or control."""
    under: str = ""
    """` under` and the name of its clamp, where there are several."""


@frozen
class Cost:
    """The mean cost per example of one attack or control at its largest limit, formatted."""

    name: str
    kind: str
    limit: str
    forward_passes: str
    gradient_steps: str
    steps: str
    """Steps until the behavior was recovered, over the examples that recovered."""


_HEADINGS: dict[str, str] = {
    "limit": "norm ≤",
    "recovered": "recovered",
    "zero_reactivation": "recovered, none reactivated",
    "drift": "drift",
    "reactivated": "reactivated",
    "norm": "norm",
    "smallest_norm": "smallest norm",
}
_TEXT_HEADINGS: dict[str, str] = {
    "limit": "norm ≤",
    "recovered": "recovered",
    "base_like": "base-like",
    "drift": "drift on the target",
    "generated_drift": "drift on the generated text",
    "reactivated": "reactivated",
    "norm": "norm",
    "smallest_norm": "smallest norm that reaches the target",
}

COST_HEADINGS: dict[str, str] = {
    "limit": "norm ≤",
    "forward_passes": "forward passes",
    "gradient_steps": "gradients",
    "steps": "steps until recovered",
}
"""The heading of each field of `Cost`."""


def headings(result: Result) -> dict[str, str]:
    """Return the heading of each field of `Row` that applies to this result."""
    known = _TEXT_HEADINGS if generates(result) else _HEADINGS
    searched = any("smallest_norm" in outcome.metrics for _, _, outcome in outcomes_of(result))
    return {key: name for key, name in known.items() if searched or key != "smallest_norm"}


def generates(result: Result) -> bool:
    """Tell whether the behavior was judged by texts that the model generated."""
    return any("base_like_rate" in outcome.metrics for _, _, outcome in outcomes_of(result))


def is_suffix(outcome: AttackResult) -> bool:
    """Tell whether an attack appends tokens to the request, and so has no δ with a norm."""
    return outcome.limit is None and value_of(outcome.metrics, "norm") is None


def limit_of(outcome: AttackResult, limit: float | None) -> str:
    """Format a limit as the tables show it."""
    return "suffix" if limit is None and is_suffix(outcome) else norm(limit)


def table(result: Result, *, decimals: int = 1) -> tuple[Row, ...]:
    """Return the rows, attacks first, each by ascending limit, with percentages to `decimals` places."""
    return tuple(
        row
        for kind, name, outcome in outcomes_of(result)
        for row in _rows(
            clean_line(name), kind, outcome, decimals, clamp_named(result, outcome, " under ")
        )
    )


def costs(result: Result) -> tuple[Cost, ...]:
    """Return the mean cost per example of each attack and control, without smallest-norm searches."""

    def spent(outcome: AttackResult, metric: str) -> str:
        return figure(value_of(outcome.metrics, metric))

    return tuple(
        Cost(
            clean_line(name), kind, limit_of(outcome, outcome.limit),
            spent(outcome, "forward_passes"), spent(outcome, "gradient_steps"), spent(outcome, "steps"),
        )
        for kind, name, outcome in outcomes_of(result)
        if value_of(outcome.metrics, "forward_passes") is not None
    )  # fmt: skip


def rows_shown(result: Result, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the table of examples with the rows of `strongest`, where the result has it."""
    strongest = result.attacks.get(STRONGEST)
    return with_strongest(rows, strongest.covers if strongest else ())


def outcomes_of(result: Result) -> Iterator[tuple[str, str, AttackResult]]:
    """Yield kind, name and outcome: attacks first, then controls, in the order of the spec."""
    for kind, group in (("attack", result.attacks), ("control", result.controls)):
        for name, outcome in group.items():
            yield kind, name, outcome


def _rows(name: str, kind: str, outcome: AttackResult, decimals: int, under: str) -> list[Row]:
    budgets = [(budget.limit, budget.metrics) for budget in outcome.budgets]
    # Only the outcome's own metrics, at its largest limit, include the smallest norm.
    budgets[-1:] = [(outcome.limit, outcome.metrics)]
    rows = []
    for i, (limit, metrics) in enumerate(budgets):
        rate = metrics.get("recovery_rate")
        rows.append(
            Row(
                name=name,
                kind=kind,
                limit=limit_of(outcome, limit),
                recovered=percent(value_of(metrics, "recovery_rate"), decimals),
                interval=interval(rate, decimals) if rate else "",
                n=rate.n if rate else 0,
                zero_reactivation=percent(
                    value_of(metrics, "zero_reactivation_recovery"), decimals
                ),
                base_like=percent(value_of(metrics, "base_like_rate"), decimals),
                drift=figure(value_of(metrics, "drift")),
                generated_drift=figure(value_of(metrics, "generated_drift")),
                reactivated=percent(value_of(metrics, "reactivated_fraction"), decimals),
                norm=figure(value_of(metrics, "norm")),
                smallest_norm=figure(value_of(metrics, "smallest_norm"))
                if "smallest_norm" in metrics
                else "",
                first=i == 0,
                under=under,
            )
        )
    return rows


def value_of(metrics: Mapping[str, Estimate], metric: str) -> float | None:
    """Return the value of a metric; None if it was not measured or is undefined."""
    estimate = metrics.get(metric)
    return estimate.value if estimate else None


def confidence(result: Result) -> float | None:
    """Return the confidence level of the recovery rate's interval, in (0, 1)."""
    used = result.intervals.get("recovery_rate")
    return used.confidence if used else None


def caption(result: Result) -> str:
    """Return the caption of the table: its examples, its intervals, and how controls count."""
    level = confidence(result)
    flips = flips_of_all(result)
    own = "Over the n valid flips of its own " + ("clamp" if several(result) else "behavior")
    text = own if flips is None else f"Over {flips} valid flips"
    if flips is not None and any(row.n != flips for row in table(result)):
        text += " unless a row gives another n"
    if level is not None:
        text += f"; in brackets the {percent(level)} interval"
    text += "."
    if any(control.method.startswith("another_example") for control in result.controls.values()):
        text += (
            " Where the target is another example's answer, recovered means that it was elicited."
        )
    rates = [control.metrics.get("recovery_rate") for control in result.controls.values()]
    if drawn := {rate.draws // rate.n for rate in rates if rate and rate.draws}:
        each = " or ".join(plural(draws, "draw") for draws in sorted(drawn))
        text += (
            f" Of random directions the rate is over all draws, {each} for each flip, and its "
            "interval over flips."
        )
    if any(is_suffix(attack) for attack in result.attacks.values()):
        text += " A suffix has no norm: it changes the input."
    for name, attack in result.attacks.items():
        if attack.covers:
            text += f" {name}: recovered by any of {enumerated(map(clean_line, attack.covers))}"
            for budget in attack.budgets:
                if set(budget.covers) != set(attack.covers):
                    alone = enumerated(map(clean_line, budget.covers))
                    text += f"; at norm {norm(budget.limit)}, by {alone} alone"
            text += "."
    return text
