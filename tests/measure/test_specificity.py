"""The excess of recovery over an unrelated target: planted tables, and a second computation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recoverdsl.measure import table
from recoverdsl.measure.keys import Budget
from recoverdsl.measure.paired_difference import most_different, paired_difference
from recoverdsl.measure.specificity import compared_with, overestimated, specificities, unspecific
from recoverdsl.measure.strength import Tried, UnrelatedRow
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


def none_reached(*names: str, at: Budget = AT) -> dict[Budget, dict[str, tuple[UnrelatedRow, ...]]]:
    """Return stronger searches that reach nothing more."""
    return {at: dict.fromkeys(names, ())}


def said(own: list[bool], other: list[bool], again: Sequence[int] = ()) -> str | None:
    """Return why a budget is not specific.

    Args:
        again: the examples whose unrelated target a stronger search reaches, of those in which only the own
            one was reached.
    """
    made = frame(own, other)
    rows = tuple(
        UnrelatedRow(example=str(i), longer=Tried(i in again, 0.0, 1.0))
        for i, (one, rival) in enumerate(zip(own, other, strict=True))
        if one and not rival
    )
    found = specificities(made, CONTROLS, {AT: {"rival": rows}})
    return unspecific(made, found, [AT], CONTROLS).get(AT)


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


def test_what_a_stronger_search_reaches_counts_as_reached() -> None:
    """Own 14 of 20 and unrelated 2: a difference of 12, of which a stronger search takes six or seven."""
    own, other = [True] * 14 + [False] * 6, [True] * 2 + [False] * 18
    assert said(own, other, again=range(8, 14)) is None
    why = said(own, other, again=range(7, 14))
    assert why is not None
    assert (
        "at norm 20 the same search also reaches an unrelated target (rival) in 2 of 20, in 7 more when "
        "searched with twice the steps or by apgd(), and its own in 14: a difference of 25 points"
    ) in why


@pytest.mark.parametrize(("norm", "too_large"), [(5.0, 2), (7.5, 0)])
def test_a_least_norm_that_a_stronger_search_is_clearly_below_was_overestimated(
    norm: float, too_large: int
) -> None:
    """The unrelated least norms are 8, and stronger searches reach two of them with 5, or with 7.5."""
    made = table.to_frame(
        [
            *rows("attack", "a", [True] * 8), *rows("control", "rival", [False] * 8),
            *rows("smallest_norm_control", "rival", [True] * 8, norms=[8.0] * 8),
        ]
    )  # fmt: skip
    again = [UnrelatedRow(example=str(i), longer=Tried(i < 2, 0.0, norm)) for i in range(8)]
    (one,) = specificities(made, CONTROLS, {AT: {"rival": again}})
    (harder,) = one.harder
    assert (harder.searched, harder.reached, harder.overestimated) == (8, 2, too_large)
    said = overestimated([one])
    assert said.keys() == ({"a"} if too_large else set())
    if too_large:
        assert "reach the unrelated target (rival) in 2 of 8 whose least norm" in said["a"]


def test_where_no_stronger_search_was_made_nothing_is_shown() -> None:
    """The difference may be that of a weak search."""
    made = frame([True] * 9, [False] * 9)
    why = unspecific(made, specificities(made, CONTROLS, {}), [AT], CONTROLS)[AT]
    assert "no stronger search was made for the unrelated target (rival)" in why


def test_pairs_count_and_not_the_two_rates() -> None:
    """The same two rates, 8 and 2 of 20: in the same examples, and in others."""
    own = [True] * 8 + [False] * 12
    nested = said(own, [True] * 2 + [False] * 18)
    apart = said(own, [False] * 18 + [True] * 2)
    assert nested is None
    assert apart is not None


def test_without_an_unrelated_target_nothing_is_shown() -> None:
    only = table.to_frame(rows("attack", "a", [True] * 9))
    why = unspecific(only, specificities(only, {}, {}), [AT], {})[AT]
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
    found = specificities(made, planned, {})
    assert [one.control for one in found] == ["other", "rival"]
    assert [one.control for one in compared_with(found, "a")] == ["rival"]
    assert compared_with(found, "b") == []


def test_a_target_that_no_example_has_is_compared_with_only_where_there_is_no_other() -> None:
    planned = {
        "rival": Planned(of="a", method="another_row"),
        "other": Planned(of="a", method="another_behavior"),
    }
    failed = [example_row(example=str(i), kind="control", name="rival", limit=20.0, failed="no row") for i in range(8)]  # fmt: skip
    own = rows("attack", "a", [True] * 8)
    both = table.to_frame([*own, *failed, *rows("control", "other", [False] * 8)])
    assert [one.control for one in compared_with(specificities(both, planned, {}), "a")] == [
        "other"
    ]
    alone = table.to_frame([*own, *failed])
    assert [one.control for one in compared_with(specificities(alone, {"rival": planned["rival"]}, {}), "a")] == ["rival"]  # fmt: skip


def test_an_easy_unrelated_target_is_not_hidden_by_a_hard_one() -> None:
    """Of two targets that are as little related, each must be exceeded."""
    planned = {name: Planned(of="a", method="another_row") for name in ("hard", "easy")}
    made = table.to_frame(
        [
            *rows("attack", "a", [True] * 29 + [False] * 4),
            *rows("control", "hard", [False] * 33),
            *rows("control", "easy", [True] * 28 + [False] * 5),
        ]
    )
    why = unspecific(made, specificities(made, planned, none_reached(*planned)), [AT], planned)[AT]
    assert "unrelated target (easy) in 28 of 33" in why


def test_an_example_that_failed_in_either_is_no_pair() -> None:
    failed = example_row(example="0", kind="control", name="rival", limit=20.0, failed="why")
    made = table.to_frame(
        [*rows("attack", "a", [True] * 8), failed, *rows("control", "rival", [False] * 8)[1:]]
    )
    (one,) = specificities(made, CONTROLS, {})
    assert [pair.n for pair in one.budgets] == [7]


ANSWERS = {"rival": Planned(of="a", method="another_example")}


def answered(recovered: int, base_like: int, reached: int, n: int = 40) -> list[Any]:
    """Return the rows of an attack on a behavior that is judged by a text: the first so many recovered, the
    first so many base-like, and in the last so many the target is reached."""
    return [
        example_row(
            example=str(i), kind="attack", name="a", limit=20.0, norm=20.0, relative_norm=0.1, violation=0.0,
            recovered=i < recovered, base_like=i < base_like, reached=i >= n - reached,
        )
        for i in range(n)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("recovered", "base_like", "reached", "own"),
    [(40, 0, 0, 0), (40, 12, 0, 12), (40, 12, 8, 20), (40, 40, 40, 40), (12, 40, 0, 12), (12, 0, 20, 0)],
)  # fmt: skip
def test_an_attack_reaches_its_answer_by_the_standard_of_its_control(
    recovered: int, base_like: int, reached: int, own: int
) -> None:
    """A text that only does not refuse, as a degenerate one, is not the base answer."""
    made = table.to_frame(
        [*answered(recovered, base_like, reached), *rows("control", "rival", [False] * 40)]
    )
    found = specificities(made, ANSWERS, none_reached(*ANSWERS))
    assert [pair.own for pair in found[0].budgets] == [own]
    said = unspecific(made, found, [AT], ANSWERS)
    assert (AT in said) == (own == 0)
    if own == 0:
        assert "in 0 of 40, and the base answer in 0" in said[AT]


NOISE = {**CONTROLS, "noise": Planned(of="a", method="random_direction")}


def drawn(recovered: int, n: int, draws: int = 2, limit: float = 20.0) -> list[Any]:
    """Return the rows of random draws, the first so many of which recovered."""
    return [
        example_row(example=str(i // draws), kind="control", name="noise", limit=limit, draw=i % draws,
                    recovered=i < recovered, norm=20.0, relative_norm=0.1, violation=0.0)
        for i in range(draws * n)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("own", "chance", "specific"),
    [(40, 80, False), (40, 70, False), (40, 40, True), (40, 0, True), (20, 36, False), (20, 8, True)],
)  # fmt: skip
def test_random_draws_have_to_recover_clearly_fewer(own: int, chance: int, specific: bool) -> None:
    """Of 40 flips and 80 draws, at 95%: the interval of the draws has to lie below that of the attack."""
    made = table.to_frame(
        [
            *rows("attack", "a", [i < own for i in range(40)]),
            *rows("control", "rival", [False] * 40), *drawn(chance, 40),
        ]
    )  # fmt: skip
    said = unspecific(made, specificities(made, NOISE, none_reached(*NOISE)), [AT], NOISE)
    assert (AT not in said) == specific
    if not specific:
        assert f"(noise) recover {chance} of 80, not clearly fewer" in said[AT]
        assert f"with {own} of 40: nearly any change of this size may recover" in said[AT]


def test_random_draws_at_another_limit_say_nothing() -> None:
    own = rows("attack", "a", [True] * 40)
    made = table.to_frame(
        [*own, *rows("control", "rival", [False] * 40), *drawn(80, 40, limit=60.0)]
    )
    assert unspecific(made, specificities(made, NOISE, none_reached(*NOISE)), [AT], NOISE) == {}


def test_a_least_norm_is_compared_with_random_draws_at_the_norm_that_it_is_about() -> None:
    made = table.to_frame(
        [
            *rows("smallest_norm", "a", [True] * 40, norms=[4.0] * 40),
            *rows("smallest_norm_control", "rival", [False] * 40, norms=[20.0] * 40),
            *drawn(80, 40),
        ]
    )
    at, elsewhere = Budget("a", 20.0, least=True), Budget("a", 8.0, least=True)
    said = unspecific(
        made,
        specificities(
            made, NOISE, none_reached(*NOISE, at=at) | none_reached(*NOISE, at=elsewhere)
        ),
        [at, elsewhere],
        NOISE,
    )
    assert list(said) == [at]


def test_the_norm_at_which_both_differ_most_comes_from_the_least_norms() -> None:
    least, rival = [2.0, 4.0, 6.0, 8.0], [5.0, 7.0, 9.0, 11.0]
    made = table.to_frame(
        [
            *rows("attack", "a", [True] * 4), *rows("control", "rival", [True] * 4),
            *rows("smallest_norm", "a", [True] * 4, norms=least),
            *rows("smallest_norm_control", "rival", [True] * 3 + [False], norms=rival),
        ]
    )  # fmt: skip
    (one,) = specificities(made, CONTROLS, {})
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
    near, far = Budget("a", 8.0, least=True), Budget("a", 12.0, least=True)
    found = specificities(
        made, CONTROLS, none_reached("rival", at=near) | none_reached("rival", at=far)
    )
    said = unspecific(made, found, [near, far], CONTROLS)
    assert list(said) == [far]
    assert (
        "at norm 12 the same search also reaches an unrelated target (rival) in 7 of 8" in said[far]
    )
    # At a norm at which nothing was searched, nothing is shown, whatever the least norms say.
    assert list(unspecific(made, found, [Budget("a", 8.0)], CONTROLS)) == [Budget("a", 8.0)]


pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@given(pairs)
def test_own_exceeds_only_where_the_exact_test_rejects_and_the_interval_is_above_zero(
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
        assert found.own_exceeds == (found.low > 0 and p < 0.05)
        assert not found.own_exceeds or b > c
    else:
        assert not found.own_exceeds


@pytest.mark.parametrize(
    ("cells", "low", "high"),
    [
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((20, 12, 2, 16), 0.0562, 0.3292),
        ((18, 14, 4, 14), 0.0355, 0.3477),
        ((0, 29, 1, 0), 0.6666, 0.9882),
    ],
)
def test_the_interval_is_the_published_one(
    cells: tuple[int, int, int, int], low: float, high: float
) -> None:
    """Newcombe 1998, table II, method 10: both, only the first, only the second, neither."""
    both, first, second, neither = cells
    one = pd.Series([True] * (both + first) + [False] * (second + neither))
    other = pd.Series([True] * both + [False] * first + [True] * second + [False] * neither)
    found = paired_difference(one, other, None)
    assert (found.low, found.high) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))


def test_the_interval_covers_the_difference_also_where_only_one_target_is_reached() -> None:
    """An interval that is conditional on the discordant examples covered 0.5 in 55% of the draws."""
    drawn = np.random.default_rng(0).binomial(60, 0.5, 400)
    found = [
        paired_difference(pd.Series([True] * k + [False] * (60 - k)), pd.Series([False] * 60), None)
        for k in drawn
    ]
    covered = [(one.low or 0.0) <= 0.5 <= (one.high or 0.0) for one in found]
    assert np.mean(covered) >= 0.9


def test_one_example_that_agrees_shows_nothing() -> None:
    found = paired_difference(pd.Series([True]), pd.Series([True]), None)
    assert found.difference == 0
    assert found.low is not None and found.low < -0.5
    assert found.high is not None and found.high > 0.5


def _least(seed: int, n: int) -> tuple[pd.Series[float], pd.Series[float]]:
    draw = np.random.default_rng(seed)
    return pd.Series(draw.lognormal(size=n)), pd.Series(draw.lognormal(size=n))


def test_two_targets_that_are_as_easy_differ_by_chance_at_some_norm_and_p_knows() -> None:
    """At the chosen norm the plain test rejects in far more than 5% of such draws."""
    found = [most_different(*_least(seed, 60)) for seed in range(300)]
    assert all(one is not None and one.p is not None for one in found)
    assert np.mean([one.p < 0.05 for one in found]) <= 0.08  # type: ignore[union-attr, operator]
    assert np.mean([one.own_exceeds for one in found]) <= 0.08  # type: ignore[union-attr]


def test_a_target_that_takes_twice_the_norm_differs_beyond_chance() -> None:
    own, other = _least(0, 60)
    found = most_different(own, 2 * other)
    assert found is not None and found.p is not None
    assert found.p < 0.01


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
