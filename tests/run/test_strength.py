"""Attacks on one small clamp that deserve each flag, and neighbors that do not, from spec to verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import recoverdsl
from recoverdsl.measure.results import Result
from tests.run import claims

ATTACK = """\
attack tried {{
  perturb  = mid at last_token
  maximize = names_the_recipient
  steps    = {steps}
  with     = {optimizer}
  limit    = norm <= {limit}
  checks   = {checks}
}}

expect recovery_rate(tried) <= 5% by estimate
"""
"""The clamp moves the last token by about 19, and a norm of 5 recovers about half of the flips."""

Judged = Callable[..., Result]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    folder = tmp_path_factory.mktemp("strength")
    claims.write(folder)
    before = claims.SPEC[: claims.SPEC.index("attack unconstrained")]

    def run(steps: int = 100, optimizer: str = "adam(lr = 0.1)", limit: float = 60, checks: int = 8) -> Result:  # fmt: skip
        text = before + ATTACK.format(steps=steps, optimizer=optimizer, limit=limit, checks=checks)
        spec = folder / "tried.rec"
        spec.write_text(text)
        return recoverdsl.load(spec).run(None, store=folder / "store").result

    return run


def flags(result: Result) -> set[str]:
    return {flag.name for flag in result.flags}


def test_five_steps_of_a_tenth_are_starved(judged: Judged) -> None:
    result = judged(steps=5)
    assert {"starved", "more_steps_recover", "beaten_by_apgd"} <= flags(result)
    assert "starved" not in flags(judged(steps=100))
    assert result.verdict != "holds"


def test_a_step_that_is_far_too_long_is_beaten_by_one_that_fits(judged: Judged) -> None:
    result = judged(optimizer="adam(lr = 1e30)", limit=10)
    assert {"beaten_by_apgd", "beaten_by_random_search"} <= flags(result)
    assert result.verdict == "inconclusive"


def test_a_step_that_is_far_too_short_tries_nothing(judged: Judged) -> None:
    result = judged(optimizer="adam(lr = 1e-9)", limit=10)
    assert {"starved", "beaten_by_apgd", "beaten_by_random_search"} <= flags(result)
    assert result.verdict == "inconclusive"


def test_a_budget_below_the_clamp_says_nothing_of_it(judged: Judged) -> None:
    small, large = judged(limit=0.05), judged(limit=60)
    assert flags(small) == {"budget_below_clamp"}
    assert flags(large) == set()
    assert small.verdict == "inconclusive"
    (expectation,) = small.expectations
    assert expectation.value == 0
    assert "budget_below_clamp" in (expectation.reason or "")
    # There is nothing to say of the attack, and much of the budget: at norm 60 δ writes any name.
    assert large.verdict == "inconclusive"
    (expectation,) = large.expectations
    assert expectation.value == 1
    assert "also reaches an unrelated target" in (expectation.reason or "")


def test_without_checks_nothing_is_said_to_hold(judged: Judged) -> None:
    result = judged(limit=0.05, checks=0)
    assert flags(result) == {"unchecked"}
    assert result.verdict == "inconclusive"


def test_an_attack_that_no_expectation_leans_on_is_not_searched_again(tmp_path: Path) -> None:
    spec = claims.write(tmp_path)
    spec.write_text(spec.read_text().replace(">= 0%", ">= 1%"))
    graph = recoverdsl.load(spec).graph()
    keys = [node.key for node in graph if node.kind == "TryHarder"]
    assert keys == ["try harder, projected at norm 8"]


def test_the_worst_case_over_attacks_is_searched_again_and_no_stronger_than_they_are(
    tmp_path: Path,
) -> None:
    spec = claims.write(tmp_path)
    before = claims.SPEC[: claims.SPEC.index("attack unconstrained")]
    plain = ATTACK[: ATTACK.index("\nexpect")]
    weak = plain.format(steps=2, optimizer="adam(lr = 1e-9)", limit=10, checks=2)
    spec.write_text(
        before
        + weak
        + "\nattack fewer like tried { limit = norm <= [5, 10]; steps = 1 }\n"
        + "\nexpect recovery_rate(strongest) <= 5% by estimate\n"
        + "expect recovery_rate(strongest, norm = 5) <= 5% by estimate\n"
    )
    run = recoverdsl.load(spec).run(None, store=tmp_path / "store")
    keys = [key for key in run.states if key.startswith("try harder")]
    assert keys == [
        "try harder, tried at norm 10", "try harder, fewer at norm 10", "try harder, fewer at norm 5",
    ]  # fmt: skip
    assert run.result.attacks["strongest"].metrics["recovery_rate"].value == 0
    assert run.result.verdict == "inconclusive"
    said = [e.reason or "" for e in run.result.expectations]
    weak_at_10, weak_at_5 = ("the attacks tried, fewer may be too weak", "the attack fewer may be too weak")  # fmt: skip
    assert said[0].startswith(weak_at_10)
    assert said[1].startswith(weak_at_5)
    assert all("beaten_by_apgd" in reason for reason in said)
