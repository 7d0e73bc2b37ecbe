"""The summary of the per-example table: the figures of a result, and the judgment of expectations."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from attrs import evolve, frozen

from recoverdsl.language.schema import METRICS, Bootstrap, Expectation, Interval, Wilson
from recoverdsl.language.schema.strongest import STRONGEST
from recoverdsl.measure.expectation import ExpectationResult, compared
from recoverdsl.measure.intervals import Estimate, bootstrap, largest, wilson, wilson_of_shares
from recoverdsl.measure.paired_difference import TARGETS
from recoverdsl.measure.results import (
    AttackResult,
    BudgetResult,
    ControlResult,
    IntervalUsed,
    PartResult,
    TargetBefore,
)
from recoverdsl.measure.strongest import with_strongest


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
    under: str | None = None
    """See `AttackResult.under`."""


@frozen
class LeastNorms:
    """The least norms of one attack or control over all examples that were searched."""

    estimate: Estimate
    """Their mean; where none reaches the goal, the largest that was tried counts."""
    unreached: int
    """In how many none does, so that their least norm is larger than what counts."""


@frozen
class Summary:
    """The parts of a result that come from the table."""

    attacks: dict[str, AttackResult]
    controls: dict[str, ControlResult]
    attributions: dict[str, tuple[PartResult, ...]]
    intervals: dict[str, IntervalUsed]
    failed: int
    """Examples with a row that failed."""
    least_norms: dict[str, LeastNorms]
    """Attack, `strongest` or control that was searched for the least norm to its figure over all examples."""


def summarize(
    rows: pd.DataFrame,
    measures: Mapping[str, Interval],
    *,
    attacks: Mapping[str, Planned] | None = None,
    controls: Mapping[str, Planned] | None = None,
    strongest: Collection[str] = (),
) -> Summary:
    """Aggregate the table, and return its figures.

    Every metric of `schema.METRICS` is computed. Rates and continuous figures are over all valid
    flips of an attack and limit that did not fail, whether they recovered or not; where directions
    are drawn at random, a rate is over all of their draws. `steps` and
    `smallest_norm` are over those that recovered, since the others have none. An undefined figure
    (a drift from zero) is left out and makes the metric's `n` smaller. No examples give an
    undefined estimate with n = 0: a result, not an error. `unconstrained_recovery_rate` is there if
    directions were also drawn without the constraint, `smallest_norm` if a search ran,
    `budget_ratio` and `specificity` if one ran for an attack and a control of it under the clamp, and figures of texts
    if any were generated, and `target_rank` and `target_probability` if the behavior has one target
    token.

    Args:
        rows: the table of `measure.table.SCHEMA`.
        measures: intervals that the spec asks for; the other metrics get the default ones.
        attacks: what was planned, in the order of the result; names that only the table has follow.
        controls: likewise.
        strongest: the attacks of which a row `strongest` gives the worst case; none for no such row.

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

    planned = named("attack", attacks)
    covered = {name: planned[name] for name in strongest}
    return Summary(
        attacks={
            name: AttackResult(
                *_figures(rows, "attack", name, plan, intervals, _rival(name, controls or {})),
                preserve=plan.preserve,
                behavior=plan.behavior,
                target=_target(rows, name),
                under=plan.under,
            )
            for name, plan in planned.items()
        }
        | ({STRONGEST: _strongest(rows, covered, intervals)} if covered else {}),
        controls={
            name: ControlResult(
                *_figures(rows, "control", name, plan, intervals),
                preserve=plan.preserve,
                behavior=plan.behavior,
                under=plan.under,
                of=plan.of,
                method=plan.method,
            )
            for name, plan in named("control", controls).items()
        },
        attributions=_attributions(rows, intervals),
        intervals={metric: _used(metric, interval) for metric, interval in intervals.items()},
        failed=int(rows.loc[rows["failed"].notna(), "example"].nunique()),
        least_norms=_least_norms(with_strongest(rows, covered), intervals["smallest_norm"]),
    )


def judge(expectations: Iterable[Expectation], summary: Summary) -> tuple[ExpectationResult, ...]:
    """Return each expectation as the figure that it is about decides it."""
    judged = []
    for e in expectations:
        confidence = summary.intervals[e.metric].confidence or Wilson().confidence
        if e.metric == "smallest_norm" and (least := summary.least_norms.get(e.subject)):
            judged.append(compared(e, least.estimate, confidence, least.unreached))
            continue
        subject = summary.attacks.get(e.subject) or summary.controls.get(e.subject)
        estimate = subject.at(e.norm).get(e.metric) if subject else None
        judged.append(compared(e, estimate, confidence))
    return tuple(judged)


def trials(rows: pd.DataFrame, kind: str, name: str) -> pd.DataFrame:
    """Return the rows of one attack, control or search: one per example, limit and draw.

    Left out are those that failed, and all draws of an example at a limit at which one of them did, so
    that each example has equally many. A missing limit is infinite.
    """
    chosen = _flagged(rows[(rows["kind"] == kind) & (rows["name"] == name)])
    failed = chosen["failed"].notna().groupby([chosen["example"], chosen["limit"]]).transform("any")
    return chosen[~failed.astype(bool)]


def outcomes(rows: pd.DataFrame, kind: str, name: str) -> pd.DataFrame:
    """Return the outcomes of one attack, control or search: one per example and limit, see `trials`.

    Several draws of a control are one outcome, since they are not independent examples. Its `recovered`
    and its rates are the shares of its draws, in [0, 1], and its other figures the means over its
    draws; for a figure of which the largest is reported, the largest. Texts are those of the first draw.
    """
    chosen = trials(rows, kind, name)
    if not chosen["draw"].notna().any():
        return chosen
    key = ["example", "limit"]
    rates = ["recovered", *_RATES]
    chosen = chosen.astype(dict.fromkeys(rates, float))
    how: dict[Any, str] = {c: "first" for c in chosen.columns if c not in key}
    how |= {c: "mean" for c in chosen.select_dtypes("number") if c not in key}
    how |= {c: "max" for c, metric in METRICS.items() if metric.aggregate == "max"}
    how["draw"] = "count"
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
    rival: str | None = None,
) -> tuple[dict[str, Estimate], float | None, tuple[BudgetResult, ...]]:
    """Return the headline metrics, the largest limit and the budgets, as `AttackResult` takes them.

    Args:
        rival: for an attack, the control with which its least norms are compared.
    """
    done = outcomes(rows, kind, name)
    free = outcomes(rows, "unconstrained_control", name) if kind == "control" else done[:0]
    # From all rows, so that a limit at which everything failed is still reported, with n = 0.
    tried = rows.loc[(rows["kind"] == kind) & (rows["name"] == name), "limit"].fillna(math.inf)
    limits = sorted({float(limit) for limit in (*plan.limits, *tried)})
    budgets = tuple(
        BudgetResult(
            None if math.isinf(limit) else limit,
            _metrics(done[done["limit"] == limit], intervals, free[free["limit"] == limit]),
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
        if rival and len(outcomes(rows, "smallest_norm_control", rival)):
            ratios = budget_ratios(rows, rival, name)
            metrics["specificity"] = _estimate("specificity", ratios, intervals["specificity"])
        metrics = {metric: metrics[metric] for metric in METRICS if metric in metrics}
    return metrics, budgets[-1].limit if budgets else None, budgets


def _target(rows: pd.DataFrame, attack: str) -> TargetBefore | None:
    """Return the place of an attack's target token before δ, over the examples that it did not fail in."""
    done = outcomes(rows, "attack", attack).drop_duplicates("example")
    done = done[done["rank_base"].notna() & done["rank_defended"].notna()]
    if not len(done):
        return None
    ranks = (float(done[name].median()) for name in ("rank_base", "rank_defended"))
    shares = (float(done[name].mean()) for name in ("probability_base", "probability_defended"))
    return TargetBefore(len(done), *ranks, *shares)


def _rival(attack: str, controls: Mapping[str, Planned]) -> str | None:
    """Return the control of an attack whose target is least related to its own; None without one."""
    own = [name for name, plan in controls.items() if plan.of == attack and plan.method in TARGETS]
    return min(own, key=lambda name: TARGETS.index(controls[name].method), default=None)


def _strongest(
    rows: pd.DataFrame, covered: Mapping[str, Planned], intervals: Mapping[str, Interval]
) -> AttackResult:
    """Return the figures of the worst case over attacks, each limit with the attacks that have it."""
    having: dict[float | None, list[str]] = {}
    for name, plan in covered.items():
        own = rows.loc[(rows["kind"] == "attack") & (rows["name"] == name), "limit"]
        limits: set[float | None] = {*plan.limits, *map(float, own.dropna())}
        # A suffix has no limit.
        for norm in limits or {None}:
            having.setdefault(norm, []).append(name)
    plan = Planned(tuple(limit for limit in having if limit is not None))
    metrics, limit, budgets = _figures(
        with_strongest(rows, covered), "attack", STRONGEST, plan, intervals
    )
    kept = {plan.preserve for plan in covered.values()}
    # They are all under one clamp.
    under = next(plan.under for plan in covered.values())
    return AttackResult(
        metrics, limit,
        tuple(evolve(budget, covers=tuple(having[budget.limit])) for budget in budgets),
        preserve=kept.pop() if len(kept) == 1 else "several",
        under=under,
        covers=tuple(covered),
    )  # fmt: skip


def budget_ratios(rows: pd.DataFrame, control: str, attack: str) -> pd.Series[Any]:
    """Return, per example, the smallest norm that reaches the control's target over the smallest that
    reaches the attack's.

    Only examples count in which a norm was found that reaches the attack's target. A control's target
    that was not reached at all counts with the largest norm that was tried. Both norms are the least that
    the searches found, not the least that there are: a search that does badly for the control's target makes
    the ratio too large, and one that does badly for the attack's makes it too small.
    """
    own, other = (
        outcomes(rows, kind, name).set_index("example")
        for kind, name in (("smallest_norm", attack), ("smallest_norm_control", control))
    )
    least = other["norm"].where(other["recovered"], other["limit"])
    ratios: pd.Series[Any] = (least / own.loc[own["recovered"], "norm"]).dropna()
    return ratios


def _least_norms(rows: pd.DataFrame, interval: Interval) -> dict[str, LeastNorms]:
    searches = rows.loc[
        rows["kind"].isin(["smallest_norm", "smallest_norm_control"]), ["kind", "name"]
    ]
    found = {}
    for kind, name in searches.drop_duplicates().itertuples(index=False):
        done = outcomes(rows, kind, name)
        norms = done["norm"].where(done["recovered"], done["limit"])
        estimate = _estimate("smallest_norm", norms, interval)
        found[name] = LeastNorms(estimate, int((~done["recovered"]).sum()))
    return found


def _metrics(
    done: pd.DataFrame, intervals: Mapping[str, Interval], free: pd.DataFrame | None = None
) -> dict[str, Estimate]:
    """Return the metrics of outcomes at one limit, apart from those of searches.

    Args:
        free: the outcomes of random directions without the constraint, if there are any.
    """
    texts, draws = bool(done["opening"].notna().any()), _draws(done)
    targets = bool(done["rank_recovered"].notna().any())
    metrics = {}
    for name, metric in METRICS.items():
        if metric.search or (metric.generated and not texts) or (metric.next_token and not targets):
            continue
        over = done[done["recovered"] > 0] if metric.recovered_only else done
        metrics[name] = _estimate(name, over[metric.column or name], intervals[name], draws)
    if free is not None and len(free):
        rate = "unconstrained_recovery_rate"
        metrics[rate] = _estimate(rate, free["recovered"], intervals[rate], _draws(free))
    return {metric: metrics[metric] for metric in METRICS if metric in metrics}


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


def _draws(done: pd.DataFrame) -> int | None:
    """Return how many random draws some outcomes have; None if nothing is drawn."""
    return int(done["draw"].sum()) if done["draw"].notna().any() else None


def _estimate(
    metric: str, values: pd.Series[Any], interval: Interval, draws: int | None = None
) -> Estimate:
    array = values.to_numpy(dtype=np.float64, na_value=np.nan)
    if METRICS[metric].aggregate == "max":
        return largest(array)
    if isinstance(interval, Wilson):
        if draws is not None:
            return wilson_of_shares(array, draws, interval.confidence)
        return wilson(int(array.sum()), len(array), interval.confidence)
    middle = METRICS[metric].aggregate
    assert middle != "max"
    found = bootstrap(array, interval.confidence, interval.resamples, interval.seed, of=middle)
    return evolve(found, draws=draws) if METRICS[metric].rate else found


def _default(metric: str) -> Interval:
    return Wilson() if METRICS[metric].rate else Bootstrap()


def _used(metric: str, interval: Interval) -> IntervalUsed:
    """Return how the interval of a metric is computed."""
    if METRICS[metric].aggregate == "max":
        return IntervalUsed("none")
    if isinstance(interval, Wilson):
        return IntervalUsed("wilson", interval.confidence)
    return IntervalUsed("bootstrap", interval.confidence, interval.resamples, interval.seed)
