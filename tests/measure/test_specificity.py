"""The excess of recovery over an unrelated target: planted tables, and a second computation."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recoverdsl.measure import table
from recoverdsl.measure.keys import Budget
from recoverdsl.measure.paired_difference import paired_difference
from recoverdsl.measure.specificity import compared_with, specificities, unspecific
from recoverdsl.measure.summary import Planned, summarize
from tests.rows import example_row

AT = Budget("a", 20.0)
CONTROLS = {"rival": Planned(of="a", method="another_row")}


def rows(kind: str, name: str, recovered: list[bool], *, limit: float = 20.0, norms: list[float] | None = None) -> list[Any]:  # fmt: skip
    return [
        example_row(
            example=str(i), kind=kind, name=name, limit=limit, recovered=done,
            norm=norms[i] if norms else limit, relative_norm=0.1, violation=0.0,
        )
        for i, done in enumerate(recovered)
    ]  # fmt: skip


def frame(own: list[bool], other: list[bool]) -> pd.DataFrame:
    return table.to_frame([*rows("attack", "a", own), *rows("control", "rival", other)])


def said(own: list[bool], other: list[bool]) -> str | None:
    made = frame(own, other)
    found = specificities(made, CONTROLS)
    return unspecific(made, found, [AT]).get(AT)


def test_a_budget_that_writes_the_unrelated_target_as_often_is_not_specific() -> None:
    """Of the audit that this is for: at norm 20 the own target in 13 of 14 and the unrelated in 10."""
    why = said([True] * 13 + [False], [True] * 10 + [False] * 4)
    assert why is not None
    assert "at norm 20 the same search also reaches an unrelated target (rival) in 10 of 14" in why
    assert "its own in 13" in why


def test_a_budget_that_recovers_and_writes_little_else_is_specific() -> None:
    assert said([True] * 9 + [False] * 5, [True] * 1 + [False] * 13) is None


@pytest.mark.parametrize(("only_own", "specific"), [(5, False), (6, True)])
def test_six_examples_of_one_side_alone_are_the_fewest_that_show_it(only_own: int, specific: bool) -> None:  # fmt: skip
    """The exact test: 2 · 0.5⁶ is below 5%, 2 · 0.5⁵ is not."""
    assert (said([True] * only_own, [False] * only_own) is None) == specific


def test_pairs_count_and_not_the_two_rates() -> None:
    """The same two rates, 8 and 2 of 20: in the same examples, and in others."""
    own = [True] * 8 + [False] * 12
    nested = said(own, [True] * 2 + [False] * 18)
    apart = said(own, [False] * 18 + [True] * 2)
    assert nested is None
    assert apart is not None


def test_without_an_unrelated_target_nothing_is_shown() -> None:
    only = table.to_frame(rows("attack", "a", [True] * 9))
    why = unspecific(only, specificities(only, {}), [AT])[AT]
    assert "no unrelated target was tried" in why and "add a control with a `target`" in why


def test_the_least_related_target_is_compared_with() -> None:
    planned = {
        "other": Planned(of="a", method="another_behavior"),
        "rival": Planned(of="a", method="another_row"),
        "free": Planned(of="a", method="another_row_undefended"),
        "noise": Planned(of="a", method="random_direction"),
    }
    made = table.to_frame(
        [row for name in planned for row in rows("control", name, [False] * 8)]
        + rows("attack", "a", [True] * 8)
    )
    found = specificities(made, planned)
    assert [one.control for one in found] == ["other", "rival"]
    best = compared_with(found, "a")
    assert best is not None and best.control == "rival"
    assert compared_with(found, "b") is None


def test_an_example_that_failed_in_either_is_no_pair() -> None:
    failed = example_row(example="0", kind="control", name="rival", limit=20.0, failed="why")
    made = table.to_frame(
        [*rows("attack", "a", [True] * 8), failed, *rows("control", "rival", [False] * 8)[1:]]
    )
    (one,) = specificities(made, CONTROLS)
    assert [pair.n for pair in one.budgets] == [7]


def test_the_norm_at_which_both_differ_most_comes_from_the_least_norms() -> None:
    least, rival = [2.0, 4.0, 6.0, 8.0], [5.0, 7.0, 9.0, 11.0]
    made = table.to_frame(
        [
            *rows("attack", "a", [True] * 4), *rows("control", "rival", [True] * 4),
            *rows("smallest_norm", "a", [True] * 4, norms=least),
            *rows("smallest_norm_control", "rival", [True] * 3 + [False], norms=rival),
        ]
    )  # fmt: skip
    (one,) = specificities(made, CONTROLS)
    assert one.best is not None
    by_hand = {
        norm: sum(x <= norm for x in least) - sum(x <= norm for x in rival[:3]) for norm in least
    }
    assert by_hand == {2.0: 1, 4.0: 2, 6.0: 2, 8.0: 2}
    assert (one.best.norm, one.best.own, one.best.other) == (4.0, 2, 0)
    metric = summarize(made, {}, attacks={"a": Planned()}, controls=CONTROLS).attacks["a"].metrics["specificity"]  # fmt: skip
    assert metric.value == pytest.approx((5 / 2 + 7 / 4 + 9 / 6 + 20 / 8) / 4)


def test_a_least_norm_is_specific_where_the_control_needs_more() -> None:
    """Own targets from norm 4 on, unrelated ones from 9 on: at 8 only the own ones, at 12 both."""
    made = table.to_frame(
        [
            *rows("smallest_norm", "a", [True] * 8, norms=[4.0] * 8),
            *rows("smallest_norm_control", "rival", [True] * 7 + [False], norms=[9.0] * 8),
        ]
    )
    found = specificities(made, CONTROLS)
    near, far = Budget("a", 8.0, least=True), Budget("a", 12.0, least=True)
    said = unspecific(made, found, [near, far])
    assert list(said) == [far]
    assert (
        "at norm 12 the same search also reaches an unrelated target (rival) in 7 of 8" in said[far]
    )
    # At a norm at which nothing was searched, nothing is shown, whatever the least norms say.
    assert list(unspecific(made, found, [Budget("a", 8.0)])) == [Budget("a", 8.0)]


pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@given(pairs)
def test_the_interval_is_above_zero_just_where_the_exact_test_rejects(
    made: list[tuple[bool, bool]],
) -> None:
    own, other = (pd.Series([pair[at] for pair in made]) for at in (0, 1))
    found = paired_difference(own, other, None)
    assert found.difference == pytest.approx((own.sum() - other.sum()) / len(made))
    assert found.low is not None and found.high is not None
    assert found.low - 1e-12 <= found.difference <= found.high + 1e-12
    b, c = found.only_own, found.only_other
    if b + c:
        p = min(1.0, 2 * stats.binom.cdf(min(b, c), b + c, 0.5))
        assert found.p == pytest.approx(p)
        assert (found.low > 0) == (b > c and p <= 0.05)


@given(pairs)
def test_exchanged_the_difference_has_the_other_sign(made: list[tuple[bool, bool]]) -> None:
    own, other = (pd.Series([pair[at] for pair in made]) for at in (0, 1))
    one, two = paired_difference(own, other, None), paired_difference(other, own, None)
    assert one.difference == -(two.difference or 0.0)
    assert one.low == pytest.approx(-(two.high or 0.0)) and one.p == pytest.approx(two.p)


def test_without_examples_it_is_undefined() -> None:
    nothing = pd.Series([], dtype=bool)
    found = paired_difference(nothing, nothing, 3.0)
    assert (found.n, found.difference, found.low, found.p) == (0, None, None, None)
    assert not math.isnan(found.norm or 0.0)
