"""The verdict on the worst case over several attacks: on whose strength it rests."""

from __future__ import annotations

from typing import Any

import pytest

from recoverdsl.measure.expectation import ExpectationResult
from recoverdsl.measure.keys import Budget
from recoverdsl.measure.verdict import Flag, decide
from tests.measure.judgments import judged

ONE, BOTH = (Budget("one", 5.0),), (Budget("one", 20.0), Budget("other", 20.0))
"""The attacks at norm 5, and at norm 20."""


def flag(
    subject: str, limit: float | None = None, name: str = "weak", kind: Any = "flag", missed: bool = False,
) -> Flag:  # fmt: skip
    return Flag(name, kind, subject, 1.0, "It is weak.", limit, missed=missed)


def decided(flags: list[Flag], norm: float | None = None, **more: Any) -> ExpectationResult:
    e = judged(**{"outcome": "met", "subject": "strongest", "norm": norm, **more})
    (left,) = decide([e], [BOTH if norm is None else ONE], flags=flags)
    return left


def test_it_is_taken_back_if_every_attack_is_weak() -> None:
    left = decided([flag("one", 20.0, "starved"), flag("other")])
    assert left.outcome == "undecided"
    assert left.reason == (
        "the attacks one, other may be too weak to say that little is recovered: starved, weak"
    )


@pytest.mark.parametrize(
    "flags",
    [
        [],
        [flag("one")],
        [flag("other", 20.0)],
        [flag("one", 5.0), flag("other")],
        [flag("one", kind="caution"), flag("other")],
        [flag("third"), flag("other")],
    ],
)
def test_one_attack_that_is_strong_enough_is_enough(flags: list[Flag]) -> None:
    assert decided(flags).outcome == "met"


def test_a_recovery_that_one_attack_missed_takes_it_back_however_strong_the_others_are() -> None:
    left = decided([flag("one", 20.0, "more_steps_recover", missed=True)])
    assert left.outcome == "undecided"
    assert left.reason == "a recovery was found that the attack one missed: more_steps_recover"


@pytest.mark.parametrize(
    "flags", [[flag("third", missed=True)], [flag("one", 5.0, missed=True)], [flag("one", kind="caution", missed=True)]]
)  # fmt: skip
def test_one_that_was_missed_elsewhere_does_not(flags: list[Flag]) -> None:
    assert decided(flags).outcome == "met"


def test_at_a_norm_only_the_attacks_that_have_it_count() -> None:
    left = decided([flag("one")], 5.0)
    assert left.reason == "the attack one may be too weak to say that little is recovered: weak"
    assert decided([flag("other")], 5.0).outcome == "met"


def test_that_much_is_recovered_stands() -> None:
    assert decided([flag("one"), flag("other")], outcome="broken").outcome == "broken"
