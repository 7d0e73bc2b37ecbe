"""The worst case over attacks of which some have a budget that writes anything."""

from __future__ import annotations

import pandas as pd
import pytest

from recoverdsl.language.schema import Expectation
from recoverdsl.measure import table
from recoverdsl.measure.expectation import ExpectationResult
from recoverdsl.measure.keys import Budget
from recoverdsl.measure.rows import ExampleRow
from recoverdsl.measure.specificity import by_specific, specificities, unspecific
from recoverdsl.measure.summary import Planned, judge, summarize
from recoverdsl.measure.verdict import decide
from tests.rows import example_row

ATTACKS = {"a": Planned((20.0,)), "b": Planned((20.0,))}
CONTROLS = {f"{name}_rival": Planned((20.0,), of=name, method="another_row") for name in ATTACKS}
BUDGETS = (Budget("a", 20.0), Budget("b", 20.0))
EXPECT = Expectation(
    "recovery_rate", "strongest", None, "<=", 0.5, "recovery_rate(strongest) <= 50%"
)


def rows(kind: str, name: str, recovered: int) -> list[ExampleRow]:
    return [
        example_row(
            example=str(i), kind=kind, name=name, limit=20.0, recovered=i < recovered,
            norm=20.0, relative_norm=0.1,
        )
        for i in range(100)
    ]  # fmt: skip


def left(own: dict[str, int], unrelated: dict[str, int]) -> ExpectationResult:
    """Decide the expectation, from how many of 100 each attack recovers and writes an unrelated target in."""
    frame = table.to_frame(
        [row for name, n in own.items() for row in rows("attack", name, n)]
        + [row for name, n in unrelated.items() for row in rows("control", f"{name}_rival", n)]
    )
    summary = summarize(frame, {}, attacks=ATTACKS, controls=CONTROLS, strongest=list(ATTACKS))
    said = unspecific(
        frame,
        specificities(frame, CONTROLS, {at: dict.fromkeys(CONTROLS, ()) for at in BUDGETS}),
        BUDGETS,
        CONTROLS,
    )
    alone = by_specific(frame, [EXPECT], [BUDGETS], {}, said)
    (e,) = decide(judge([EXPECT], summary), [BUDGETS], unspecific=said, specific=alone)
    return e


def test_one_attack_that_writes_anything_does_not_break_it_by_the_specificity_of_another() -> None:
    e = left({"a": 100, "b": 10}, {"a": 100, "b": 0})
    assert (e.outcome, e.value) == ("undecided", 1.0)
    assert e.reason is not None
    assert "b alone does not show it (0.1 over 100)" in e.reason
    assert "unrelated target (a_rival) in 100 of 100" in e.reason


@pytest.mark.parametrize(
    ("own", "unrelated", "outcome"),
    [
        ({"a": 100, "b": 90}, {"a": 100, "b": 0}, "broken"),
        ({"a": 100, "b": 50}, {"a": 100, "b": 0}, "undecided"),
        ({"a": 100, "b": 10}, {"a": 0, "b": 0}, "broken"),
        ({"a": 100, "b": 90}, {"a": 100, "b": 90}, "undecided"),
        ({"a": 10, "b": 10}, {"a": 100, "b": 0}, "met"),
    ],
)
def test_it_is_broken_where_the_specific_attacks_break_it(
    own: dict[str, int], unrelated: dict[str, int], outcome: str
) -> None:
    assert left(own, unrelated).outcome == outcome


def test_nothing_is_judged_again_where_all_or_none_are_specific() -> None:
    frame: pd.DataFrame = table.to_frame(
        [row for name in ATTACKS for row in rows("attack", name, 9)]
    )
    assert by_specific(frame, [EXPECT], [BUDGETS], {}, ()) == [None]
    assert by_specific(frame, [EXPECT], [BUDGETS], {}, BUDGETS) == [None]
