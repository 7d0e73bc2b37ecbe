"""An estimate with its interval: Wilson's for rates, a bootstrap for means (paper: uncertainty)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from attrs import frozen
from numpy.typing import ArrayLike
from scipy import stats


@frozen
class Estimate:
    """A figure over `n` examples. With n = 0 it is undefined, and every other field is None."""

    value: float | None
    """The figure, in the metric's own unit; rates in [0, 1]."""
    low: float | None
    """Lower end of the interval; None if the metric has none (a maximum)."""
    high: float | None
    """Upper end of the interval."""
    n: int
    """How many examples have a defined figure."""


UNDEFINED = Estimate(None, None, None, 0)
"""The estimate of a figure that no example has."""


def wilson(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """Estimate a rate, with Wilson's score interval.

    Args:
        successes: in 0..n.
        n: number of trials; 0 gives an undefined estimate.
        confidence: in (0, 1).

    Raises:
        ValueError: `successes` is not in 0..n, or `confidence` not in (0, 1).
    """
    _check_confidence(confidence)
    if not 0 <= successes <= n:
        raise ValueError(f"expected from 0 to {n} successes, found {successes}")
    if n == 0:
        return UNDEFINED
    interval = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return Estimate(successes / n, float(interval.low), float(interval.high), n)


def bootstrap(
    values: ArrayLike,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    of: Literal["mean", "median"] = "mean",
) -> Estimate:
    """Estimate a mean or a median, with the percentile bootstrap interval.

    Args:
        values: one figure per example. Those that are not finite are undefined and left out.
        confidence: in (0, 1).
        resamples: number of resamples, ≥ 1.
        seed: of the resampling; the same values and seed give the same interval.

    Returns:
        The mean or median. If no value is defined the estimate is undefined; if they are all equal (or there
        is one), the interval has no width.

    Raises:
        ValueError: `confidence` is not in (0, 1).
    """
    _check_confidence(confidence)
    defined = np.asarray(values, dtype=np.float64).ravel()
    defined = defined[np.isfinite(defined)]
    if len(defined) == 0:
        return UNDEFINED
    # Not np.mean: of equal values it can differ from them in the last digit.
    if np.ptp(defined) == 0:
        only = float(defined[0])
        return Estimate(only, only, only, len(defined))
    middle = np.median if of == "median" else np.mean
    interval = stats.bootstrap(
        (defined,),
        middle,
        confidence_level=confidence,
        n_resamples=resamples,
        batch=200,
        method="percentile",
        # Newer releases call this `rng`, and still take the name that the oldest supported knows.
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(float(middle(defined)), float(interval.low), float(interval.high), len(defined))


def largest(values: ArrayLike) -> Estimate:
    """Estimate a maximum: the largest of the values that are finite. It has no interval.

    Args:
        values: one figure per example. Those that are not finite are undefined and left out.
    """
    defined = np.asarray(values, dtype=np.float64).ravel()
    defined = defined[np.isfinite(defined)]
    if len(defined) == 0:
        return UNDEFINED
    return Estimate(float(defined.max()), None, None, len(defined))


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1, found {confidence}")
