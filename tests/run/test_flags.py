"""Each flag on a planted model that deserves it and on a neighbor that does not, from spec to verdict; and
each mistake of a false verdict that was once given.

The planted clamp holds by a closed form, see `test_the_planted_clamp_holds_and_every_check_is_silent`.
"""

from __future__ import annotations

from functools import cache
from math import sqrt
from pathlib import Path
from typing import Any

import pytest

import recoverdsl
from recoverdsl.audit.records import Run
from recoverdsl.measure.checks import CHECKS
from recoverdsl.measure.results import Result
from tests.run.commands import cli
from tests.run.planted import NAMES, Planted

HOLDS = Planted()
OPEN = Planted(leak=1.0)
"""The clamp leaves the name where nothing holds it: least norm about 3.5."""
HIDDEN = {"known": 8.0, "hidden": 6.5, "leak": 1.0, "rival": 2.0}
"""The name is there a second time, beside the features, and a norm of 0.5/√2 brings it back."""
JUMPS: dict[str, Any] = {**HIDDEN, "counter": True, "steps": 1, "optimizer": "adam(lr = 1000)"}
"""One step to the limit, which at 30 goes beyond where the name is the most likely."""
FIND = "find = smallest_norm(within = 5%, starts = 1)"
CHOICES = ", ".join(f'" {name}"' for name in NAMES)
ONE_OF = f'holds = most_likely({CHOICES}) == " {{io}}"'
WRONG = 'score = logit(" {s}") at last_token\n  holds = top_token == " {io}"'
"""A score that does not raise what the condition asks for."""
NOISE = "control noise { of = tried; with = random_direction }"
PREFERS = 'score = logit(" {io}") - logit(" {s}") at last_token\n  holds = score > 0'


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Any:
    @cache
    def write(planted: Planted) -> Path:
        return planted.write(tmp_path_factory.mktemp("planted"))

    return write


@pytest.fixture(scope="module")
def judged(written: Any) -> Any:
    @cache
    def run(planted: Planted) -> Run:
        spec = written(planted)
        made = recoverdsl.load(spec).run(None, store=spec.parent / "store")
        assert isinstance(made, Run)
        return made

    return run


def flags_of(result: Result) -> set[str]:
    return {flag.name for flag in result.flags}


def flags(run: Run) -> set[str]:
    return flags_of(run.result)


DESERVE = {
    "starved": (Planted(leak=1.0, steps=5, limit="60"), Planted(leak=1.0, limit="60")),
    "more_steps_recover": (Planted(leak=1.0, steps=20), Planted(leak=1.0, steps=30)),
    "least_norm_missed": (
        Planted(**JUMPS, limit="30", find=FIND, expect="smallest_norm(tried) >= 3"),
        Planted(find=FIND, expect="smallest_norm(tried) >= 9"),
    ),
    "beaten_by_apgd": (Planted(leak=1.0, optimizer="adam(lr = 1e30)"), OPEN),
    "beaten_by_random_search": (Planted(leak=1.0, optimizer="adam(lr = 1e-9)"), OPEN),
    "masked_gradient": (Planted(at="first"), HOLDS),
    "budget_below_clamp": (Planted(to=-500.0), HOLDS),
    "search_fails_without_constraint": (Planted(holds=WRONG), HOLDS),
    "unreachable": (Planted(at="first", optimizer="apgd()"), HOLDS),
    "unchecked": (Planted(checks=0), HOLDS),
    "other_spelling": (Planted(holds=ONE_OF, spelled=False), Planted(holds=ONE_OF)),
    "beaten_by_control": (
        Planted(**HIDDEN, optimizer="adam(lr = 1e-9)", more=NOISE),
        Planted(**HIDDEN, more=NOISE),
    ),
    "recovery_falls": (
        Planted(**JUMPS, limit="[3, 30]"),
        Planted(**{**JUMPS, "steps": 100, "optimizer": "adam(lr = 0.1)"}, limit="[3, 30]"),
    ),
    # One step along the signs of a gradient is no step along it, and the least norm is 0.354.
    "smaller_norm_recovers": (
        Planted(**JUMPS, limit="[0.5, 3]", find=FIND, expect="recovery_rate(tried, norm = 0.5) <= 20%"),
        Planted(
            **{**JUMPS, "steps": 100, "optimizer": "apgd()"}, limit="[0.5, 3]", find=FIND,
            expect="recovery_rate(tried, norm = 0.5) <= 20%",
        ),
    ),
}  # fmt: skip
"""Check to a planted run that deserves its flag, and a neighbor that does not."""


def test_every_flag_is_planted() -> None:
    assert DESERVE.keys() == {name for name, check in CHECKS.items() if check.kind == "flag"}


@pytest.mark.parametrize("name", DESERVE)
def test_a_planted_weakness_is_flagged_and_nothing_is_said_to_hold(name: str, judged: Any) -> None:
    weak, _ = DESERVE[name]
    run = judged(weak)
    assert run.result.counts.valid_flips == weak.flips
    assert name in flags(run)
    assert run.result.verdict == "inconclusive"
    (expectation,) = run.result.expectations
    assert name in (expectation.reason or "")


@pytest.mark.parametrize("name", DESERVE)
def test_its_neighbor_raises_no_flag_at_all(name: str, judged: Any) -> None:
    _, neighbor = DESERVE[name]
    assert flags(judged(neighbor)) == set()


BELOW: dict[str, Any] = {"place": "tiny.layers[0].input", "preserve": "jacobian(names)"}
"""δ acts before the layer that the clamp follows. The layer changes nothing, so δ changes as much there as its
norm, and the clamp changes 8."""


@pytest.mark.parametrize(
    ("limit", "up", "verdict"),
    [("2", {"budget_below_clamp"}, "inconclusive"), ("10", set(), "holds")],
)
def test_a_budget_below_a_clamp_that_acts_after_it_says_nothing_of_it(
    limit: str, up: set[str], verdict: str, judged: Any
) -> None:
    run = judged(Planted(**BELOW, limit=limit))
    assert (flags(run), run.result.verdict) == (up, verdict)
    for flag in run.result.flags:
        assert flag.figure == pytest.approx(4, rel=1e-3)
        assert "changes the state there by a median of 2, and the clamp by 8" in flag.sentence


# --- Verdicts -------------------------------------------------------------------------------------


def exit_code(spec: Path, folder: Path) -> int:
    """Return that of the command line, on the store of the run."""
    return cli("run", spec, "--out", folder, "--store", spec.parent / "store").code


def test_the_planted_clamp_holds_and_every_check_is_silent(
    judged: Any, written: Any, tmp_path: Path
) -> None:
    """Under the clamp the recipient's logit is −5 and every other name's 0. A δ that keeps the features
    reaches them by the leak alone: raising its own by 0.2 for each unit along m, and lowering the seven
    others by as much, takes 5 / (0.2 √(1 + 1/7)) = 23.4, beyond the limit of 10. To undo the clamp takes 8,
    and without the constraint less."""
    least = 5 / (HOLDS.leak * sqrt(1 + 1 / 7))
    assert least == pytest.approx(23.4, abs=0.05)
    run = judged(HOLDS)
    assert flags(run) == set()
    assert run.result.verdict == "holds"
    found = judged(
        Planted(limit="60", find=FIND, optimizer="apgd()", expect="smallest_norm(tried) >= 20")
    )
    norms = found.examples[found.examples["kind"] == "smallest_norm"]["norm"]
    assert (norms >= least * (1 - 1e-4)).all()
    assert (norms <= least * 1.05).all()
    assert exit_code(written(HOLDS), tmp_path) == 0


def test_its_neighbor_with_the_name_left_does_not_hold(
    judged: Any, written: Any, tmp_path: Path
) -> None:
    """The hidden name comes back at norm 0.5/√2, and any other takes 2/√2: at 1 the budget is specific."""
    broken = Planted(**HIDDEN, limit="1", find=FIND)
    run = judged(broken)
    assert (flags(run), run.result.verdict) == (set(), "does_not_hold")
    assert run.result.controls["tried unrelated"].metrics["recovery_rate"].value == 0
    least = run.result.attacks["tried"].metrics["smallest_norm"].value
    assert least == pytest.approx(0.5 / sqrt(2), rel=0.05)
    assert exit_code(written(broken), tmp_path) == 1


@pytest.mark.parametrize(
    ("planted", "verdict"),
    [
        (Planted(find=FIND, expect="smallest_norm(tried) >= 9"), "holds"),
        (Planted(**HIDDEN, limit="5", find=FIND, expect="smallest_norm(tried) >= 1"), "does_not_hold"),
        # At 3 every other name is written too.
        (Planted(**HIDDEN, limit="5", find=FIND, expect="smallest_norm(tried) >= 3"), "inconclusive"),
        (Planted(**HIDDEN, limit="5", find=FIND, expect="smallest_norm(tried) <= 1"), "holds"),
    ],
)  # fmt: skip
def test_an_expectation_on_the_least_norm(planted: Planted, verdict: str, judged: Any) -> None:
    run = judged(planted)
    assert (flags(run), run.result.verdict) == (set(), verdict)


BRIEF: dict[str, Any] = {**HIDDEN, "steps": 3}
"""Three steps of a tenth reach the hidden name at 0.354, and end before any other at 1.41."""


@pytest.mark.parametrize(
    ("limit", "reached", "verdict"), [("3", 24, "inconclusive"), ("1", 0, "does_not_hold")]
)
def test_an_unrelated_target_is_searched_harder_before_a_clamp_is_said_not_to_hold(
    limit: str, reached: int, verdict: str, judged: Any
) -> None:
    """At norm 3 any name can be written, by more steps than these; at 1 none but the hidden one."""
    result = judged(Planted(**BRIEF, limit=limit)).result
    (one,) = result.specificities
    (pair,), (again,) = one.budgets, one.harder
    assert (pair.own, pair.other) == (24, 0)
    assert (again.searched, again.reached, again.pair.other) == (24, reached, reached)
    assert (flags_of(result), result.verdict) == (set(), verdict)
    if reached:
        (expectation,) = result.expectations
        assert (
            "in 0 of 24, in 24 more when searched with twice the steps or by apgd(), and its own in 24"
        ) in (expectation.reason or "")


def test_without_checks_no_clamp_is_said_not_to_hold(judged: Any) -> None:
    result = judged(Planted(**BRIEF, limit="1", checks=0)).result
    assert result.verdict == "inconclusive"
    (expectation,) = result.expectations
    assert "no stronger search was made for the unrelated target (tried unrelated)" in (
        expectation.reason or ""
    )


# --- False verdicts that were once given ----------------------------------------------------------

FALSE = {
    "five steps": (Planted(leak=1.0, steps=5, limit="60"), "starved"),
    "random directions beat it": (DESERVE["beaten_by_control"][0], "beaten_by_control"),
    "adam(lr = 1e30)": (Planted(leak=1.0, optimizer="adam(lr = 1e30)"), "beaten_by_apgd"),
    "adam(lr = 1e-9)": (Planted(leak=1.0, optimizer="adam(lr = 1e-9)"), "starved"),
    "a clamp a hundred times too large": (Planted(to=-500.0), "budget_below_clamp"),
    "0 of 2 flips": (Planted(flips=2, expect="recovery_rate(tried) <= 5%"), "0 of 2: at least 73 flips"),
    "tokens that are never written": (Planted(holds=ONE_OF, spelled=False), "other_spelling"),
    "a budget that writes any name": (Planted(**HIDDEN), "also reaches an unrelated target"),
}  # fmt: skip
"""What was run to a planted case of it, and what the right verdict says; that of a reader who goes away is
in `test_cli.py`."""


@pytest.mark.parametrize("what", FALSE)
def test_it_is_inconclusive_and_says_why(what: str, judged: Any) -> None:
    planted, why = FALSE[what]
    result = judged(planted).result
    assert result.verdict == "inconclusive"
    (expectation,) = result.expectations
    assert why in (expectation.reason or "")


def test_the_sign_of_a_difference_is_not_the_name(judged: Any) -> None:
    """At norm 20 the recipient is likelier than the giver again in every flip, and the most likely in none."""
    limited: dict[str, Any] = {"known": 8.0, "rival": 2.0, "limit": "20", "optimizer": "apgd()"}
    preference = judged(Planted(**limited, holds=PREFERS)).result.attacks["tried"].metrics
    assert preference["recovery_rate"].value == 1
    assert preference["target_rank"].value > 1
    top = judged(Planted(**limited)).result
    assert (top.attacks["tried"].metrics["recovery_rate"].value, top.verdict) == (0, "holds")


def test_no_second_attack_hides_what_the_first_missed(judged: Any) -> None:
    """The first name comes back at norm 5 / (0.6 √(1 + 1/7)) = 7.8, along m of all names. One step along the
    signs of the gradient to norm 10 raises its logit by 0.6 · 10/√2 = 4.2 of the 5 that it takes. The checks of
    the first attack see all of its flips, that of the second sees one, whose name does not come back."""
    one_step = Planted(
        open=0.6, optimizer="adam(lr = 1000)", steps=1, checks=24,
        more="attack again like tried { checks = 1 }", expect="recovery_rate(strongest) <= 20%",
    )  # fmt: skip
    run = judged(one_step)
    assert {flag.subject for flag in run.result.flags if flag.kind == "flag"} == {"tried"}
    (expectation,) = run.result.expectations
    assert (expectation.value, expectation.outcome) == (0, "undecided")
    assert "a recovery was found that the attack tried missed: " in expectation.reason
    assert "beaten_by_apgd" in expectation.reason
    searched = Planted(open=0.6, optimizer="apgd()", expect="recovery_rate(tried) <= 20%")
    assert judged(searched).result.attacks["tried"].metrics["recovery_rate"].value == 3 / 24
