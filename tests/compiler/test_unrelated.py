"""The unrelated targets that an audit tries by itself: for which attacks, and which targets."""

from __future__ import annotations

import pytest
from attrs import evolve

from recoverdsl.compiler.steps import Recover
from recoverdsl.language import check, check_file
from recoverdsl.language.schema import AnswerOf, BehaviorOf, Control, Spec
from recoverdsl.language.schema.unrelated import controls_of, limits_of_control, recovering
from recoverdsl.measure.keys import TableKey
from tests.compiler.test_digests import graph_of
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
    assert sorted(n for n, c in found.items() if c.on == "defended") == sorted(names)
    # Without the clamp it is tried only where an expectation is about recovery.
    tried = not expect.startswith(("expect specificity", "expect smallest_norm"))
    unclamped = [f"{name} unclamped" for name in names] if tried else []
    assert sorted(n for n, c in found.items() if c.on == "undefended") == sorted(unclamped)
    for control in found.values():
        assert control.target == BehaviorOf("names_the_recipient", "another_example")


def test_a_word_in_double_braces_is_no_column() -> None:
    """`{{io}}` is the word `{io}` in every example, so another example has no other target."""
    plain = HEAD.replace("{io}", "{{io}}").replace("{s}", "{{s}}")
    assert plain != HEAD
    assert added(spec("expect recovery_rate(projected) <= 5%", plain)) == {}


OWN = "control mine { of = projected\n target = names_the_recipient of another_example }\n"
FREE = "control free { of = projected\n target = names_the_recipient of another_example\n on = undefended }\n"
GIVER = """\
behavior giver { holds = top_token == " {s}" }
control mine { of = projected\n target = giver }
"""
EXPECT = "expect recovery_rate(projected, norm = 4) <= 5%"


@pytest.mark.parametrize(
    ("own", "names"),
    [
        (OWN, ["mine unclamped"]),
        (FREE, ["projected unrelated"]),
        (OWN + FREE, []),
        # Another target may be harder to reach, and takes the place of none.
        (GIVER, ["projected unrelated", "projected unrelated unclamped"]),
        (GIVER + FREE, ["projected unrelated"]),
        (GIVER.replace("mine", "other") + OWN, ["mine unclamped"]),
    ],
    ids=["under", "without", "both", "behavior", "another", "two"],
)
def test_what_a_spec_has_is_not_added(own: str, names: list[str]) -> None:
    assert list(added(spec(EXPECT, HEAD + own))) == names


def test_without_the_clamp_only_the_limit_of_the_claim_is_tried_and_no_norm_is_searched() -> None:
    for own, name in (("", "projected unrelated"), (OWN, "mine")):
        of = spec(EXPECT, HEAD + own)
        assert limits_of_control(of, name) == (2.0, 4.0, 8.0)
        assert limits_of_control(of, f"{name} unclamped") == (4.0,)
        graph = graph_of(HEAD + own + EXPECT + "\n")
        tables = [(table.kind, table.limit) for table in graph.tables if table.name == f"{name} unclamped"]  # fmt: skip
        assert tables == [("control", 4.0)]
        (key,) = (key for table, key in graph.tables.items() if table.name == f"{name} unclamped")
        under = graph[graph.tables[TableKey("control", name, 4.0)]]
        step = graph[key].step
        assert isinstance(step, Recover)
        # The same search for the same targets, without the clamp.
        assert evolve(step, defense=under.step.defense) == under.step
        assert step.defense is None
        assert graph[key].inputs == under.inputs
    assert limits_of_control(spec(EXPECT, HEAD + OWN + FREE), "free") == (2.0, 4.0, 8.0)


def test_a_behavior_that_names_no_column_has_no_unrelated_target() -> None:
    fixed = HEAD.replace("{io}", "Zephyrine").replace("{s}", "Quillon")
    assert added(spec("expect recovery_rate(projected) <= 5%", fixed)) == {}


def test_an_attack_on_an_answer_gets_that_of_another_example() -> None:
    of = check_file(ROOT / "specs/refusal.rec").spec
    assert of is not None
    without = evolve(of, controls={})
    found = added(without)
    under = [f"{name} unrelated" for name in recovering(without)]
    assert list(found) == [*under, *(f"{name} unclamped" for name in under)]
    assert {control.target for control in found.values()} == {AnswerOf("another_example")}
