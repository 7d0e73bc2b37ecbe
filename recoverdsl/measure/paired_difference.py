"""Two targets compared in the same examples, pair by pair."""

from __future__ import annotations

import pandas as pd
from attrs import frozen
from scipy import stats

TARGETS = ("another_row", "another_example", "another_behavior")
"""Methods of the controls with another target under the clamp. A control of an earlier one is compared
with rather than of a later one: another behavior of the same example may be related to it."""

CONFIDENCE = 0.95
"""Confidence of the interval of a difference."""


@frozen
class PairedDifference:
    """The examples that reach the attack's target at a norm, less those that reach the control's."""

    norm: float | None
    """Largest ‖δ‖_F; None if there was no limit."""
    n: int
    """Examples in which both were tried and did not fail."""
    own: int
    """Examples in which the attack's target was reached."""
    other: int
    """Examples in which the control's target was reached."""
    only_own: int
    """Examples in which only the attack's was."""
    only_other: int
    """Examples in which only the control's was."""
    difference: float | None
    """(own − other) / n, in [−1, 1]; None without examples."""
    low: float | None
    """Lower end of its exact interval, given how many examples differ."""
    high: float | None
    """Upper end."""
    p: float | None
    """Probability of a difference as large, either way, if both targets were as easy: McNemar's exact
    test."""


@frozen
class Specificity:
    """An attack compared with one control of another target."""

    attack: str
    control: str
    method: str
    """Method of the control; see `ControlResult.method`."""
    budgets: tuple[PairedDifference, ...]
    """At every limit that both were tried at, ascending."""
    best: PairedDifference | None
    """At the norm at which the difference is largest, by the least norms that reach each target; None
    if these were not searched for both."""


def paired_difference(own: pd.Series[bool], other: pd.Series[bool], norm: float | None) -> PairedDifference:  # fmt: skip
    """Compare two outcomes of the same examples.

    Of the examples in which they differ, the share that favors `own` has a Clopper–Pearson interval
    (1934), and the difference of the rates follows from it: its lower end is above 0 just where McNemar's
    exact test rejects.

    Args:
        own: whether each example reached the attack's target, by example.
        other: whether it reached the control's, of the same examples.
    """
    n, b, c = len(own), int((own & ~other).sum()), int((~own & other).sum())
    base = (norm, n, int(own.sum()), int(other.sum()), b, c)
    if not n:
        return PairedDifference(*base, None, None, None, None)
    if not b + c:
        return PairedDifference(*base, 0.0, 0.0, 0.0, 1.0)
    test = stats.binomtest(b, b + c)
    interval = test.proportion_ci(CONFIDENCE, method="exact")
    low, high = ((b + c) / n * (2 * float(end) - 1) for end in (interval.low, interval.high))
    return PairedDifference(*base, (b - c) / n, low, high, float(test.pvalue))
