"""Expectations against intervals: by hand, by brute force, and properties of every comparison."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from recoverdsl.language.schema import Expectation
from recoverdsl.measure.expectation import COMPARE, against, compared
from recoverdsl.measure.intervals import (
    Estimate,
    bootstrap,
    largest,
    wilson,
    wilson_ends,
    wilson_of_shares,
)

OPERATORS = list(COMPARE)


def asked(operator: str, bound: float, metric: str = "recovery_rate", by: str = "interval") -> Any:
    return Expectation(metric, "a", None, operator, bound, "…", by)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("k", "n", "operator", "bound", "outcome"),
    [
        (0, 2, "<=", 0.05, "undecided"),
        (0, 72, "<=", 0.05, "undecided"),
        (0, 73, "<=", 0.05, "met"),
        (2, 2, "<=", 0.05, "broken"),
        (71, 71, ">=", 0.9, "met"),
        (0, 9, ">=", 0.0, "met"),
        (9, 9, "<=", 1.0, "met"),
        (9, 9, "<", 1.0, "undecided"),
        (0, 9, ">", 0.0, "undecided"),
        (0, 9, ">=", 0.9, "broken"),
    ],
)
def test_a_rate_is_judged_by_its_interval(
    k: int, n: int, operator: str, bound: float, outcome: str
) -> None:
    judged = compared(asked(operator, bound), wilson(k, n), 0.95)
    assert (judged.outcome, judged.by, judged.n) == (outcome, "interval", n)
    assert (judged.low, judged.high) == (wilson(k, n).low, wilson(k, n).high)
    assert (judged.reason is None) == (outcome != "undecided")


def test_an_undecided_rate_says_how_many_flips_decide() -> None:
    judged = compared(asked("<=", 0.05), wilson(0, 2), 0.95)
    says = "0 of 2: at least 73 flips with none recovered are needed for ≤ 5%"
    assert (judged.needed, judged.reason) == (73, says)
    every = compared(asked(">=", 0.9), wilson(2, 2), 0.95).reason
    assert every == "2 of 2: at least 35 flips with all recovered are needed for ≥ 90%"
    some = compared(asked("<=", 0.05), wilson(3, 40), 0.95)
    assert some.reason == f"3 of 40: at this rate at least {some.needed} flips are needed to rule out ≤ 5%"  # fmt: skip


@pytest.mark.parametrize(
    ("k", "n", "operator", "bound", "confidence"),
    [(0, 2, "<=", 0.05, 0.95), (3, 40, "<=", 0.05, 0.95), (1, 9, "<", 0.3, 0.9), (5, 9, ">=", 0.5, 0.95), (2, 2, ">=", 0.9, 0.99), (7, 71, "<=", 0.15, 0.95)],
)  # fmt: skip
def test_the_number_needed_is_the_first_that_decides(
    k: int, n: int, operator: str, bound: float, confidence: float
) -> None:
    def decides(at: int) -> bool:
        # The interval of scipy, which the search for the number does not use.
        ends = stats.binomtest(round(k / n * at), at).proportion_ci(confidence, method="wilson")
        return against(operator, bound, float(ends.low), float(ends.high)) != "undecided"

    needed = compared(asked(operator, bound), wilson(k, n, confidence), confidence).needed
    assert needed == next(at for at in range(n + 1, 10_000) if decides(at))


@given(st.integers(1, 400), st.data(), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_ends_of_many_rates_are_those_of_each(n: int, data: Any, confidence: float) -> None:
    k = data.draw(st.integers(0, n))
    low, high = wilson_ends(np.array([k]), np.array([n]), confidence)
    one = wilson(k, n, confidence)
    assert (low[0], high[0]) == (pytest.approx(one.low, abs=1e-12), pytest.approx(one.high, abs=1e-12))  # fmt: skip


@pytest.mark.parametrize(("k", "n", "bound"), [(4, 80, 0.05), (50, 100, 0.5)])
def test_at_the_bound_no_number_is_promised(k: int, n: int, bound: float) -> None:
    judged = compared(asked("<=", bound), wilson(k, n), 0.95)
    assert (judged.outcome, judged.needed) == ("undecided", None)
    assert judged.reason is not None and "a million flips" in judged.reason


@given(st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted), st.floats(-0.5, 1.5), st.sampled_from(OPERATORS))  # fmt: skip
def test_a_bound_inside_the_interval_decides_nothing(
    ends: list[float], bound: float, operator: str
) -> None:
    low, high = ends
    outcome = against(operator, bound, low, high)
    if low < bound < high:
        assert outcome == "undecided"
    if outcome == "met":
        assert all(COMPARE[operator](x, bound) for x in (low, (low + high) / 2, high))
    if outcome == "broken":
        assert not any(COMPARE[operator](x, bound) for x in (low, (low + high) / 2, high))


@given(
    st.integers(1, 300), st.data(), st.floats(0, 1), st.floats(0, 1), st.sampled_from(OPERATORS),
    st.sampled_from(["interval", "estimate"]),
)  # fmt: skip
def test_a_weaker_bound_is_never_judged_worse(
    n: int, data: Any, one: float, other: float, operator: str, by: str
) -> None:
    k = data.draw(st.integers(0, n))
    strict, weak = sorted([one, other], reverse=operator in (">", ">="))
    rank = ["broken", "undecided", "met"]
    outcomes = [compared(asked(operator, b, by=by), wilson(k, n), 0.95).outcome for b in (strict, weak)]  # fmt: skip
    assert rank.index(outcomes[0]) <= rank.index(outcomes[1])


@given(st.integers(1, 300), st.data(), st.floats(0, 1), st.sampled_from(OPERATORS))
def test_the_interval_never_contradicts_the_estimate(
    n: int, data: Any, bound: float, operator: str
) -> None:
    k = data.draw(st.integers(0, n))
    by_interval = compared(asked(operator, bound), wilson(k, n), 0.95)
    by_estimate = compared(asked(operator, bound, by="estimate"), wilson(k, n), 0.95)
    assert by_estimate.outcome in ("met", "broken")
    assert by_interval.outcome in (by_estimate.outcome, "undecided")


def test_a_spec_may_ask_for_the_estimate() -> None:
    judged = compared(asked("<=", 0.05, by="estimate"), wilson(0, 2), 0.95)
    assert (judged.outcome, judged.by, judged.needed) == ("met", "estimate", None)


def test_a_rate_is_judged_by_wilson_even_if_a_bootstrap_is_printed() -> None:
    printed = bootstrap(np.zeros(20))
    assert (printed.low, printed.high) == (0, 0)
    judged = compared(asked("<=", 0.05), printed, 0.95)
    assert (judged.outcome, judged.high) == ("undecided", wilson(0, 20).high)


@pytest.mark.parametrize(("n", "confidence", "decides"), [(1, 0.95, False), (19, 0.95, False), (20, 0.95, True), (19, 0.99, False)])  # fmt: skip
def test_a_bootstrap_of_too_few_values_decides_nothing(
    n: int, confidence: float, decides: bool
) -> None:
    values = np.linspace(0.4, 0.6, n)
    judged = compared(asked("<=", 1.0, "drift"), bootstrap(values, confidence), confidence)
    assert (judged.outcome == "met") == decides
    if not decides:
        assert (judged.low, judged.high) == (None, None)
        assert judged.needed == 20
        assert judged.reason == f"{n} of the at least 20 flips that {100 * confidence:g}% confidence in a mean needs"  # fmt: skip


@pytest.mark.parametrize(("n", "confidence", "decides"), [(5, 0.95, False), (6, 0.95, True), (7, 0.99, False), (8, 0.99, True)])  # fmt: skip
def test_a_median_takes_as_many_as_show_on_which_side_it_is(
    n: int, confidence: float, decides: bool
) -> None:
    printed = bootstrap(np.ones(n), confidence, of="median")
    judged = compared(asked("<=", 1.0, "target_rank"), printed, confidence)
    assert (judged.outcome == "met") == decides


def test_a_mean_of_equal_values_decides_nothing() -> None:
    """Of what is drawn with one value in 30 at 100, 40 equal ones are nothing unusual."""
    judged = compared(asked("<=", 1.0, "norm"), bootstrap(np.full(40, 0.5)), 0.95)
    assert (judged.outcome, judged.needed) == ("undecided", None)
    assert judged.reason is not None
    assert "each of 40 flips has the same value" in judged.reason


def test_a_mean_of_shares_is_judged_by_the_widest_interval_of_its_mean() -> None:
    printed = bootstrap(np.zeros(40))
    assert (printed.low, printed.high) == (0, 0)
    for metric in ("reactivated_fraction", "target_probability"):
        judged = compared(asked("<=", 0.05, metric), printed, 0.95)
        assert judged.outcome == "undecided"
        assert judged.high == pytest.approx(wilson(0, 40).high)
        assert judged.needed == 73


def test_a_share_of_draws_is_judged_by_wilson_even_if_a_bootstrap_is_printed() -> None:
    """None of 2 flips in 8 draws each: the bootstrap has no width."""
    printed = evolve(bootstrap(np.zeros(2)), draws=16)
    judged = compared(asked("<=", 0.05), printed, 0.95)
    assert judged.outcome == "undecided"
    assert judged.high == pytest.approx(wilson_of_shares([0.0, 0.0], 16).high)


def test_a_mean_says_about_how_many_flips_decide() -> None:
    judged = compared(asked("<=", 1.25, "drift"), Estimate(1.0, 0.5, 1.5, 20), 0.95)
    assert (judged.outcome, judged.needed) == ("undecided", 80)
    says = (
        "1 over 20 flips, interval 0.5 to 1.5: at this spread about 80 flips are needed for ≤ 1.25"
    )
    assert judged.reason == says
    equal = compared(asked("<", 1.0, "drift"), Estimate(1.0, 0.5, 1.5, 20), 0.95)
    assert (equal.outcome, equal.needed) == ("undecided", None)


@given(st.floats(0.01, 10), st.floats(0.01, 5), st.integers(20, 500), st.floats(0.01, 20))
def test_a_mean_needs_more_flips_than_it_has(
    value: float, half: float, n: int, bound: float
) -> None:
    assume(not math.isclose(value, bound))
    judged = compared(asked("<=", bound, "norm"), Estimate(value, value - half, value + half, n), 0.95)  # fmt: skip
    if judged.needed is not None:
        assert judged.outcome == "undecided"
        assert judged.needed > n
        shrunk = half * math.sqrt(n / judged.needed)
        assert against("<=", bound, value - shrunk, value + shrunk) != "undecided" or math.isclose(
            shrunk, abs(value - bound), rel_tol=1e-6
        )


def test_a_maximum_is_compared_by_its_value() -> None:
    judged = compared(asked("<=", 1e-6, "violation"), largest([1e-8, 3e-8]), 0.95)
    assert (judged.outcome, judged.by, judged.value, judged.low) == ("met", "value", 3e-8, None)


@pytest.mark.parametrize("estimate", [None, Estimate(None, None, None, 0)])
@pytest.mark.parametrize("by", ["interval", "estimate"])
def test_an_undefined_figure_is_undecided(estimate: Estimate | None, by: str) -> None:
    judged = compared(asked("<=", 0.05, by=by), estimate, 0.95)
    assert (judged.outcome, judged.value, judged.n) == ("undecided", None, 0)
    assert judged.reason and judged.reason.startswith("the figure is undefined")
