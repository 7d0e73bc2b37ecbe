"""The summary of the per-example table: the figures of a result, and the judgment of expectations."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from attrs import frozen

from recoverdsl.language.schema import METRICS, Bootstrap, Expectation, Interval, Wilson
from recoverdsl.measure.intervals import Estimate, bootstrap, largest, wilson
from recoverdsl.measure.results import (
    AttackResult,
    BudgetResult,
    ControlResult,
    ExpectationResult,
    IntervalUsed,
    PartResult,
)

COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@frozen
class Planned:
    """A planned attack or control, which has a place in the result even without rows."""

    limits: tuple[float, ...] = ()
    """Limits of the norm; other limits of the table are reported too."""
    preserve: str | None = None
    """See `AttackResult.preserve`."""
    of: str = ""
    """For a control, the attack."""
    method: str = ""
    """For a control, its kind; see `ControlResult.method`."""
    behavior: str | None = None
    """See `AttackResult.behavior`."""


@frozen
class Summary:
    """The parts of a result that come from the table."""

    attacks: dict[str, AttackResult]
    controls: dict[str, ControlResult]
    attributions: dict[str, tuple[PartResult, ...]]
    intervals: dict[str, IntervalUsed]
    failed: int
    """Examples with a row that failed."""


def summarize(
    rows: pd.DataFrame,
    measures: Mapping[str, Interval],
    *,
    attacks: Mapping[str, Planned] | None = None,
    controls: Mapping[str, Planned] | None = None,
) -> Summary:
    """Aggregate the table, and return its figures.

    Every metric of `schema.METRICS` is computed. Rates and continuous figures are over all valid
    flips of an attack and limit that did not fail, whether they recovered or not; `steps` and
    `smallest_norm` are over those that recovered, since the others have none. An undefined figure
    (a drift from zero) is left out and makes the metric's `n` smaller. No examples give an
    undefined estimate with n = 0: a result, not an error. `smallest_norm` is there if a search ran,
    `budget_ratio` if one ran for an attack and a control of it under the clamp, and figures of texts
    if any were generated, and `target_rank` and `target_probability` if the behavior has one target
    token.

    Args:
        rows: the table of `measure.table.SCHEMA`.
        measures: intervals that the spec asks for; the other metrics get the default ones.
        attacks: what was planned, in the order of the result; names that only the table has follow.
        controls: likewise.

    Raises:
        ValueError: a Wilson interval is asked for a metric that is not a rate, or a metric does
            not exist.
    """
    for metric, interval in measures.items():
        if metric not in METRICS:
            raise ValueError(f"expected a metric, found {metric!r}")
        if isinstance(interval, Wilson) and not METRICS[metric].rate:
            raise ValueError(f"expected a rate for a Wilson interval, found {metric!r}")
    intervals = {metric: measures.get(metric, _default(metric)) for metric in METRICS}

    def named(kind: str, planned: Mapping[str, Planned] | None) -> dict[str, Planned]:
        seen = rows.loc[rows["kind"] == kind, "name"].unique()
        return {**(planned or {}), **{n: Planned() for n in seen if n not in (planned or {})}}

    return Summary(
        attacks={
            name: AttackResult(
                *_figures(rows, "attack", name, plan, intervals),
                preserve=plan.preserve,
                behavior=plan.behavior,
            )
            for name, plan in named("attack", attacks).items()
        },
        controls={
            name: ControlResult(
                *_figures(rows, "control", name, plan, intervals),
                preserve=plan.preserve,
                behavior=plan.behavior,
                of=plan.of,
                method=plan.method,
            )
            for name, plan in named("control", controls).items()
        },
        attributions=_attributions(rows, intervals),
        intervals={metric: _used(metric, interval) for metric, interval in intervals.items()},
        failed=int(rows.loc[rows["failed"].notna(), "example"].nunique()),
    )


def judge(
    expectations: Iterable[Expectation],
    attacks: Mapping[str, AttackResult],
    controls: Mapping[str, ControlResult],
) -> tuple[ExpectationResult, ...]:
    """Return each expectation with the figure that it is about.

    A figure that is undefined, or that was not measured, gives `passed = None`.
    """
    judged = []
    for e in expectations:
        subject = attacks.get(e.subject) or controls.get(e.subject)
        estimate = subject.at(e.norm).get(e.metric) if subject else None
        value = estimate.value if estimate else None
        passed = None if value is None else COMPARE[e.operator](value, e.value)
        judged.append(
            ExpectationResult(
                e.text, value, passed, e.metric, e.subject, e.norm, e.operator, e.value
            )
        )
    return tuple(judged)


def outcomes(rows: pd.DataFrame, kind: str, name: str) -> pd.DataFrame:
    """Return the rows of one attack, control or search that did not fail: one per example and limit.

    Several draws of a control are one outcome, since they are not independent examples: it recovered
    if any draw did, which favors the control, and its continuous figures are the means over the
    draws; texts are those of the first. A missing limit is infinite.
    """
    chosen = rows[(rows["kind"] == kind) & (rows["name"] == name) & rows["failed"].isna()]
    chosen = _flagged(chosen)
    key = ["example", "limit"]
    if not chosen.duplicated(key).any():
        return chosen
    how: dict[Any, str] = {c: "first" for c in chosen.columns if c not in key}
    how |= {c: "mean" for c in chosen.select_dtypes("number") if c not in key}
    how |= dict.fromkeys(("recovered", *_RATES), "any")
    return chosen.groupby(key, as_index=False, sort=False).agg(how)


_RATES = {name: metric.all_of for name, metric in METRICS.items() if metric.all_of}
"""Rate to the flags that must all be true of an example for it to count."""


def _flagged(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a flag for each rate, and plain flags in place of nullable ones."""
    counted = {
        rate: rows[list(flags)].fillna(False).astype(bool).all(axis=1)
        for rate, flags in _RATES.items()
    }
    return rows.assign(
        limit=rows["limit"].fillna(math.inf), recovered=rows["recovered"].astype(bool), **counted
    )


def _figures(
    rows: pd.DataFrame,
    kind: str,
    name: str,
    plan: Planned,
    intervals: Mapping[str, Interval],
) -> tuple[dict[str, Estimate], float | None, tuple[BudgetResult, ...]]:
    """Return the headline metrics, the largest limit and the budgets, as `AttackResult` takes them."""
    done = outcomes(rows, kind, name)
    # From all rows, so that a limit at which everything failed is still reported, with n = 0.
    tried = rows.loc[(rows["kind"] == kind) & (rows["name"] == name), "limit"].fillna(math.inf)
    limits = sorted({float(limit) for limit in (*plan.limits, *tried)})
    budgets = tuple(
        BudgetResult(
            None if math.isinf(limit) else limit, _metrics(done[done["limit"] == limit], intervals)
        )
        for limit in limits
    )
    metrics = dict(budgets[-1].metrics) if budgets else _metrics(done, intervals)
    search = "smallest_norm" if kind == "attack" else "smallest_norm_control"
    searched = outcomes(rows, search, name)
    if len(searched):
        norms = searched.loc[searched["recovered"], "norm"]
        metrics["smallest_norm"] = _estimate("smallest_norm", norms, intervals["smallest_norm"])
        # Without the clamp, the other answer is elicited from another model than the base answer.
        if kind == "control" and not plan.method.endswith("_undefended"):
            ratios = budget_ratios(rows, name, plan.of)
            metrics["budget_ratio"] = _estimate("budget_ratio", ratios, intervals["budget_ratio"])
        metrics = {metric: metrics[metric] for metric in METRICS if metric in metrics}
    return metrics, budgets[-1].limit if budgets else None, budgets


def budget_ratios(rows: pd.DataFrame, control: str, attack: str) -> pd.Series[Any]:
    """Return, per example, the smallest norm that reaches the control's target over the smallest that
    reaches the attack's.

    Only examples count in which a norm was found that reaches the attack's target. A control's target
    that was not reached at all counts with the largest norm that was tried, so that the ratio is a
    lower bound.
    """
    own, other = (
        outcomes(rows, kind, name).set_index("example")
        for kind, name in (("smallest_norm", attack), ("smallest_norm_control", control))
    )
    least = other["norm"].where(other["recovered"], other["limit"])
    ratios: pd.Series[Any] = (least / own.loc[own["recovered"], "norm"]).dropna()
    return ratios


def _metrics(done: pd.DataFrame, intervals: Mapping[str, Interval]) -> dict[str, Estimate]:
    """Return the metrics of rows at one limit, apart from those of searches."""
    texts = bool(done["opening"].notna().any())
    targets = bool(done["rank_recovered"].notna().any())
    estimates = {}
    for name, metric in METRICS.items():
        if metric.search or (metric.generated and not texts) or (metric.next_token and not targets):
            continue
        over = done[done["recovered"]] if metric.recovered_only else done
        estimates[name] = _estimate(name, over[metric.column or name], intervals[name])
    return estimates


def _attributions(
    rows: pd.DataFrame, intervals: Mapping[str, Interval]
) -> dict[str, tuple[PartResult, ...]]:
    parts = rows[(rows["kind"] == "part") & rows["failed"].isna()]
    shown = ("recovery_rate", "base_like_rate", "norm")
    results: dict[str, tuple[PartResult, ...]] = {}
    for name in parts["name"].unique():
        of_attack = parts[parts["name"] == name]
        results[name] = tuple(
            PartResult(part, how, {m: e for m, e in _metrics(_flagged(chosen), intervals).items() if m in shown})
            for (part, how), chosen in of_attack.groupby(["part", "how"], sort=False)
        )  # fmt: skip
    return results


def _estimate(metric: str, values: pd.Series[Any], interval: Interval) -> Estimate:
    array = values.to_numpy(dtype=np.float64, na_value=np.nan)
    if METRICS[metric].aggregate == "max":
        return largest(array)
    if isinstance(interval, Wilson):
        return wilson(int(array.sum()), len(array), interval.confidence)
    middle = METRICS[metric].aggregate
    assert middle != "max"
    return bootstrap(array, interval.confidence, interval.resamples, interval.seed, of=middle)


def _default(metric: str) -> Interval:
    return Wilson() if METRICS[metric].rate else Bootstrap()


def _used(metric: str, interval: Interval) -> IntervalUsed:
    """Return how the interval of a metric is computed."""
    if METRICS[metric].aggregate == "max":
        return IntervalUsed("none")
    if isinstance(interval, Wilson):
        return IntervalUsed("wilson", interval.confidence)
    return IntervalUsed("bootstrap", interval.confidence, interval.resamples, interval.seed)
