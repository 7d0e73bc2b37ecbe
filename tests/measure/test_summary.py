"""Planted tables: the aggregates, the judgment and the curve that must follow from them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import attrs
import pandas as pd
import pyarrow.parquet as pq
import pytest

from recoverdsl.language.schema import METRICS, Bootstrap, Expectation, Wilson
from recoverdsl.measure import table
from recoverdsl.measure.curve import recovery_curve
from recoverdsl.measure.intervals import UNDEFINED, wilson, wilson_of_shares
from recoverdsl.measure.results import IntervalUsed
from recoverdsl.measure.rows import ExampleRow, Recovery
from recoverdsl.measure.summary import Planned, budget_ratios, judge, summarize
from tests.rows import example_row


def row(example: str, name: str = "a", **more: Any) -> ExampleRow:
    plain = {
        "example": example, "kind": "attack", "name": name, "limit": 20.0, "recovered": True,
        "steps": 10, "norm": 20.0, "relative_norm": 0.1, "activation_drift": 1.0,
        "decode_drift": 2.0, "drift": 0.5, "clamp_floor_violation": 0.0,
        "reactivated_fraction": 0.0, "zero_reactivation": True, "violation": 1e-8,
    }  # fmt: skip
    return example_row(**{**plain, **more})


def planted() -> pd.DataFrame:
    rows = [row(str(i), limit=5.0, recovered=i < 2, norm=5.0) for i in range(10)]
    rows += [
        row(
            str(i), recovered=i < 8, steps=i, zero_reactivation=i >= 3, violation=i * 1e-9,
            rank_recovered=2**i, probability_recovered=i / 100, drift=math.nan if i == 9 else i / 10,
        )
        for i in range(10)
    ]  # fmt: skip
    rows.append(example_row(example="10", kind="attack", name="a", limit=20.0, failed="why"))
    rows += [row(str(i), kind="smallest_norm", norm=i + 1.0, recovered=i < 4) for i in range(5)]
    rows += [row(str(i), "noise", kind="control", recovered=i == 0) for i in range(10)]
    return table.to_frame(rows)


def test_planted_figures_come_back() -> None:
    summary = summarize(planted(), {"recovery_rate": Wilson(0.9)})
    attack = summary.attacks["a"]
    m = attack.metrics
    assert attack.limit == 20.0
    assert [b.limit for b in attack.budgets] == [5.0, 20.0]
    assert m["recovery_rate"] == wilson(8, 10, 0.9)
    assert attack.budgets[0].metrics["recovery_rate"] == wilson(2, 10, 0.9)
    assert m["zero_reactivation_recovery"] == wilson(5, 10)
    assert m["drift"].value == pytest.approx(0.4)
    assert m["drift"].n == 9
    assert m["steps"].value == 3.5
    # Of 1, 2, 4, … 512 the middle, whatever the largest are.
    assert m["target_rank"].value == 24
    assert 1 <= m["target_rank"].low <= 24 <= m["target_rank"].high <= 512
    assert m["target_probability"].value == pytest.approx(0.045)
    assert "target_rank" not in attack.budgets[0].metrics
    assert (m["violation"].value, m["violation"].low) == (pytest.approx(9e-9), None)
    assert (m["smallest_norm"].value, m["smallest_norm"].n) == (2.5, 4)
    assert list(m) == [
        name
        for name, metric in METRICS.items()
        if not metric.generated
        and name not in ("budget_ratio", "unconstrained_recovery_rate", "specificity")
    ]
    assert "smallest_norm" not in attack.budgets[-1].metrics
    assert summary.controls["noise"].metrics["recovery_rate"].value == 0.1
    assert summary.failed == 1
    assert summary.intervals["recovery_rate"].confidence == 0.9
    assert summary.intervals["violation"].method == "none"


def test_with_texts_and_searches_every_metric_is_there() -> None:
    text: dict[str, Any] = {
        "opening": "Sure",
        "base_like": True,
        "strict_base_like": False,
        "degenerate": False,
        "rank_recovered": 2,
        "probability_recovered": 0.25,
    }
    rows = [row(str(i), **text) for i in range(4)]
    rows += [row(str(i), "other", kind="control", **text) for i in range(4)]
    rows += [row(str(i), "other", kind="unconstrained_control", **text) for i in range(4)]
    rows += [row(str(i), kind="smallest_norm", norm=2.0 + i) for i in range(4)]
    rows += [row(str(i), "other", kind="smallest_norm_control", norm=8.0 + 4 * i) for i in range(3)]
    planned = {"other": Planned(of="a", method="another_example")}
    summary = summarize(table.to_frame(rows), {}, controls=planned)
    control = summary.controls["other"].metrics
    assert list(control) == [name for name in METRICS if name != "specificity"]
    assert list(summary.attacks["a"].metrics) == [
        n for n in METRICS if n not in ("budget_ratio", "unconstrained_recovery_rate")
    ]
    assert control["base_like_rate"] == wilson(4, 4)
    assert control["strict_base_like_rate"] == control["degenerate_rate"] == wilson(0, 4)
    assert (control["budget_ratio"].value, control["budget_ratio"].n) == (4.0, 3)


@pytest.mark.parametrize("norm", [0.0, 7.0, 19.0, None])
def test_an_answer_that_no_norm_reached_counts_with_the_largest_that_was_tried(
    norm: float | None,
) -> None:
    """Whatever norm the search of it was left at: the ratio is a lower bound, and this is its price."""
    rows = [
        row("0"),
        row("0", "other", kind="control"),
        row("1"),
        row("1", "other", kind="control"),
    ]
    rows += [row(str(i), kind="smallest_norm", norm=4.0, recovered=i < 2) for i in range(3)]
    rows += [
        row("0", "other", kind="smallest_norm_control", norm=norm, recovered=False, limit=40.0),
        row("1", "other", kind="smallest_norm_control", norm=8.0, limit=40.0),
        # Its own answer was not reached either, so that nothing is compared.
        row("2", "other", kind="smallest_norm_control", norm=8.0, limit=40.0),
    ]
    assert budget_ratios(table.to_frame(rows), "other", "a").to_dict() == {"0": 10.0, "1": 2.0}
    summary = summarize(table.to_frame(rows), {}, controls={"other": Planned(of="a")})
    ratio = summary.controls["other"].metrics["budget_ratio"]
    assert (ratio.value, ratio.n) == (6.0, 2)


def test_no_valid_flip_is_a_result() -> None:
    summary = summarize(
        table.to_frame([]),
        {},
        attacks={"a": Planned((2.0, 20.0), preserve="orthogonal")},
        controls={"noise": Planned((20.0,), of="a", method="random_direction")},
    )
    attack = summary.attacks["a"]
    assert attack.limit == 20.0
    assert set(attack.metrics.values()) == {UNDEFINED}
    assert attack.preserve == "orthogonal"
    assert summary.controls["noise"].of == "a"
    assert recovery_curve(table.to_frame([])) == ()


def test_what_was_planned_without_a_limit_has_its_place_too() -> None:
    attack = summarize(table.to_frame([]), {}, attacks={"a": Planned()}).attacks["a"]
    assert (attack.limit, attack.budgets) == (None, ())
    assert "recovery_rate" in attack.metrics
    assert set(attack.metrics.values()) == {UNDEFINED}


def test_another_answer_has_a_ratio_under_the_clamp_alone() -> None:
    """Without the clamp the answer is not elicited from the model that recovery is elicited from."""
    rows = [row("0"), row("0", kind="smallest_norm", norm=2.0)]
    for name in ("other", "free"):
        rows.append(row("0", name, kind="control"))
        rows.append(row("0", name, kind="smallest_norm_control", norm=6.0))
    plans = {
        "other": Planned(of="a", method="another_example"),
        "free": Planned(of="a", method="another_example_undefended"),
    }
    controls = summarize(table.to_frame(rows), {}, controls=plans).controls
    assert controls["other"].metrics["budget_ratio"].value == 3.0
    assert "budget_ratio" not in controls["free"].metrics
    assert controls["free"].metrics["smallest_norm"].value == 6.0


def test_parts_are_summarized_each_alone_and_each_taken_away() -> None:
    text: dict[str, Any] = {
        "opening": "Sure",
        "base_like": True,
        "strict_base_like": True,
        "degenerate": False,
    }
    rows = [row(str(i), **text) for i in range(4)]
    planned = {("clamped", "alone"): 1, ("clamped", "without"): 3, ("5", "alone"): 2}
    for (part, how), recovered in planned.items():
        rows += [
            row(
                str(i),
                kind="part",
                part=part,
                how=how,
                recovered=i < recovered,
                norm=float(i),
                **text,
            )
            for i in range(4)
        ]
    rows.append(row("9", kind="part", part="5", how="alone", failed="why"))
    found = summarize(table.to_frame(rows), {}).attributions
    assert list(found) == ["a"]
    assert [(part.part, part.how) for part in found["a"]] == list(planned)
    for part, recovered in zip(found["a"], planned.values(), strict=True):
        assert set(part.metrics) == {"recovery_rate", "base_like_rate", "norm"}
        assert part.metrics["recovery_rate"] == part.metrics["base_like_rate"]
        assert part.metrics["recovery_rate"] == wilson(recovered, 4)
        assert part.metrics["norm"].value == 1.5
    assert summarize(table.to_frame([row("0")]), {}).attributions == {}


def test_a_limit_at_which_all_failed_is_still_there() -> None:
    rows = table.to_frame(
        [
            row("0", limit=5.0),
            example_row(example="0", kind="attack", name="a", limit=9.0, failed="x"),
        ]
    )
    attack = summarize(rows, {}).attacks["a"]
    assert attack.limit == 9.0
    assert attack.metrics["recovery_rate"] == UNDEFINED


def test_no_limit_is_the_largest() -> None:
    rows = table.to_frame([row("0", limit=5.0, recovered=False), row("0", limit=None)])
    attack = summarize(rows, {}).attacks["a"]
    assert attack.limit is None
    assert attack.metrics["recovery_rate"].value == 1
    assert attack.at(5)["recovery_rate"].value == 0


def draws(recovered: set[tuple[int, int]], kind: str = "control", **more: Any) -> list[ExampleRow]:
    """Return three draws of each of four examples; `recovered` are pairs of example and draw."""
    return [
        row(str(i), "noise", kind=kind, draw=draw, recovered=(i, draw) in recovered, **more)
        for i in range(4)
        for draw in range(3)
    ]


def test_a_rate_of_draws_is_the_share_of_all_of_them_not_of_the_best() -> None:
    rows = table.to_frame(draws({(0, 1), (2, 0), (2, 1)}))
    rows["drift"] = rows["draw"].astype(float)
    rows["violation"] = rows["draw"] * 1e-9
    metrics = summarize(rows, {}).controls["noise"].metrics
    rate = metrics["recovery_rate"]
    assert rate == wilson_of_shares([1 / 3, 0, 2 / 3, 0], 12)
    assert (rate.value, rate.n, rate.draws) == (pytest.approx(3 / 12), 4, 12)
    assert (metrics["drift"].value, metrics["drift"].n) == (1.0, 4)
    assert metrics["drift"].draws is None
    assert metrics["violation"].value == pytest.approx(2e-9)
    resampled = summarize(rows, {"recovery_rate": Bootstrap()}).controls["noise"].metrics
    assert resampled["recovery_rate"].value == pytest.approx(3 / 12)
    assert resampled["recovery_rate"].draws == 12


def test_rates_of_texts_are_shares_of_the_draws_too() -> None:
    rows = table.to_frame(
        [
            row(
                str(i), "noise", kind="control", draw=draw, recovered=(i, draw) == (0, 1), opening="No",
                base_like=draw == 1, strict_base_like=False, degenerate=(i, draw) == (2, 2),
            )
            for i in range(4)
            for draw in range(3)
        ]
    )  # fmt: skip
    metrics = summarize(rows, {}).controls["noise"].metrics
    assert metrics["recovery_rate"] == metrics["base_like_rate"]
    assert metrics["recovery_rate"] == wilson_of_shares([1 / 3, 0, 0, 0], 12)
    assert metrics["strict_base_like_rate"].value == 0
    assert metrics["degenerate_rate"] == wilson_of_shares([1 / 3, 0, 0, 0], 12)


def test_an_example_of_which_a_draw_failed_counts_with_none_of_its_draws() -> None:
    rows = table.to_frame(draws({(0, 0), (1, 0)}))
    rows.loc[(rows["example"] == "1") & (rows["draw"] == 2), "failed"] = "why"
    summary = summarize(rows, {})
    rate = summary.controls["noise"].metrics["recovery_rate"]
    assert rate == wilson_of_shares([1 / 3, 0, 0], 9)
    assert summary.failed == 1


def test_draws_without_the_constraint_are_a_rate_of_their_own() -> None:
    kept, free = draws({(0, 0)}), draws({(0, 0), (1, 1)}, kind="unconstrained_control")
    low = draws(set(), kind="unconstrained_control", limit=5.0)
    rows = table.to_frame([*kept, *draws(set(), limit=5.0), *free, *low])
    noise = summarize(rows, {}).controls["noise"]
    assert noise.metrics["recovery_rate"].value == pytest.approx(1 / 12)
    assert noise.metrics["unconstrained_recovery_rate"].value == pytest.approx(2 / 12)
    assert noise.at(5.0)["unconstrained_recovery_rate"] == wilson_of_shares([0] * 4, 12)
    assert list(noise.metrics) == [name for name in METRICS if name in noise.metrics]
    alone = summarize(table.to_frame(kept), {}).controls["noise"]
    assert "unconstrained_recovery_rate" not in alone.metrics


def test_a_curve_of_draws_has_the_rates_of_the_table() -> None:
    rows = table.to_frame(draws({(0, 1), (2, 0), (2, 1)}))
    (curve,) = recovery_curve(rows)
    assert curve.points[0].share == summarize(rows, {}).controls["noise"].metrics["recovery_rate"]


def test_order_of_rows_does_not_matter() -> None:
    rows = planted()
    shuffled = rows.sample(frac=1, random_state=0)
    names = ("recovery_rate", "smallest_norm", "violation", "steps")
    a, b = (summarize(r, {}).attacks["a"].metrics for r in (rows, shuffled))
    assert [a[n].value for n in names] == [b[n].value for n in names]


def test_intervals_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="drift"):
        summarize(planted(), {"drift": Wilson()})
    with pytest.raises(ValueError, match="nonsense"):
        summarize(planted(), {"nonsense": Bootstrap()})


def expectation(subject: str, operator: Any, value: float, **more: Any) -> Expectation:
    plain = {"metric": "recovery_rate", "norm": None, "text": "…"} | more
    return Expectation(subject=subject, operator=operator, value=value, **plain)


@pytest.mark.parametrize(
    ("asked", "value", "by_estimate", "outcome"),
    [
        # 8 of 10: from 49% to 94%.
        (expectation("a", "<=", 0.8), 0.8, "met", "undecided"),
        (expectation("a", "<", 0.8), 0.8, "broken", "undecided"),
        (expectation("a", ">=", 0.8), 0.8, "met", "undecided"),
        (expectation("a", ">", 0.8), 0.8, "broken", "undecided"),
        (expectation("a", "<=", 0.95), 0.8, "met", "met"),
        (expectation("a", "<=", 0.4), 0.8, "broken", "broken"),
        # 2 of 10: from 6% to 51%.
        (expectation("a", "<=", 0.55, norm=5.0), 0.2, "met", "met"),
        (expectation("noise", "<=", 0.05), 0.1, "broken", "undecided"),
        (expectation("a", "<=", 0.3, norm=7.0), None, "undecided", "undecided"),
        (expectation("noise", "<=", 9, metric="smallest_norm"), None, "undecided", "undecided"),
        (expectation("nobody", "<=", 0.3), None, "undecided", "undecided"),
        # Four values are too few for an interval of a mean.
        # One of the five was not reached up to norm 20: (1 + 2 + 3 + 4 + 20) / 5 is the least it can be.
        (expectation("a", "<=", 9, metric="smallest_norm"), 6.0, "undecided", "undecided"),
        (expectation("a", ">=", 5, metric="smallest_norm"), 6.0, "met", "undecided"),
        (expectation("a", ">=", 7, metric="smallest_norm"), 6.0, "undecided", "undecided"),
        (expectation("a", "<=", 5, metric="smallest_norm"), 6.0, "broken", "undecided"),
        (expectation("a", "<=", 9, metric="drift"), 0.4, "met", "undecided"),
        (expectation("a", "<=", 1e-8, metric="violation"), 9e-9, "met", "met"),
    ],
)
def test_expectations_are_judged(
    asked: Expectation, value: float | None, by_estimate: str, outcome: str
) -> None:
    summary = summarize(planted(), {})
    both = (asked, attrs.evolve(asked, by="estimate"))
    judged, estimated = judge(both, summary)
    assert judged.value == (None if value is None else pytest.approx(value))
    assert (judged.outcome, estimated.outcome) == (outcome, by_estimate)
    about = (asked.metric, asked.subject, asked.norm, asked.operator, asked.value)
    assert (judged.metric, judged.subject, judged.norm, judged.operator, judged.bound) == about


@pytest.mark.parametrize(
    ("recovered", "operator", "bound", "outcome"),
    [
        # Of 24 examples, those that are not reached up to norm 20 have a least norm above it.
        (0, ">=", 20.0, "met"), (0, "<=", 19.0, "broken"), (0, "<=", 30.0, "undecided"), (0, ">=", 21.0, "undecided"),
        # 4 near norm 2, 20 beyond 20: a mean over those alone that are found would be 2.
        (4, ">=", 10.0, "met"), (4, "<=", 5.0, "broken"), (4, "<=", 20.0, "undecided"),
        # 23 near norm 2, one beyond 20: whatever that one needs, nothing shows that the mean is small.
        (23, "<=", 10.0, "undecided"), (23, ">=", 10.0, "undecided"), (23, ">=", 1.5, "met"),
        (24, "<=", 10.0, "met"), (24, ">=", 10.0, "broken"), (24, ">=", 1.5, "met"),
    ],
)  # fmt: skip
def test_an_example_without_a_least_norm_counts_as_beyond_what_was_tried(
    recovered: int, operator: str, bound: float, outcome: str
) -> None:
    rows = [
        row(str(i), kind="smallest_norm", norm=1.9 + 0.2 * (i % 2) if i < recovered else 17.0, recovered=i < recovered)
        for i in range(24)
    ]  # fmt: skip
    found = sum(1.9 + 0.2 * (i % 2) for i in range(recovered))
    asked = expectation("a", operator, bound, metric="smallest_norm")
    summary = summarize(table.to_frame(rows), {}, attacks={"a": Planned()})
    (judged,) = judge((asked,), summary)
    assert judged.outcome == outcome
    assert (judged.n, judged.value) == (
        24,
        pytest.approx((found + 20.0 * (24 - recovered)) / 24),
    )
    assert (judged.high is None) == (recovered < 24)
    if outcome == "undecided" and recovered < 24:
        assert (
            judged.reason is not None
            and f"in {24 - recovered} of 24 flips no norm" in judged.reason
        )
    # The figure of tables is over those that are found, and says of how many.
    figure = summary.attacks["a"].metrics["smallest_norm"]
    assert (figure.n, figure.value) == (
        recovered,
        pytest.approx(found / recovered) if recovered else None,
    )


def test_the_confidence_of_the_spec_decides() -> None:
    asked = expectation("a", "<=", 0.9)
    for confidence, outcome in ((0.5, "met"), (0.95, "undecided")):
        summary = summarize(planted(), {"recovery_rate": Wilson(confidence)})
        (judged,) = judge((asked,), summary)
        assert judged.outcome == outcome


def test_the_curve_has_budgets_and_smallest_norms() -> None:
    attack, control = recovery_curve(planted())
    assert [(p.limit, p.share.value, p.share.n) for p in attack.points] == [
        (5.0, 0.2, 10),
        (20.0, 0.8, 10),
    ]
    assert attack.reached == ((1.0, 0.2), (2.0, 0.4), (3.0, 0.6), (4.0, 0.8))
    assert (control.kind, control.name, control.reached) == ("control", "noise", ())


def test_equal_smallest_norms_are_one_step() -> None:
    rows = [row(str(i), kind="smallest_norm", norm=3.0) for i in range(2)]
    rows += [row("0"), row("1")]
    (curve,) = recovery_curve(table.to_frame(rows))
    assert curve.reached == ((3.0, 1.0),)


def test_the_table_survives_parquet(tmp_path: Path) -> None:
    rows = planted()
    table.write(rows, tmp_path / "examples.parquet")
    assert pq.read_schema(tmp_path / "examples.parquet").equals(table.SCHEMA)
    back = table.read(tmp_path / "examples.parquet")
    pd.testing.assert_frame_equal(rows, back)
    assert math.isnan(back["drift"].iloc[19])
    assert summarize(back, {}) == summarize(rows, {})


def test_every_column_is_documented() -> None:
    assert all(field.metadata[b"doc"] for field in table.SCHEMA)


@pytest.mark.parametrize("missing", ["example", "kind", "recovered"])
def test_a_row_without_a_value_that_every_row_has_is_refused(missing: str) -> None:
    with pytest.raises(ValueError, match=f"'{missing}'"):
        table.to_frame([row("0"), row(**{"example": "1", missing: None})])


def test_a_column_that_the_table_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="surprise"):
        Recovery(**{**attrs.asdict(row("0").recovery, recurse=False), "surprise": 1})


def test_the_curve_of_a_control_has_the_norms_of_its_own_search() -> None:
    rows = [row("0", "other", kind="control"), row("0", "other", kind="smallest_norm", norm=1.0)]
    rows.append(row("0", "other", kind="smallest_norm_control", norm=3.0))
    (curve,) = recovery_curve(table.to_frame(rows))
    assert curve.reached == ((3.0, 1.0),)


def test_intervals_are_reported_as_they_were_computed() -> None:
    asked = {"recovery_rate": Wilson(0.9), "drift": Bootstrap(0.8, 300, 7)}
    summary = summarize(
        table.to_frame([]), asked, controls={"noise": Planned(preserve="orthogonal")}
    )
    assert summary.intervals["recovery_rate"] == IntervalUsed("wilson", 0.9)
    assert summary.intervals["drift"] == IntervalUsed("bootstrap", 0.8, 300, 7)
    assert summary.intervals["violation"] == IntervalUsed("none")
    assert summary.controls["noise"].preserve == "orthogonal"
