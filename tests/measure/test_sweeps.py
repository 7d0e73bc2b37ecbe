"""The table of a planted sweep, cell by cell, and what is said of its points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recoverdsl.measure.expectation import Outcome
from recoverdsl.measure.intervals import Estimate
from recoverdsl.measure.results import (
    AttackResult,
    BudgetResult,
    ControlResult,
    Counts,
    Result,
    SpecIdentity,
)
from recoverdsl.measure.sweeps import (
    PointResult,
    SweepResult,
    axes_of,
    from_json,
    number,
    to_frame,
    to_json,
)
from tests.measure.judgments import judged

SPEC = SpecIdentity("ioi.rec", "00ff")


def estimate(value: float) -> Estimate:
    return Estimate(value, value - 0.25, value + 0.5, 8)


def result(outcome: Outcome, *, flips: int = 5, base: float = 0.0) -> Result:
    """An attack at two limits and a control without a limit; no figure is like another."""
    small, large = (
        {"recovery_rate": estimate(base + at), "norm": estimate(base + at + 10)} for at in (1, 2)
    )
    whole = {**large, "smallest_norm": estimate(base + 20)}
    control = {"recovery_rate": estimate(base + 30)}
    return Result(
        SPEC, Counts(9, 7, flips, 0),
        attacks={"go": AttackResult(whole, 8.0, (BudgetResult(2.0, small), BudgetResult(8.0, large)))},
        controls={"noise": ControlResult(control, None, (BudgetResult(None, dict(control)),), of="go")},
        expectations=(judged(outcome, subject="go"),), inputs=(),
    )  # fmt: skip


def swept(
    *values: dict[str, str], outcomes: tuple[Outcome, ...] = ("met", "broken")
) -> SweepResult:
    points = [
        PointResult("s", given, f"s/{at}", result(outcome, flips=5 + at, base=100.0 * at))
        for at, (given, outcome) in enumerate(zip(values, outcomes, strict=True))
    ]
    return SweepResult(SPEC, tuple(points))


def test_the_table_has_every_figure_of_every_point_in_its_own_row() -> None:
    frame = to_frame(swept({"clamp.to": "-5.0"}, {"clamp.to": "2"}))
    expected = []
    for at, (to, verdict) in enumerate([(-5.0, "holds"), (2.0, "does_not_hold")]):
        for kind, name, limit, metric, value in (
            ("attack", "go", 2.0, "recovery_rate", 1),
            ("attack", "go", 2.0, "norm", 11),
            ("attack", "go", 8.0, "recovery_rate", 2),
            ("attack", "go", 8.0, "norm", 12),
            # At the largest limit the smallest norm is shown too.
            ("attack", "go", 8.0, "smallest_norm", 20),
            ("control", "noise", None, "recovery_rate", 30),
        ):
            whole = value + 100.0 * at
            expected.append(
                {
                    "sweep": "s", "point": at + 1, "clamp.to": int(to), "kind": kind, "name": name,
                    "limit": limit, "metric": metric, "value": whole, "low": whole - 0.25,
                    "high": whole + 0.5, "n": 8, "valid_flips": 5 + at, "verdict": verdict,
                }
            )  # fmt: skip
    pd.testing.assert_frame_equal(frame, pd.DataFrame(expected))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (("1", "-3.0"), [1, -3]),
        (("50%", "1"), [0.5, 1.0]),
        (("norm <= 2", "norm <= 20"), [2, 20]),
        (("2", "none"), ["2", "none"]),
        (("last_token", "first"), ["last_token", "first"]),
    ],
)
def test_values_are_numbers_where_all_of_an_axis_are(written: Any, read: list[Any]) -> None:
    values = to_frame(swept({"x": written[0]}, {"x": written[1]}))["x"].unique().tolist()
    assert values == read
    assert [type(value) for value in values] == [type(value) for value in read]


def test_a_param_that_has_the_name_of_a_column_is_told_apart() -> None:
    frame = to_frame(swept({"n": "3", "k": "0"}, {"n": "4", "k": "0"}))
    assert frame["param.n"].unique().tolist() == [3, 4]
    assert frame["n"].unique().tolist() == [8]


def test_points_fail_whose_expectation_is_broken_or_undecided() -> None:
    outcomes: tuple[Outcome, ...] = ("met", "broken", "undecided", "met")
    made = swept(*({"x": str(at)} for at in range(4)), outcomes=outcomes)
    assert [point.values["x"] for point in made.failing] == ["1", "2"]
    assert {name: len(points) for name, points in made.sweeps.items()} == {"s": 4}


def test_a_written_sweep_reads_back_as_itself() -> None:
    made = swept({"a": "1"}, {"a": "2"})
    assert from_json(to_json(made)) == made


def test_a_former_sweep_is_read_with_the_outcomes_that_it_had() -> None:
    text = Path(__file__).with_name("former").joinpath("sweep.json").read_text("utf-8")
    made = from_json(text)
    assert json.loads(text)["schema"] == "recoverdsl/sweep/1"
    assert [p.result.verdict for p in made.points] == ["does_not_hold", "inconclusive"]
    assert {p.result.schema for p in made.points} == {"recoverdsl/result/2"}
    assert from_json(to_json(made)) == made


def test_a_sign_may_stand_apart_from_its_number() -> None:
    assert [number(text) for text in ("- 5", "50%", "norm <= 2e1")] == [-5, 0.5, 20]


def test_axes_along_which_nothing_changes_come_last() -> None:
    made = swept({"a": "1", "b": "1", "c": "5"}, {"a": "1", "b": "2", "c": "6"})
    assert axes_of(made.points) == ("b", "c", "a")
    assert axes_of(made.points[:1]) == ("a", "b", "c")
    assert axes_of(()) == ()
    assert to_frame(SweepResult(SPEC, ())).empty
    bare = Result(SPEC, Counts(9, 0, 0, 0), attacks={}, controls={}, expectations=(), inputs=())
    assert to_frame(SweepResult(SPEC, (PointResult("s", {"a": "1"}, "s/0", bare),))).empty


@pytest.mark.parametrize("text", ["", "norm <=", "5 %%", "norm >= 3", "[1, 2]", "1e", "3 4"])
def test_what_is_no_number_has_none(text: str) -> None:
    assert number(text) is None
