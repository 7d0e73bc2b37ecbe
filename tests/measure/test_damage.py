"""The side effects of a clamp, from the figures of texts and states."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from recoverdsl.measure.damage import Damage, Moved, TextRow, damage, moved
from recoverdsl.measure.intervals import UNDEFINED, Estimate, bootstrap, bootstrap_of_ratio


def of(*rows: TextRow, examples: list[float] | None = None) -> Damage:
    return damage(rows, moved_examples=examples or [], moved_text=[], texts_digest="d")


def test_figures_are_means_over_tokens_and_not_over_texts() -> None:
    found = of(TextRow(10, 1.0, 20.0, 30.0), TextRow(90, 0.0, 90.0, 90.0))
    assert found.kl.value == pytest.approx(1 / 100)
    assert found.perplexity_base == pytest.approx(math.exp(110 / 100))
    assert found.perplexity_defended == pytest.approx(math.exp(120 / 100))
    assert found.perplexity_ratio == pytest.approx(math.exp(10 / 100))
    assert (found.texts, found.tokens, found.not_finite) == (2, 100, 0)


def test_a_text_without_finite_figures_is_left_out_and_counted() -> None:
    good = TextRow(10, 1.0, 20.0, 30.0)
    odd = [TextRow(10, math.nan, 1.0, 1.0), TextRow(5, 1.0, 1.0, math.inf)]
    assert of(good, *odd).kl == of(good).kl
    assert (of(good, *odd).texts, of(good, *odd).not_finite) == (1, 2)


def test_texts_in_which_the_clamp_acts_on_no_token_make_no_figure() -> None:
    found = of(TextRow(0, 0.0, 0.0, 0.0))
    assert (found.kl, found.perplexity_base, found.perplexity_ratio) == (UNDEFINED, None, None)
    assert found.texts == 0
    assert of().kl == UNDEFINED


def test_a_perplexity_beyond_all_numbers_is_infinite() -> None:
    found = of(TextRow(1, 5.0, 2.0, 1e6))
    assert found.perplexity_defended == found.perplexity_ratio == math.inf


def test_states_that_do_not_move_are_counted_and_no_part_of_the_median() -> None:
    assert moved([0.0, 0.0, 0.0, 0.2, 0.4, 0.9]) == Moved(0.4, 0.9, 3, 6)
    assert moved([0.0, 0.0]) == Moved(None, None, 0, 2)
    assert moved([]) == Moved(None, None, 0, 0)
    assert moved([math.nan, 0.3, math.inf]) == Moved(0.3, 0.3, 1, 3)


# --- The interval -----------------------------------------------------------------------------


def test_the_interval_of_a_ratio_is_that_of_scipy_s_paired_bootstrap() -> None:
    rng = np.random.default_rng(1)
    counts = rng.integers(20, 120, 40)
    totals = counts * rng.gamma(2.0, 0.1, 40)
    found = bootstrap_of_ratio(totals, counts, resamples=20000)
    expected = stats.bootstrap(
        (totals, counts), lambda a, b, axis: a.sum(axis) / b.sum(axis), paired=True,
        method="percentile", n_resamples=20000, vectorized=True, random_state=rng,
    ).confidence_interval  # fmt: skip
    assert found.value == totals.sum() / counts.sum()
    assert found.low == pytest.approx(expected.low, rel=0.02)
    assert found.high == pytest.approx(expected.high, rel=0.02)
    assert found.n == 40


def test_of_equal_counts_it_is_the_bootstrap_of_the_means() -> None:
    values = np.random.default_rng(2).gamma(2.0, 0.1, 30)
    ratio = bootstrap_of_ratio(7 * values, np.full(30, 7), resamples=20000)
    mean = bootstrap(values, resamples=20000)
    for end in ("value", "low", "high"):
        assert getattr(ratio, end) == pytest.approx(getattr(mean, end), rel=0.02)


@pytest.mark.parametrize("n", [1, 5])
def test_equal_means_have_an_interval_without_width(n: int) -> None:
    assert bootstrap_of_ratio([0.0] * n, [3] * n) == Estimate(0.0, 0.0, 0.0, n)


def test_the_same_seed_gives_the_same_interval() -> None:
    rng = np.random.default_rng(3)
    values, counts = rng.gamma(2.0, 1.0, 30), rng.integers(3, 9, 30)
    assert bootstrap_of_ratio(values, counts) == bootstrap_of_ratio(values, counts)
    assert bootstrap_of_ratio(values, counts) != bootstrap_of_ratio(values, counts, seed=1)
    wide = bootstrap_of_ratio(values, counts, confidence=0.99)
    narrow = bootstrap_of_ratio(values, counts, confidence=0.5)
    assert wide.low is not None and narrow.low is not None and wide.low < narrow.low


@pytest.mark.parametrize("confidence", [0.0, 1.0])
def test_a_confidence_outside_the_open_interval_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="expected a confidence"):
        bootstrap_of_ratio([1.0], [1], confidence)
