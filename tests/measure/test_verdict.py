"""The verdict: what outcomes add up to, and which conclusions flags and unspecific budgets take back."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from recoverdsl.measure.expectation import ExpectationResult, Outcome
from recoverdsl.measure.keys import Budget
from recoverdsl.measure.verdict import Flag, decide, verdict_of
from tests.measure.judgments import judged

LARGEST = {"projected": 20.0, "free": None}


def decided(expectations: list[ExpectationResult], **given: Any) -> tuple[ExpectationResult, ...]:
    """Decide expectations that rest on the attack that they name, at their norm, and those of `strongest` on
    two."""
    return decide(expectations, list(map(rests_on, expectations)), **given)


def rests_on(e: ExpectationResult) -> tuple[Budget, ...]:
    if e.subject == "strongest":
        return Budget("a", 20.0), Budget("b", 20.0)
    if e.metric == "smallest_norm":
        return (Budget(e.subject, e.bound, least=True),)
    limit = LARGEST.get(e.subject) if e.norm is None else e.norm
    return (Budget(e.subject, limit),) if e.subject in LARGEST else ()


def flag(subject: str | None = "projected", limit: float | None = None, kind: Any = "flag") -> Flag:
    return Flag("weak", kind, subject, 1.0, "It is weak.", limit)


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ([], "not_judged"),
        (["met", "met"], "holds"),
        (["met", "undecided"], "inconclusive"),
        (["met", "undecided", "broken"], "does_not_hold"),
    ],
)
def test_the_verdict_of_outcomes(outcomes: list[Outcome], verdict: str) -> None:
    assert verdict_of(outcomes) == verdict
    assert verdict_of(reversed(outcomes)) == verdict


LITTLE: list[dict[str, Any]] = [
    {"outcome": "met"},
    {"outcome": "broken", "operator": ">="},
    {"outcome": "met", "by": "estimate"},
    {"outcome": "met", "metric": "zero_reactivation_recovery", "operator": "<"},
    {"outcome": "met", "metric": "smallest_norm", "operator": ">=", "bound": 5.0},
    {"outcome": "broken", "metric": "smallest_norm", "operator": "<=", "bound": 5.0},
]
MUCH: list[dict[str, Any]] = [
    {"outcome": "broken"},
    {"outcome": "met", "operator": ">="},
    {"outcome": "broken", "metric": "smallest_norm", "operator": ">=", "bound": 5.0},
    {"outcome": "met", "metric": "smallest_norm", "operator": "<=", "bound": 5.0},
]
NEITHER: list[dict[str, Any]] = [
    {"outcome": "met", "metric": "drift"},
    {"outcome": "broken", "metric": "drift"},
    {"outcome": "met", "subject": "noise"},
    {"outcome": "met", "operator": ">=", "bound": 0.0},
    {"outcome": "met", "operator": "<=", "bound": 1.0},
    {"outcome": "met", "metric": "smallest_norm", "operator": ">=", "bound": 0.0},
    {"outcome": "undecided"},
]


def test_the_worst_case_over_attacks_is_as_strong_as_the_strongest_of_them() -> None:
    claim = judged(outcome="met", subject="strongest")
    for flagged, outcome in ((["a"], "met"), (["a", "b"], "undecided"), ([], "met")):
        flags = [flag(name) for name in flagged]
        (left,) = decided([claim], flags=flags)
        assert left.outcome == outcome


def test_that_it_recovers_much_stands_only_if_the_specific_attacks_show_it_alone() -> None:
    claim = judged(outcome="broken", subject="strongest")
    for names, alone, outcome in (
        ([], None, "broken"),
        (["a"], "broken", "broken"),
        (["a"], "met", "undecided"),
        (["a"], "undecided", "undecided"),
        (["a", "b"], None, "undecided"),
    ):
        unspecific = {Budget(name, 20.0): f"{name} writes anything" for name in names}
        specific = [alone and judged(outcome=alone, subject="strongest")]
        (left,) = decided([claim], unspecific=unspecific, specific=specific)
        assert left.outcome == outcome
        if outcome == "undecided":
            assert left.reason is not None and "a writes anything" in left.reason


def test_a_flag_against_both_takes_back_that_much_is_recovered_too() -> None:
    void = evolve(flag(), against="both")
    for of in (*LITTLE, *MUCH):
        (left,) = decided([judged(**of)], flags=[void])
        assert left.outcome == "undecided"
        assert left.reason is not None and "weak" in left.reason
    (left,) = decided([judged(outcome="broken")], flags=[flag()])
    assert left.outcome == "broken"


@pytest.mark.parametrize("of", LITTLE)
def test_a_flag_takes_back_that_little_is_recovered(of: dict[str, Any]) -> None:
    (left,) = decided([judged(**of)], flags=[flag()])
    assert left.outcome == "undecided"
    assert left.reason is not None and "weak" in left.reason and "projected" in left.reason


@pytest.mark.parametrize("of", MUCH + NEITHER)
def test_a_flag_leaves_every_other_conclusion(of: dict[str, Any]) -> None:
    e = judged(**of)
    assert decided([e], flags=[flag(), flag(None)]) == (e,)


@pytest.mark.parametrize("of", LITTLE)
@pytest.mark.parametrize(
    "other", [flag("free"), flag(kind="caution"), flag(limit=7.0), flag(None, kind="caution")]
)
def test_a_flag_elsewhere_and_a_caution_take_nothing_back(of: dict[str, Any], other: Flag) -> None:
    e = judged(**of)
    assert decided([e], flags=[other]) == (e,)


@pytest.mark.parametrize(("norm", "limit"), [(None, 20.0), (5.0, 5.0), (5.0, None), (None, None)])
def test_a_flag_is_up_at_its_limit(norm: float | None, limit: float | None) -> None:
    (left,) = decided([judged("met", norm=norm)], flags=[flag(limit=limit)])
    assert left.outcome == "undecided"


def test_a_flag_on_the_whole_run_is_up_for_every_attack() -> None:
    every = [judged("met"), judged("met", subject="free")]
    left = decided(every, flags=[flag(None)])
    assert [e.outcome for e in left] == ["undecided", "undecided"]


@pytest.mark.parametrize("of", MUCH)
def test_an_unspecific_budget_takes_back_that_much_is_recovered(of: dict[str, Any]) -> None:
    said = "at this norm δ puts 10 of 14 unrelated names on top too"
    (left,) = decided([judged(**of)], unspecific=dict.fromkeys(rests_on(judged(**of)), said))
    assert (left.outcome, left.reason) == ("undecided", said)


@pytest.mark.parametrize("of", LITTLE + NEITHER)
def test_an_unspecific_budget_leaves_every_other_conclusion(of: dict[str, Any]) -> None:
    e = judged(**of)
    unspecific = {Budget("projected", 20.0): "…", Budget("noise", None): "…"}
    assert decided([e], unspecific=unspecific) == (e,)


@pytest.mark.parametrize(("outcome", "left"), [("met", "undecided"), ("broken", "broken")])
def test_a_specificity_that_was_found_too_large_is_not_shown_to_be_large(
    outcome: Any, left: str
) -> None:
    claim = judged(outcome, metric="specificity", operator=">=", bound=1.5)
    (e,) = decided([claim], overestimated={"projected": "it is nearer"})
    assert (e.outcome, e.reason) == (left, "it is nearer" if left == "undecided" else claim.reason)
    assert decided([claim], overestimated={"another": "…"}) == (claim,)


def test_only_the_budget_of_the_expectation_counts() -> None:
    at = [judged("broken", norm=5.0), judged("broken")]
    left = decided(at, unspecific={Budget("projected", 5.0): "…"})
    assert [e.outcome for e in left] == ["undecided", "broken"]
