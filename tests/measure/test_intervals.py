"""Wilson against its formula, the bootstrap against planted means, and the empty cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from recoverdsl.measure.intervals import (
    UNDEFINED,
    Estimate,
    bootstrap,
    largest,
    wilson,
    wilson_of_shares,
)
from tests.bounds import near


@given(st.integers(1, 300), st.data(), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
@settings(max_examples=60, deadline=None)
def test_wilson_is_its_formula(n: int, data: st.DataObject, confidence: float) -> None:
    k = data.draw(st.integers(0, n))
    z = norm.ppf(0.5 + confidence / 2)
    p = k / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    found = wilson(k, n, confidence)
    assert found.value == p
    assert found.n == n
    assert found.low == near(max(0, middle - half), 20, 1.0, torch.float64)
    assert found.high == near(min(1, middle + half), 20, 1.0, torch.float64)


def test_wilson_gives_the_published_interval() -> None:
    # AdvBench, 23 of 24: 95.8% [79.8, 99.3].
    found = wilson(23, 24)
    assert found.low is not None
    assert found.high is not None
    assert (round(found.low, 3), round(found.high, 3)) == (0.798, 0.993)


@given(st.lists(st.booleans(), min_size=1, max_size=90), st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=60, deadline=None)
def test_of_one_draw_each_the_interval_is_that_of_the_rate(
    flags: list[bool], confidence: float
) -> None:
    found, expected = (
        wilson_of_shares(flags, len(flags), confidence),
        wilson(sum(flags), len(flags), confidence),
    )
    assert (found.value, found.n, found.draws) == (expected.value, expected.n, len(flags))
    assert found.low == pytest.approx(expected.low, abs=1e-12)
    assert found.high == pytest.approx(expected.high, abs=1e-12)


def test_more_draws_of_the_same_examples_make_no_narrower_interval() -> None:
    few, many = wilson_of_shares([0.5, 0, 0], 6), wilson_of_shares([0.5, 0, 0], 6000)
    assert (few.low, few.high, few.n) == (many.low, many.high, many.n)
    none = wilson_of_shares([0.0] * 72, 72 * 8)
    assert (none.low, none.high) == (0, pytest.approx(wilson(0, 72).high))
    assert wilson_of_shares([1.0] * 72, 72 * 8).high == 1


def test_the_interval_of_draws_covers_whether_or_not_draws_of_an_example_agree() -> None:
    """Rates of examples are drawn from a Beta distribution: of concentration 0.1 the draws of one nearly
    agree, of 50 they are nearly independent. A 95% interval covers the mean rate at least about as often."""
    rng = np.random.default_rng(0)
    runs, n, draws, mean = 600, 30, 8, 0.2
    for concentration in (0.1, 1.0, 50.0):
        covered = 0
        for _ in range(runs):
            rates = rng.beta(mean * concentration, (1 - mean) * concentration, n)
            found = wilson_of_shares(rng.binomial(draws, rates) / draws, n * draws)
            covered += found.low <= mean <= found.high
        # Four standard errors of the coverage below 95%.
        assert covered / runs >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / runs)


@pytest.mark.parametrize("shares", [[1.1], [-0.1], [math.nan]])
def test_shares_are_from_0_to_1(shares: list[float]) -> None:
    with pytest.raises(ValueError, match="shares from 0 to 1"):
        wilson_of_shares(shares, 1)


def test_nothing_is_undefined() -> None:
    assert wilson_of_shares([], 0) == UNDEFINED
    assert wilson(0, 0) == bootstrap([]) == bootstrap([math.nan]) == largest([]) == UNDEFINED


@pytest.mark.parametrize("values", [[0.1], [0.1] * 7, [0.1, math.nan]])
def test_constant_values_have_no_width(values: list[float]) -> None:
    assert bootstrap(values) == Estimate(0.1, 0.1, 0.1, sum(not math.isnan(v) for v in values))


def test_bootstrap_is_near_the_normal_interval_and_repeats() -> None:
    values = np.random.default_rng(0).normal(3, 1, 400)
    found = bootstrap(values, 0.95, 4000, seed=1)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    # The 2.5% quantile of 4000 resamples has a standard error of 0.042 of that of the mean: √(p(1−p)/4000)/φ(1.96).
    apart = 5 * 0.042 * values.std() / math.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - half, abs=apart)
    assert found.high == pytest.approx(values.mean() + half, abs=apart)
    assert found == bootstrap(values, 0.95, 4000, seed=1)
    assert found != bootstrap(values, 0.95, 4000, seed=2)


@pytest.mark.parametrize(("successes", "n"), [(1, 5), (4, 5), (2, 12), (11, 12)])
def test_the_bootstrap_of_flags_has_the_percentiles_of_the_binomial(successes: int, n: int) -> None:
    """Resampling flags draws from a binomial, so that the interval is known; it is far from symmetric."""
    values = np.arange(n) < successes
    found = bootstrap(values, 0.95, 4000)
    low, high = (binom.ppf(p, n, successes / n) / n for p in (0.025, 0.975))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert high - found.value != pytest.approx(found.value - low, rel=0.1)


def test_largest_has_no_interval() -> None:
    assert largest([1.0, math.nan, 3.0]) == Estimate(3.0, None, None, 2)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson(3, 2)
    with pytest.raises(ValueError, match="confidence"):
        wilson(1, 2, 95)
    with pytest.raises(ValueError, match="confidence"):
        bootstrap([1, 2], 0)
