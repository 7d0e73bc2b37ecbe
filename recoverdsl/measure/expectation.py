"""An expectation compared with the interval of its figure."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from attrs import evolve, frozen

from recoverdsl.language.schema import METRICS, Expectation
from recoverdsl.measure.intervals import Estimate, fewest_values, wilson, wilson_ends

COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

MOST_FLIPS = 1_000_000
"""The largest number of flips that `needed` looks for."""

Outcome = Literal["met", "broken", "undecided"]

By = Literal["interval", "estimate", "value"]


@frozen
class ExpectationResult:
    """An expectation of the spec, and the figure that it is about."""

    text: str
    """As written in the spec."""
    outcome: Outcome
    """`met` if the whole interval is as expected, `broken` if none of it is, `undecided` otherwise, or
    if something speaks against the conclusion; see `reason`."""
    by: By
    """`interval`; `estimate` if the spec asks for it: the interval is then not looked at; `value` where
    the figure has no interval, as a maximum."""
    value: float | None
    """The figure; None if it is undefined, for instance because there were no valid flips."""
    low: float | None
    """Lower end of the interval; None if there is none that claims anything."""
    high: float | None
    """Upper end of the interval; None also where the figure is at least what is given, see `compared`."""
    n: int
    """How many examples have the figure."""
    reason: str | None
    """Why it is undecided, in words; None if it is decided."""
    needed: int | None
    """How many examples would decide it if the figure and, of a mean, its spread stayed as they are;
    None if it is decided, or if no number up to `MOST_FLIPS` would."""
    metric: str
    """Name of the figure."""
    subject: str
    """The attack or control that has the figure."""
    norm: float | None
    """The limit at which it is taken; None for the largest."""
    operator: Literal["<", "<=", ">", ">="]
    """How the figure is compared with the bound."""
    bound: float
    """The number that the figure is compared with."""


def compared(
    expectation: Expectation, estimate: Estimate | None, confidence: float, unreached: int = 0
) -> ExpectationResult:
    """Return an expectation with its outcome.

    A rate, and the mean of a share, is compared by Wilson's interval even if its printed one is a
    bootstrap, which has no width where all examples agree. A mean over fewer than `fewest_values`, or of
    values that are all equal, is undecided.

    Args:
        estimate: the figure; None if it was not measured.
        confidence: of the intervals, in (0, 1).
        unreached: how many values of a mean are larger than the numbers that count in their place. The
            figure is then at least what is given, and nothing can be shown to be above it.
    """
    metric = METRICS[expectation.metric]
    if estimate is None or estimate.value is None:
        why = "it was not measured" if estimate is None else "no flip has this figure"
        return _judged(expectation, "undecided", None, f"the figure is undefined: {why}")
    if unreached and (expectation.by == "estimate" or estimate.n >= fewest_values(confidence)):
        return _at_least(expectation, estimate, unreached)
    if metric.aggregate == "max" or expectation.by == "estimate":
        met = COMPARE[expectation.operator](estimate.value, expectation.value)
        by: By = "value" if metric.aggregate == "max" else "estimate"
        return _judged(expectation, "met" if met else "broken", estimate, by=by)
    value = estimate.value
    if metric.share or estimate.draws is not None:
        estimate = _wilson_of_shares(estimate, confidence)
    elif metric.rate:
        estimate = wilson(round(value * estimate.n), estimate.n, confidence)
    elif estimate.n < (fewest := fewest_values(confidence, metric.aggregate)):
        estimate = Estimate(estimate.value, None, None, estimate.n)
        reason = (
            f"{estimate.n} of the at least {fewest} flips that {_share(confidence)} confidence in a "
            f"{metric.aggregate} needs"
        )
        return _judged(expectation, "undecided", estimate, reason, needed=fewest)
    elif metric.aggregate == "mean" and estimate.low == estimate.high:
        reason = f"each of {estimate.n} flips has the same value, so nothing says how far those of others spread"
        return _judged(expectation, "undecided", estimate, reason)
    assert estimate.low is not None and estimate.high is not None
    outcome = against(expectation.operator, expectation.value, estimate.low, estimate.high)
    if outcome != "undecided":
        return _judged(expectation, outcome, estimate)
    counted = metric.rate or metric.share
    needed = (_rate_needs if counted else _mean_needs)(expectation, estimate, confidence)
    reason = (_rate_says if metric.rate else _mean_says)(expectation, estimate, needed)
    return _judged(expectation, outcome, estimate, reason, needed=needed)


def _wilson_of_shares(estimate: Estimate, confidence: float) -> Estimate:
    """Return a share of draws, or a mean of values in [0, 1], with Wilson's interval over the examples; see
    `intervals.wilson_of_shares`."""
    assert estimate.value is not None
    low, high = wilson_ends(
        np.asarray(estimate.value * estimate.n), np.asarray(estimate.n), confidence
    )
    return evolve(estimate, low=float(low), high=float(high))


def _at_least(e: Expectation, estimate: Estimate, unreached: int) -> ExpectationResult:
    """Compare a mean that is at least what is given: from the lower end on, or from the estimate on if
    the spec asks for it."""
    assert estimate.value is not None
    low = estimate.value if e.by == "estimate" else estimate.low
    assert low is not None
    shown = Estimate(estimate.value, low, None, estimate.n)
    outcome = against(e.operator, e.value, low, math.inf)
    if outcome != "undecided":
        return _judged(e, outcome, shown)
    reason = (
        f"in {unreached} of {estimate.n} flips no norm that was tried reaches the goal, so the mean over all is at "
        f"least {low:.3g}, and nothing shows that it is small: expect a `recovery_rate` at a norm instead"
    )
    return _judged(e, outcome, shown, reason)


def against(operator: str, bound: float, low: float, high: float) -> Outcome:
    """Compare an interval with a bound: `met` if every number in it is as expected, `broken` if none
    is, else `undecided`."""
    ends = {COMPARE[operator](end, bound) for end in (low, high)}
    return "undecided" if len(ends) > 1 else "met" if ends.pop() else "broken"


def _judged(
    e: Expectation,
    outcome: Outcome,
    estimate: Estimate | None,
    reason: str | None = None,
    *,
    by: By | None = None,
    needed: int | None = None,
) -> ExpectationResult:
    found = estimate or Estimate(None, None, None, 0)
    return ExpectationResult(
        e.text, outcome, by or e.by, found.value, found.low, found.high, found.n, reason, needed,
        e.metric, e.subject, e.norm, e.operator, e.value,
    )  # fmt: skip


def _rate_needs(e: Expectation, estimate: Estimate, confidence: float) -> int | None:
    """Return the least number of flips above the present one at which the same rate decides by Wilson's
    interval; rounded to whole successes, unless it is a share."""
    rate = estimate.value
    assert rate is not None
    compare = COMPARE[e.operator]
    first, size = estimate.n + 1, 4096
    while first <= MOST_FLIPS:
        n = np.arange(first, min(first + size, MOST_FLIPS + 1))
        whole = METRICS[e.metric].rate and not estimate.draws
        successes = np.rint(rate * n) if whole else rate * n
        ends = wilson_ends(successes, n, confidence)
        low, high = (compare(end, e.value) for end in ends)
        decided = np.flatnonzero(low == high)
        if len(decided):
            return int(n[decided[0]])
        first, size = first + size, 2 * size
    return None


def _mean_needs(e: Expectation, estimate: Estimate, confidence: float) -> int | None:
    """Return about how many values decide: the half of the interval that holds the bound shrinks with
    √n."""
    assert estimate.value is not None and estimate.low is not None and estimate.high is not None
    distance = abs(e.value - estimate.value)
    half = (
        estimate.high - estimate.value
        if e.value > estimate.value
        else estimate.value - estimate.low
    )
    if distance == 0 or half / distance > math.sqrt(MOST_FLIPS / estimate.n):
        return None
    return max(math.ceil(estimate.n * (half / distance) ** 2), estimate.n + 1)


def _rate_says(e: Expectation, estimate: Estimate, needed: int | None) -> str:
    assert estimate.value is not None
    trials = estimate.draws or estimate.n
    count = round(estimate.value * trials)
    draws = f" draws over {estimate.n} flips" if estimate.draws else ""
    found = f"{count} of {trials}{draws}"
    if needed is None:
        return f"{found}: {_TOO_CLOSE}"
    back = "recovered" if e.metric == "recovery_rate" else "counted"
    if count in (0, trials):
        flips = f"at least {needed} flips with {'all' if count else 'none'} {back}"
    else:
        flips = f"at this rate at least {needed} flips"
    return f"{found}: {flips} are needed {_claim(e, estimate.value)}"


def _mean_says(e: Expectation, estimate: Estimate, needed: int | None) -> str:
    assert estimate.value is not None
    found = (
        f"{estimate.value:.3g} over {estimate.n} flips, interval {estimate.low:.3g} to "
        f"{estimate.high:.3g}"
    )
    if needed is None:
        return f"{found}: {_TOO_CLOSE}"
    return f"{found}: at this spread about {needed} flips are needed {_claim(e, estimate.value)}"


_TOO_CLOSE = "so close to the bound that a million flips would not decide"


def _claim(e: Expectation, value: float) -> str:
    sign = {"<=": "≤", ">=": "≥"}.get(e.operator, e.operator)
    bound = _share(e.value) if METRICS[e.metric].rate else f"{e.value:g}"
    word = "for" if COMPARE[e.operator](value, e.value) else "to rule out"
    return f"{word} {sign} {bound}"


def _share(share: float) -> str:
    return f"{100 * share:g}%"
