"""Checks by other searches: samples that deserve a flag, and their neighbors that do not."""

from __future__ import annotations

import math
from typing import Any

import pytest

from recoverdsl.measure import table
from recoverdsl.measure.checks import Evidence, flags
from recoverdsl.measure.keys import Budget
from recoverdsl.measure.rows import SpellingShares
from recoverdsl.measure.strength import (
    SEEN,
    BelowClamp,
    Sample,
    StrengthRow,
    SuffixStrengthRow,
    Tried,
)
from recoverdsl.measure.summary import Planned, summarize
from recoverdsl.measure.verdict import Flag

LIMIT = 20.0
AT = Budget("a", LIMIT)


def tried(recovered: bool = False, score: float = 1.0, norm: float = LIMIT) -> Tried:
    return Tried(recovered, score, norm)


def row(**changed: Any) -> StrengthRow:
    """Return a row of an honest attack that failed against a clamp that holds within the limit."""
    honest: dict[str, Any] = {
        "example": "0", "attack": tried(), "start": 0.0, "gradient": 0.5, "longer": tried(),
        "apgd": tried(), "unguided": tried(score=0.4), "unlimited": tried(True, 3.0, 90.0),
        "undo": tried(norm=15.0), "state_norm": 50.0, "unconstrained": tried(), "below_clamp": None,
    }  # fmt: skip
    return StrengthRow(**honest | changed)


def found(*rows: StrengthRow, budget: Budget = AT) -> tuple[Flag, ...]:
    return flags(Evidence(table.to_frame([]), {}, {}, {budget: rows}))


def names(*rows: StrengthRow) -> list[str]:
    return [flag.name for flag in found(*rows)]


def test_an_honest_attack_raises_no_flag() -> None:
    assert found(row(), row()) == ()


def test_where_everything_recovered_there_is_nothing_to_search_again() -> None:
    assert flags(Evidence(table.to_frame([]), {}, {})) == ()


@pytest.mark.parametrize(
    ("changed", "flag", "figure"),
    [
        ({"attack": tried(norm=2.8), "longer": tried(norm=5.6)}, "starved", 0.14),
        ({"attack": tried(norm=17.9), "longer": tried(score=1.1)}, "starved", 0.895),
        ({"longer": tried(True)}, "more_steps_recover", 1),
        ({"apgd": tried(True)}, "beaten_by_apgd", 1),
        ({"unguided": tried(True)}, "beaten_by_random_search", 1),
        ({"unguided": tried(score=1.2)}, "beaten_by_random_search", 1),
        ({"gradient": 0.0}, "masked_gradient", 1),
        ({"gradient": math.nan}, "masked_gradient", 1),
        ({"gradient": math.inf}, "masked_gradient", 1),
        ({"undo": tried(norm=30.0)}, "budget_below_clamp", 1.5),
        ({"below_clamp": BelowClamp(9.0, 6.0)}, "budget_below_clamp", 1.5),
        ({"undo": tried(True, norm=15.0)}, "search_fails_without_constraint", 1),
        ({"unlimited": tried(score=3.0, norm=90.0)}, "unreachable", 1),
    ],
)
def test_a_weak_attack_is_flagged(changed: dict[str, Any], flag: str, figure: float) -> None:
    (one,) = found(row(**changed))
    assert (one.name, one.kind, one.subject, one.limit) == (flag, "flag", "a", LIMIT)
    assert one.figure == pytest.approx(figure)


@pytest.mark.parametrize(
    "changed",
    [
        # Converged inside the limit: twice the steps change nothing.
        {"attack": tried(norm=2.8), "longer": tried(norm=2.8)},
        # At the limit the score may still rise: that is what a limit is for.
        {"attack": tried(norm=18.0), "longer": tried(score=5.0, norm=20.0)},
        {"unguided": tried(score=1.09)},
        {"undo": tried(norm=20.0)},
        {"below_clamp": BelowClamp(6.0, 9.0)},
        {"below_clamp": BelowClamp(9.0, 6.0), "unconstrained": tried(True)},
        {"undo": tried(True, norm=20.0), "unconstrained": tried(True)},
    ],
)
def test_its_neighbor_is_not(changed: dict[str, Any]) -> None:
    assert found(row(**changed)) == ()


def test_undoing_beyond_the_limit_is_no_fault_of_the_search() -> None:
    assert names(row(undo=tried(True, norm=30.0))) == ["budget_below_clamp"]


def test_one_of_many_recovered_is_enough_where_the_attack_fails() -> None:
    assert names(row(apgd=tried(True)), row(), row(), row()) == ["beaten_by_apgd"]


def test_most_of_the_sample_decides_where_one_may_be_an_exception() -> None:
    hungry = row(attack=tried(norm=2.0), longer=tried(norm=4.0))
    assert names(hungry, row()) == []
    assert names(hungry, hungry, row()) == ["starved"]
    far = row(undo=tried(norm=30.0))
    assert names(far, row()) == []
    assert names(far, far, row()) == ["budget_below_clamp"]


def test_one_that_recovers_without_a_limit_shows_that_the_behavior_can_be_reached() -> None:
    far = row(unlimited=tried())
    assert names(far, row()) == []
    assert names(far, far) == ["unreachable"]


def test_without_a_limit_only_the_steps_can_be_too_few() -> None:
    far = row(undo=tried(norm=1e6), attack=tried(norm=2.0), longer=tried(norm=2.0))
    assert found(far, budget=Budget("a", None)) == ()
    hungry = row(attack=tried(norm=2.0), longer=tried(norm=4.0))
    assert [flag.name for flag in found(hungry, budget=Budget("a", None))] == ["starved"]


def test_what_the_attack_recovers_within_a_norm_was_missed_by_the_search_of_the_least() -> None:
    least = Budget("a", LIMIT, least=True)
    back = row(attack=tried(True, norm=12.0), longer=tried(True), unguided=tried(True, 2.0))
    (flag,) = found(back, row(), budget=least)
    assert (flag.name, flag.subject, flag.limit, flag.figure) == (
        "least_norm_missed",
        "a",
        LIMIT,
        1,
    )
    assert "At norm 20 the attack a recovers 1 of the 2 searched again" in flag.sentence
    assert found(row(), row(), budget=least) == ()
    assert [flag.name for flag in found(row(apgd=tried(True)), budget=least)] == ["beaten_by_apgd"]


# --- Suffixes -----------------------------------------------------------------------------------


def suffix_row(**changed: Any) -> SuffixStrengthRow:
    """Return a row of an honest search of a suffix that failed and had stopped rising."""
    honest: dict[str, Any] = {
        "example": "0", "attack": of(-20.0), "start": -40.0, "gradient": 0.5, "longer": of(-19.0),
        "unguided": of(-30.0),
    }  # fmt: skip
    return SuffixStrengthRow(**honest | changed)


def of(score: float, recovered: bool = False) -> Tried:
    return Tried(recovered, score, math.nan)


@pytest.mark.parametrize(
    ("changed", "flag", "figure"),
    [
        ({"longer": of(-16.0)}, "starved", 1.2),
        ({"longer": of(-19.0, True)}, "more_steps_recover", 1),
        ({"unguided": of(-15.0)}, "beaten_by_random_search", 1),
        ({"unguided": of(-30.0, True)}, "beaten_by_random_search", 1),
        ({"gradient": 0.0}, "masked_gradient", 1),
        ({"gradient": math.nan}, "masked_gradient", 1),
    ],
)
def test_a_weak_suffix_is_flagged(changed: dict[str, Any], flag: str, figure: float) -> None:
    (one,) = flags(Evidence(table.to_frame([]), {}, {}, suffixes={Budget("s", None): (suffix_row(**changed),)}))  # fmt: skip
    assert (one.name, one.kind, one.subject, one.limit) == (flag, "flag", "s", None)
    assert one.figure == pytest.approx(figure)
    assert "limit" not in one.sentence and "norm" not in one.sentence


@pytest.mark.parametrize(
    "changed", [{}, {"unguided": None}, {"longer": of(-18.1)}, {"unguided": of(-18.1)}]
)
def test_a_suffix_that_stopped_rising_is_not(changed: dict[str, Any]) -> None:
    rows = (suffix_row(**changed),)
    assert flags(Evidence(table.to_frame([]), {}, {}, suffixes={Budget("s", None): rows})) == ()


def test_the_sentence_says_how_many_were_searched_again() -> None:
    (flag,) = found(row(apgd=tried(True)), row(), row())
    assert "apgd(), recovers 1 of the 3 searched again" in flag.sentence


def test_checks_that_are_turned_off_are_said() -> None:
    evidence = Evidence(table.to_frame([]), {}, {}, unchecked=frozenset({AT}))
    (flag,) = flags(evidence)
    assert (flag.name, flag.kind, flag.subject, flag.limit, flag.figure) == (
        "unchecked",
        "flag",
        "a",
        LIMIT,
        None,
    )


# --- Behaviors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "other", "flagged"),
    [(0.0001, 0.76, True), (0.0099, 0.51, True), (0.011, 0.9, False), (0.0001, 0.5, False)],
)
def test_tokens_that_the_model_spells_otherwise(named: float, other: float, flagged: bool) -> None:
    attacks = summarize(
        table.to_frame([]), {}, attacks={"a": Planned(behavior="b"), "c": Planned(behavior="d")}
    ).attacks
    spelled = {"b": (SpellingShares(named, other),) * 3}
    given = flags(Evidence(table.to_frame([]), attacks, {}, spellings=spelled))
    assert [(f.name, f.subject, f.limit, f.against) for f in given] == (
        [("other_spelling", "a", None, "both")] if flagged else []
    )


@pytest.mark.parametrize(("searched", "failures"), [(8, 73), (1, 5), (5, 5), (8, 9), (3, 40)])
def test_what_a_sample_shows_is_counted(searched: int, failures: int) -> None:
    """Of all samples the share that misses each of k failures: C(n − k, m) / C(n, m)."""

    def misses(k: int) -> float:
        return math.comb(failures - k, searched) / math.comb(failures, searched)

    shown = Sample("a", LIMIT, False, searched, failures).shown
    assert 1 - misses(shown) >= SEEN
    assert shown == 1 or 1 - misses(shown - 1) < SEEN
