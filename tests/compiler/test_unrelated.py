"""The unrelated targets that an audit tries by itself: for which attacks, and which targets."""

from __future__ import annotations

import pytest
from attrs import evolve

from recoverdsl.language import check, check_file
from recoverdsl.language.schema import AnswerOf, BehaviorOf, Control, Spec
from recoverdsl.language.schema.unrelated import controls_of, recovering
from tests.language.corpus import ROOT
from tests.run import claims

HEAD = claims.SPEC[: claims.SPEC.index("expect")]


def spec(expect: str, text: str = HEAD) -> Spec:
    checked = check(f"{text}{expect}\n")
    assert checked.spec is not None, checked.errors
    return checked.spec


def added(of: Spec) -> dict[str, Control]:
    return {name: c for name, c in controls_of(of).items() if name not in of.controls}


@pytest.mark.parametrize(
    ("expect", "names"),
    [
        ("", []),
        ("expect drift(projected) <= 1%", []),
        ("expect recovery_rate(noise) <= 10%", []),
        ("expect recovery_rate(projected) >= 0%", []),
        ("expect recovery_rate(projected) <= 100%", []),
        ("expect recovery_rate(projected) <= 5%", ["projected unrelated"]),
        ("expect zero_reactivation_recovery(projected, norm = 2) <= 5%", ["projected unrelated"]),
        ("expect specificity(projected) >= 1.5", ["projected unrelated"]),
        ("expect smallest_norm(projected) >= 3", ["projected unrelated"]),
        ("expect smallest_norm(projected) >= 0", []),
        ("expect recovery_rate(strongest) <= 5%", ["projected unrelated"]),
        ("expect recovery_rate(unconstrained) <= 5%\nexpect recovery_rate(projected) <= 5%",
         ["unconstrained unrelated", "projected unrelated"]),
    ],
)  # fmt: skip
def test_only_an_attack_that_an_expectation_needs_gets_one(expect: str, names: list[str]) -> None:
    found = added(spec(expect))
    assert sorted(found) == sorted(names)
    for control in found.values():
        assert control.target == BehaviorOf("names_the_recipient", "another_example")
        assert control.on == "defended"


def test_a_spec_that_has_one_keeps_it_and_gets_none() -> None:
    own = "control mine { of = projected\n target = names_the_recipient of another_example }\n"
    assert added(spec("expect recovery_rate(projected) <= 5%", HEAD + own)) == {}
    free = "control mine { of = projected\n target = names_the_recipient of another_example\n on = undefended }\n"
    assert list(added(spec("expect recovery_rate(projected) <= 5%", HEAD + free))) == ["projected unrelated"]  # fmt: skip


def test_a_behavior_that_names_no_column_has_no_unrelated_target() -> None:
    fixed = HEAD.replace("{io}", "Zephyrine").replace("{s}", "Quillon")
    assert added(spec("expect recovery_rate(projected) <= 5%", fixed)) == {}


def test_an_attack_on_an_answer_gets_that_of_another_example() -> None:
    of = check_file(ROOT / "specs/refusal.rec").spec
    assert of is not None
    without = evolve(of, controls={})
    found = added(without)
    assert list(found) == [f"{name} unrelated" for name in recovering(without)]
    assert {control.target for control in found.values()} == {AnswerOf("another_example")}
