"""The budgets on which expectations about recovery rest, and the steps that try harder there."""

from __future__ import annotations

import pytest

from recoverdsl.compiler.attacks import budgets_of_expectations
from recoverdsl.compiler.steps import FindSmallestNorm, Recover, TryHarder
from recoverdsl.language import check
from recoverdsl.language.schema import Spec
from recoverdsl.measure.keys import Budget
from tests.compiler.test_support import graph_of
from tests.run import claims

HEAD = claims.SPEC[: claims.SPEC.index("expect")]
"""`unconstrained` at norm 6, and `projected` at norms 2, 4 and 8, with a search of the least norm."""

AT_8 = Budget("projected", 8.0)


def least(norm: float) -> Budget:
    return Budget("projected", norm, least=True)


def spec(expect: str) -> Spec:
    checked = check(f"{HEAD}{expect}\n")
    assert checked.spec is not None, checked.errors
    return checked.spec


@pytest.mark.parametrize(
    ("expect", "budgets"),
    [
        ("expect drift(projected) <= 1%", []),
        ("expect recovery_rate(noise) <= 10%", []),
        ("expect recovery_rate(projected) <= 5%", [AT_8]),
        ("expect recovery_rate(projected, norm = 4) <= 5%", [Budget("projected", 4.0)]),
        ("expect recovery_rate(strongest) <= 5%", [AT_8]),
        ("expect smallest_norm(projected) >= 3", [least(3.0)]),
        ("expect smallest_norm(projected) <= 4", [least(4.0)]),
        ("expect smallest_norm(strongest) >= 3", [least(3.0)]),
        ("expect smallest_norm(projected) >= 0", []),
        # Nothing is searched beyond the largest limit.
        ("expect smallest_norm(projected) >= 30", [least(8.0)]),
        ("expect smallest_norm(projected) >= 8\nexpect recovery_rate(projected) <= 5%", [least(8.0), AT_8]),
    ],
)  # fmt: skip
def test_an_expectation_rests_on_attacks_at_a_limit(expect: str, budgets: list[Budget]) -> None:
    assert budgets_of_expectations(spec(expect)) == budgets


def test_a_least_norm_is_searched_again_within_the_norm_that_is_expected() -> None:
    graph = graph_of(f"{HEAD}expect smallest_norm(projected) >= 3\n")
    (key,) = graph.keys_of(TryHarder)
    assert key == "try harder, the least norm of projected at norm 3"
    node = graph[key]
    assert isinstance(node.step, TryHarder)
    found = graph[node.inputs["found"]].step
    assert isinstance(found, FindSmallestNorm)
    assert (found.recover.limit, node.step.recover.limit) == (8.0, 3.0)


def test_a_rate_at_the_same_norm_is_searched_again_beside_it() -> None:
    both = "expect smallest_norm(projected) >= 8\nexpect recovery_rate(projected) <= 5%\n"
    graph = graph_of(HEAD + both)
    found = [graph[graph[key].inputs["found"]].step for key in graph.keys_of(TryHarder)]
    assert [type(step) for step in found] == [FindSmallestNorm, Recover]
    alone = graph_of(f"{HEAD}expect recovery_rate(projected) <= 5%\n")
    at = graph.strength[AT_8]
    assert graph[at].digest == alone[alone.strength[AT_8]].digest
