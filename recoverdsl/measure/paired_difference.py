"""Two targets compared in the same examples, pair by pair."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from attrs import evolve, frozen
from scipy import stats

from recoverdsl.measure.intervals import wilson

TARGETS = ("another_row", "another_example", "another_behavior")
"""Methods of the controls with another target under the clamp. A control of an earlier one is compared
with rather than of a later one: another behavior of the same example may be related to it."""

CONFIDENCE = 0.95
"""Confidence of the interval of a difference, and of the test that there is one."""

SWAPS = 4000
"""How often the targets are swapped at random for the probability of the largest difference."""


@frozen
class PairedDifference:
    """The examples that reach the attack's target at a norm, less those that reach the control's."""

    norm: float | None
    """Largest ‖δ‖_F; None if there was no limit."""
    n: int
    """Examples in which both were tried and did not fail."""
    own: int
    """Examples in which the attack's target was reached; against the answer of another example, those in
    which the behavior is back and the text is base-like, or every token of the base answer the most likely."""
    other: int
    """Examples in which the control's target was reached."""
    only_own: int
    """Examples in which only the attack's was."""
    only_other: int
    """Examples in which only the control's was."""
    difference: float | None
    """(own − other) / n, in [−1, 1]; None without examples."""
    low: float | None
    """Lower end of its interval (Newcombe 1998)."""
    high: float | None
    """Upper end."""
    p: float | None
    """Probability of a difference as large, either way, if both targets were as easy: McNemar's exact
    test. At a norm that was chosen for its difference, see `most_different`."""

    @property
    def own_exceeds(self) -> bool:
        """Whether the attack's target is shown to be reached in more examples than the control's: the
        interval is above zero, and the test rejects that both are as easy."""
        if self.low is None or self.p is None:
            return False
        return self.low > 0 and self.p < 1 - CONFIDENCE


@frozen
class SearchedHarder:
    """The stronger searches of a control's target, in the examples in which only the attack's was reached."""

    norm: float | None
    """Largest ‖δ‖_F; None if there was no limit."""
    least: bool
    """Whether what is compared there are the least norms that reach each target."""
    searched: int
    """Examples that were searched again: all in which only the attack's was reached."""
    reached: int
    """Examples among these in which one of the stronger searches reached the control's."""
    pair: PairedDifference
    """The comparison with these counted as reached. A verdict rests on it."""
    overestimated: int = 0
    """Examples among these that were reached with a norm clearly below their least norm as it was found."""


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
    harder: tuple[SearchedHarder, ...] = ()
    """At the limits that an expectation is about; empty if the attack is not checked."""


def paired_difference(own: pd.Series[bool], other: pd.Series[bool], norm: float | None) -> PairedDifference:  # fmt: skip
    """Compare two outcomes of the same examples.

    The interval of the difference is Newcombe's hybrid of two Wilson intervals for paired rates (Newcombe
    1998, "Improved confidence intervals for the difference between binomial proportions based on paired
    data", method 10).

    Args:
        own: whether each example reached the attack's target, by example.
        other: whether it reached the control's, of the same examples.
    """
    both, b, c = (int(x.sum()) for x in (own & other, own & ~other, ~own & other))
    n = len(own)
    base = (norm, n, both + b, both + c, b, c)
    if not n:
        return PairedDifference(*base, None, None, None, None)
    p = float(stats.binomtest(b, b + c).pvalue) if b + c else 1.0
    return PairedDifference(*base, (b - c) / n, *_newcombe(both, b, c, n), p)


def most_different(own: pd.Series[float], other: pd.Series[float]) -> PairedDifference | None:
    """Return the difference at the norm at which most more examples reach the attack's target than the
    control's; of several the smallest. None without an example.

    A norm that is chosen for its difference shows one by chance. So `p` is that of the largest
    difference over all norms, one-sided, if both targets were as easy: each example's two norms are
    swapped or not, at random, and the largest difference is taken again (Westfall & Young 1993). The
    interval is that of one norm, and is not corrected.

    Args:
        own: the least norm that reaches the attack's target, by example; infinite where none does.
        other: the least that reaches the control's, of the same examples.
    """
    norms = sorted({float(norm) for norm in own if math.isfinite(norm)})
    pairs = [paired_difference(own <= norm, other <= norm, norm) for norm in norms]
    if not pairs:
        return None
    best = max(pairs, key=lambda pair: pair.difference or 0.0)
    assert best.difference is not None
    return evolve(best, p=_p_of_largest(own, other, norms, best.difference))


def _p_of_largest(
    own: pd.Series[float], other: pd.Series[float], norms: Sequence[float], found: float
) -> float:
    tried = np.asarray([*norms, *(x for x in other if math.isfinite(x))])
    # Per example and norm: 1 where only the own target is reached, −1 where only the other is.
    favor = (own.to_numpy()[:, None] <= tried).astype(float)
    favor -= other.to_numpy()[:, None] <= tried
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (SWAPS, len(own)))
    largest = (signs @ favor).max(1) / len(own)
    # The observed one counts too, so that p is never 0.
    return float((1 + (largest >= found - 1e-12).sum()) / (1 + SWAPS))


def _newcombe(both: int, b: int, c: int, n: int) -> tuple[float, float]:
    """Return the interval of (b − c) / n, for `both` + b successes of one and `both` + c of the other."""
    neither = n - both - b - c
    one, other = (wilson(both + x, n, CONFIDENCE) for x in (b, c))
    assert one.value is not None and one.low is not None and one.high is not None
    assert other.value is not None and other.low is not None and other.high is not None
    product = both * neither - b * c
    spread = math.sqrt((both + b) * (c + neither) * (both + c) * (b + neither))
    # With the continuity correction of the method, where the rates go together.
    phi = (max(product - n / 2, 0) if product > 0 else product) / spread if spread else 0.0
    down, up = one.value - one.low, one.high - one.value
    down_other, up_other = other.value - other.low, other.high - other.value
    difference = one.value - other.value
    low = difference - math.sqrt(down**2 - 2 * phi * down * up_other + up_other**2)
    high = difference + math.sqrt(up**2 - 2 * phi * up * down_other + down_other**2)
    return max(low, -1.0), min(high, 1.0)
