"""`strongest`: all attacks together, in expectations, and a name that nothing else may have."""

from __future__ import annotations

import pytest

from recoverdsl.language import check
from tests.language.fixing import unfixed
from tests.language.texts import SMALL

TEXT = (
    SMALL
    + "intervene clamp { set = kept; to = 0 }\n"
    + "attack held like go { preserve = orthogonal(kept); limit = norm <= [5, 10] }\n"
    + "attack firm like go { preserve = jacobian(kept); find = smallest_norm() }\n"
)


@pytest.mark.parametrize(
    "expected",
    [
        "recovery_rate(strongest) <= 5%",
        "recovery_rate(strongest, norm = 10) <= 5%",
        "drift(strongest, norm = 20) <= 0.1",
        "smallest_norm(strongest) >= 8",
    ],
)
def test_an_expectation_may_name_it(expected: str) -> None:
    checked = check(TEXT + f"expect {expected}\n")
    assert not checked.diagnostics
    assert checked.spec is not None
    (expectation,) = checked.spec.expects
    assert expectation.subject == "strongest"
    assert expectation.text == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # 20 is a budget of `go` and `firm`, and 7 of none.
        (TEXT + "expect drift(strongest, norm = 7) <= 1\n", "none of `held`, `firm` has a budget of norm 7"),
        (TEXT.replace("find = smallest_norm()", "steps = 3") + "expect smallest_norm(strongest) >= 1\n",
         "none of `held`, `firm` searches for the smallest norm"),
        (TEXT + "expect smallest_norm(strongest, norm = 10) >= 1\n", "`smallest_norm` is searched over all norms and has no `norm`"),
        (TEXT + "expect budget_ratio(strongest) >= 1\n", "expected a control with another target, found `strongest`"),
        (SMALL.rpartition("attack")[0] + "expect drift(strongest) <= 1\n", "there is no attack of which one could be the strongest"),
    ],
)  # fmt: skip
def test_a_figure_that_its_attacks_have_not_is_a_mistake(text: str, message: str) -> None:
    checked = check(text)
    assert [(d.code, d.message) for d in checked.diagnostics] == [("REC405", message)]
    assert unfixed(text) == []


def test_a_broken_attack_may_have_what_the_others_have_not() -> None:
    text = SMALL.replace("limit = norm <= 20", "limit = norm <=")
    assert [d.code for d in check(text + "expect drift(strongest, norm = 7) <= 1\n").diagnostics] == ["REC101"]  # fmt: skip


@pytest.mark.parametrize("kind", ["attack", "control"])
def test_the_fix_renames_every_use(kind: str) -> None:
    block = {
        "attack": "attack strongest like go { steps = 5 }\nattack more like strongest { steps = 6 }\n",
        "control": "control strongest { of = go; with = random_direction }\n",
    }[kind]
    text = SMALL + block + "expect drift(strongest) <= 1\n"
    (diagnostic,) = check(text).diagnostics
    assert diagnostic.code == "REC217"
    assert diagnostic.help == f"take another name, such as `strongest_{kind}`"
    fixed = text
    for edit in sorted(diagnostic.fix, key=lambda edit: -edit.span.start):
        fixed = fixed[: edit.span.start] + edit.text + fixed[edit.span.end :]
    assert fixed == text.replace("strongest", f"strongest_{kind}")
    assert not check(fixed).diagnostics


def test_other_blocks_may_be_named_so() -> None:
    text = SMALL.replace("protect kept", "protect strongest")
    assert not check(text + "expect drift(strongest) <= 1\n").diagnostics
