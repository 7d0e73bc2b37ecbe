"""The worst case over attacks, from planted tables."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from recoverdsl.language import check
from recoverdsl.language.schema import Expectation
from recoverdsl.language.schema.strongest import STRONGEST, strongest_of
from recoverdsl.measure import table
from recoverdsl.measure.intervals import wilson
from recoverdsl.measure.strongest import with_strongest
from recoverdsl.measure.summary import Planned, judge, summarize
from tests.language.texts import SMALL
from tests.rows import example_row

PLANNED = {
    "a": Planned((5.0, 20.0), "orthogonal"),
    "b": Planned((20.0,), "jacobian"),
    "free": Planned((20.0,), None),
}


def row(example: str, name: str, recovered: bool, norm: float, score: float = 0.0, **more: Any) -> Any:  # fmt: skip
    plain = {
        "example": example, "kind": "attack", "name": name, "limit": 20.0, "recovered": recovered,
        "norm": norm, "score_recovered": score, "drift": norm / 100, "steps": 1,
        "forward_passes": 10.0, "gradient_steps": 9.0, "violation": 0.0,
    }  # fmt: skip
    return example_row(**{**plain, **more})


def planted() -> pd.DataFrame:
    return table.to_frame(
        [
            # Both recover: the smaller norm counts, whatever the scores.
            row("1", "a", True, 8.0, 9.0),
            row("1", "b", True, 6.0, 1.0),
            # One recovers, with a lower score than the other.
            row("2", "a", False, 20.0, 7.0),
            row("2", "b", True, 19.0, 2.0),
            # None does: the higher score counts, whatever the norms.
            row("3", "a", False, 2.0, -3.0),
            row("3", "b", False, 1.0, -4.0),
            # One failed.
            row("4", "a", False, 0.0, math.nan, failed="why"),
            row("4", "b", False, 3.0, -9.0),
            # Both failed.
            row("5", "a", False, 0.0, math.nan, failed="why"),
            row("5", "b", False, 0.0, math.nan, failed="why"),
            # An attack that moves the features recovers everything.
            *(row(example, "free", True, 1.0) for example in "12345"),
            # At norm 5 there is one attack.
            *(row(e, "a", e == "1", 5.0, limit=5.0) for e in "12345"),
            row("1", "a", True, 7.0, kind="smallest_norm"),
            row("1", "b", True, 5.5, kind="smallest_norm"),
            row("2", "a", False, 20.0, kind="smallest_norm", limit=30.0),
            row("2", "b", True, 12.0, kind="smallest_norm"),
            row("3", "b", False, 1.0, kind="smallest_norm"),
        ]
    )


def rows_at(limit: float) -> pd.DataFrame:
    added = with_strongest(planted(), ["a", "b"])
    chosen = added[(added["name"] == STRONGEST) & (added["kind"] == "attack")]
    return chosen[chosen["limit"] == limit].set_index("example")


def test_each_example_has_the_row_of_its_worst_attack() -> None:
    at = rows_at(20.0)
    assert at["recovered"].tolist() == [True, True, False, False, False]
    assert at["norm"].tolist() == [6.0, 19.0, 2.0, 3.0, 0.0]
    assert at["score_recovered"].tolist()[:4] == [1.0, 2.0, -3.0, -9.0]
    assert at["drift"].tolist() == pytest.approx([0.06, 0.19, 0.02, 0.03, 0.0])
    assert at["failed"].notna().tolist() == [False] * 4 + [True]
    assert rows_at(5.0)["recovered"].tolist() == [True, False, False, False, False]


def test_no_stricter_rate_is_below_that_of_an_attack() -> None:
    """The recovery of the smallest norm reactivates features, and that of a larger one does not."""
    made = table.to_frame(
        [
            row("1", "a", True, 18.0, zero_reactivation=True, base_like=True),
            row("1", "b", True, 10.0, zero_reactivation=False, base_like=False),
            # A flag of a δ that recovers nothing counts for nothing.
            row("2", "a", False, 18.0, zero_reactivation=True),
            row("2", "b", True, 10.0, zero_reactivation=False),
        ]
    )
    found = summarize(made, {}, attacks=PLANNED, strongest=("a", "b")).attacks
    assert found[STRONGEST].metrics["recovery_rate"] == wilson(2, 2)
    assert found["a"].metrics["zero_reactivation_recovery"] == wilson(1, 2)
    assert found[STRONGEST].metrics["zero_reactivation_recovery"] == wilson(1, 2)
    added = with_strongest(made, ["a", "b"])
    (first, _) = added[added["name"] == STRONGEST].itertuples()
    assert (first.norm, bool(first.zero_reactivation), bool(first.base_like)) == (10.0, True, True)


def test_its_cost_is_that_of_all_its_attacks() -> None:
    assert set(rows_at(20.0)["forward_passes"]) == {20.0}
    assert set(rows_at(20.0)["gradient_steps"]) == {18.0}
    assert set(rows_at(5.0)["forward_passes"]) == {10.0}


def test_the_table_itself_is_left_as_it_was() -> None:
    frame = planted()
    kept = frame.copy(deep=True)
    added = with_strongest(frame, ["a", "b"])
    pd.testing.assert_frame_equal(frame, kept)
    pd.testing.assert_frame_equal(added.iloc[: len(frame)], kept, check_dtype=True)
    assert added.dtypes.equals(kept.dtypes)
    assert with_strongest(frame, []) is frame


def test_the_summary_has_it_beside_the_attacks_and_says_what_it_covers() -> None:
    summary = summarize(planted(), {}, attacks=PLANNED, strongest=("a", "b"))
    assert list(summary.attacks) == ["a", "b", "free", STRONGEST]
    row = summary.attacks[STRONGEST]
    assert row.covers == ("a", "b")
    assert [(budget.limit, budget.covers) for budget in row.budgets] == [
        (5.0, ("a",)),
        (20.0, ("a", "b")),
    ]
    assert row.metrics["recovery_rate"] == wilson(2, 4)
    assert row.budgets[0].metrics["recovery_rate"] == wilson(1, 5)
    assert row.metrics["smallest_norm"].value == pytest.approx((5.5 + 12.0) / 2)
    assert row.preserve == "several"
    assert summary.attacks["a"].metrics["recovery_rate"] == wilson(1, 3)
    assert all(not summary.attacks[name].covers for name in PLANNED)
    # Whatever one attack recovers, the worst case does.
    plain = summarize(planted(), {}, attacks=PLANNED)
    assert STRONGEST not in plain.attacks
    assert {name: summary.attacks[name] for name in PLANNED} == plain.attacks


def test_it_is_no_weaker_than_any_attack_at_any_limit() -> None:
    summary = summarize(planted(), {}, attacks=PLANNED, strongest=("a", "b"))
    for budget in summary.attacks[STRONGEST].budgets:
        done = with_strongest(planted(), ["a", "b"])
        done = done[(done["kind"] == "attack") & (done["limit"] == budget.limit)]
        by_any = done[done["name"].isin(budget.covers)].groupby("example")["recovered"].any()
        ours = done[done["name"] == STRONGEST].set_index("example")["recovered"]
        pd.testing.assert_series_equal(by_any, ours, check_dtype=False)


def test_an_expectation_can_be_about_it() -> None:
    summary = summarize(planted(), {}, attacks=PLANNED, strongest=("a", "b"))
    expected = Expectation("recovery_rate", STRONGEST, None, "<=", 0.4, "…")
    (judged,) = judge([expected], summary)
    assert judged.value == 0.5 and judged.outcome == "undecided"


def test_suffixes_alone_have_a_worst_case_without_a_limit() -> None:
    frame = table.to_frame(
        [
            example_row(
                example=e, kind="attack", name=n, limit=None, recovered=(n == "s") == (e == "1"),
                score_recovered=0.0,
            )
            for e in "12"
            for n in "st"
        ]
    )  # fmt: skip
    row = summarize(
        frame, {}, attacks={"s": Planned(), "t": Planned()}, strongest=("s", "t")
    ).attacks[STRONGEST]
    assert row.limit is None and row.covers == ("s", "t")
    assert row.metrics["recovery_rate"] == wilson(2, 2)
    assert [budget.covers for budget in row.budgets] == [("s", "t")]


# --- Which attacks it covers ------------------------------------------------------------------

CLAMP = "intervene clamp { set = kept; to = 0 }\n"


@pytest.mark.parametrize(
    ("more", "covered"),
    [
        ("", ("go",)),
        ("attack two like go { steps = 7 }\n", ("go", "two")),
        ("attack kept_ like go { preserve = orthogonal(kept) }\n", ("kept_",)),
        (
            "attack x like go { preserve = orthogonal(kept) }\n"
            "attack y like go { preserve = jacobian(kept) }\n"
            "attack z like go { preserve = jacobian_sketch(kept) }\n",
            ("x", "y"),
        ),
        ("attack z like go { preserve = jacobian_sketch(kept) }\n", ("z",)),
    ],
)
def test_it_covers_the_attacks_that_ask_one_question(more: str, covered: tuple[str, ...]) -> None:
    spec = check(SMALL + CLAMP + more).spec
    assert spec is not None
    assert strongest_of(spec) == covered
