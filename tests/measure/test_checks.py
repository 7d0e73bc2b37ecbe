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
    assert "4 of them examples that the attack a (0 of 16) does not recover" in flag.sentence


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
    first, second = found(rows)
    assert (first.name, first.subject, first.limit, first.figure) == (
        "recovery_falls",
        "a",
        20.0,
        2,
    )
    assert "recovers 2 of 16 at norm 5 and not at norm 20" in first.sentence
    assert (second.name, second.limit, second.figure) == ("recovery_falls", 40.0, 2)


def test_recovery_that_falls_and_rises_again_is_flagged_wherever_an_example_is_missed() -> None:
    """60 of 300 at norm 5, 2 at 10 and 6 at 20: the claim at norm 20 is no better founded than at 10."""
    rows = [
        row
        for limit, recovered in ((5.0, 60), (10.0, 2), (20.0, 6))
        for row in rows_of("a", recovered, 300, limit=limit, norm=limit)
    ]
    assert [(flag.limit, flag.figure) for flag in found(rows)] == [(10.0, 58), (20.0, 54)]


def test_as_many_others_do_not_make_up_for_an_example_that_is_missed() -> None:
    smaller = rows_of("a", 6, 6, limit=10.0, norm=10.0) + rows_of("a", 0, 6, limit=10.0, norm=10.0, first=6)  # fmt: skip
    larger = rows_of("a", 0, 6) + rows_of("a", 6, 6, first=6)
    (flag,) = found(smaller + larger)
    assert (flag.name, flag.limit, flag.figure) == ("recovery_falls", 20.0, 6)


def test_a_random_direction_that_recovers_what_the_attack_misses_is_flagged() -> None:
    """Fewer in all, but others."""
    attack = rows_of("a", 6, 300)
    noise = rows_of("noise", 0, 6, kind="control") + rows_of("noise", 5, 294, kind="control", first=6)  # fmt: skip
    (flag,) = found(attack + noise)
    assert (flag.name, flag.figure) == ("beaten_by_control", 5)
    assert (
        "recovers 5 of 300 without a search, 5 of them examples that the attack a (6 of 300) does not recover"
        in flag.sentence
    )


@pytest.mark.parametrize(
    ("attack", "least", "flagged"),
    [
        (0, [3.0] * 4, 4),
        (4, [3.0] * 4, None),
        (0, [21.0] * 4, None),
        (2, [3.0] * 4, 2),
        (0, [], None),
    ],
)
def test_a_least_norm_within_the_limit_that_the_attack_misses_is_flagged(
    attack: int, least: list[float], flagged: int | None
) -> None:
    searched = [
        example_row(example=str(i), kind="smallest_norm", name="a", limit=40.0, recovered=True, norm=norm)
        for i, norm in enumerate(least)
    ]  # fmt: skip
    made = found(rows_of("a", attack, 4) + searched)
    assert [(flag.name, flag.limit, flag.figure) for flag in made] == (
        [("smaller_norm_recovers", 20.0, flagged)] if flagged else []
    )


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
