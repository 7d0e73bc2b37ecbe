"""Checks of the attacks: tables that deserve a flag, and their neighbors that do not."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from recoverdsl.measure import table
from recoverdsl.measure.cautions import CAUTIONS
from recoverdsl.measure.checks import CHECKS, Evidence, flags
from recoverdsl.measure.flag_pages import names, page
from recoverdsl.measure.rows import ExampleRow
from recoverdsl.measure.summary import Planned, summarize
from recoverdsl.measure.verdict import Flag
from tests.rows import example_row


def rows_of(
    name: str, recovered: int, n: int = 16, *, kind: str = "attack", limit: float | None = 20.0,
    norm: float | None = 20.0, first: int = 0,
) -> list[ExampleRow]:  # fmt: skip
    """Return `n` examples from the number `first` on, of which the first so many recovered."""
    found: dict[str, Any] = {} if norm is None else {"norm": norm, "relative_norm": 0.1, "violation": 0.0}  # fmt: skip
    return [
        example_row(example=str(i), kind=kind, name=name, limit=limit, recovered=i - first < recovered, **found)
        for i in range(first, first + n)
    ]  # fmt: skip


def found(rows: list[ExampleRow], method: str = "random_direction") -> tuple[Flag, ...]:
    frame: pd.DataFrame = table.to_frame(rows)
    summary = summarize(
        frame, {}, attacks={"a": Planned()}, controls={"noise": Planned(of="a", method=method)}
    )
    return flags(Evidence(frame, summary.attacks, summary.controls))


def control(recovered: int, **more: Any) -> list[ExampleRow]:
    return rows_of("noise", recovered, kind="control", **more)


def test_an_attack_that_random_directions_beat_is_flagged() -> None:
    (flag,) = found(rows_of("a", 0) + control(4))
    assert (flag.name, flag.kind, flag.subject, flag.limit) == ("beaten_by_control", "flag", "a", 20.0)  # fmt: skip
    assert flag.figure == 4
    assert "At norm 20 some draw of the control noise recovers 4 of 16" in flag.sentence
    assert "the attack a 0" in flag.sentence


@pytest.mark.parametrize(
    ("attack", "noise", "flagged"),
    [(4, 4, True), (15, 15, True), (5, 4, False), (0, 0, False), (16, 16, False)],
)
def test_a_control_must_match_the_attack_and_recover_something(
    attack: int, noise: int, flagged: bool
) -> None:
    assert bool(found(rows_of("a", attack) + control(noise))) == flagged


@pytest.mark.parametrize(
    "method", ["another_example", "another_example_undefended", "another_row", "another_behavior"]
)
def test_a_control_with_another_target_is_no_rival(method: str) -> None:
    assert found(rows_of("a", 0) + control(4), method) == ()


def test_a_control_is_compared_at_the_same_limit() -> None:
    other = [*rows_of("a", 0, limit=5.0, norm=5.0), *rows_of("a", 5), *control(4)]
    assert found(other) == ()


def test_a_control_is_compared_over_the_examples_of_both() -> None:
    failed = [example_row(example=str(i), kind="attack", name="a", limit=20.0, failed="why") for i in range(4)]  # fmt: skip
    assert found([*failed, *rows_of("a", 0, 12, first=4), *control(4)]) == ()


def test_recovery_that_falls_with_the_budget_is_flagged_at_the_larger_one() -> None:
    rows = rows_of("a", 6, limit=5.0, norm=5.0) + rows_of("a", 4) + rows_of("a", 4, limit=40.0, norm=40.0)  # fmt: skip
    (flag,) = found(rows)
    assert (flag.name, flag.subject, flag.limit, flag.figure) == ("recovery_falls", "a", 20.0, 2)
    assert "6 of 16 at norm 5 and 4 at norm 20" in flag.sentence


@pytest.mark.parametrize("recovered", [4, 6, 16])
def test_recovery_that_grows_or_stays_is_not_flagged(recovered: int) -> None:
    assert found(rows_of("a", 4, limit=5.0, norm=5.0) + rows_of("a", recovered)) == ()


def test_nothing_is_found_of_nothing() -> None:
    assert found([]) == ()


def test_every_check_has_a_page_and_every_page_a_check() -> None:
    assert sorted([*CHECKS, *CAUTIONS]) == list(names())
    for name in CHECKS:
        text = page(name)
        assert text.title
        assert "## Why\n" in text.body and "## Effect\n" in text.body and "## Next\n" in text.body
