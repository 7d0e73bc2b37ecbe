"""The step that tries harder: what it finds where the truth is known, whatever the batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attrs import evolve

from recoverdsl.compiler.steps import Recover, TryHarder
from recoverdsl.engine.attack.constraints import constraint_of
from recoverdsl.engine.attack.problem_factory import ProblemFactory
from recoverdsl.engine.attack.random_search import random_search
from recoverdsl.engine.steps.evaluation import FlipBatch
from recoverdsl.engine.steps.recovery import limits, problem_of, recover
from recoverdsl.engine.steps.strength import NO_LIMIT, try_harder
from recoverdsl.language.schema import Apgd
from recoverdsl.measure.strength import StrengthRow
from tests.bounds import GRADIENT, near
from tests.engine.one_sae import DEFENSE, LAST, problems, protected, recovery
from tests.models import llama

COUNT = 6
SEARCHES = ("attack", "longer", "apgd", "unguided", "unlimited", "undo", "unconstrained")


@pytest.fixture(scope="module")
def made() -> ProblemFactory:
    return problems(llama(), COUNT)


def harder(made: ProblemFactory, attack: Recover, indices: list[int]) -> tuple[StrengthRow, ...]:
    batch = FlipBatch(indices)
    found = recover(made, attack, protected(made), batch).rows
    return try_harder(made, TryHarder(attack, len(indices), seed=0), protected(made), batch, found)  # fmt: skip


def test_every_search_is_the_attack_with_one_thing_changed(made: ProblemFactory) -> None:
    attack = recovery(LAST, steps=6, limit=1.0)
    everyone = FlipBatch(list(range(COUNT)))
    (stage,) = attack.stages

    def alone(changed: Recover, limit_B: Any = None) -> list[tuple[bool, float]]:
        rows = recover(made, changed, protected(made), everyone, limit_B=limit_B).rows
        return [(row.recovered, row.score_recovered) for row in rows]

    def with_stage(**changes: Any) -> Recover:
        return evolve(attack, stages=(evolve(stage, **changes),))

    rows = harder(made, attack, everyone.indices)
    apgd = {"optimizer": Apgd(), "steps": 50}
    reach = torch.tensor([NO_LIMIT * row.state_norm for row in rows])
    expected = {
        "attack": alone(attack),
        "longer": alone(with_stage(steps=12)),
        "apgd": alone(with_stage(**apgd)),
        "unlimited": alone(with_stage(**apgd), reach),
        "unconstrained": alone(evolve(with_stage(**apgd), preserve=None)),
    }
    for name, outcomes in expected.items():
        assert [
            (getattr(row, name).recovered, getattr(row, name).score) for row in rows
        ] == outcomes


def test_undoing_a_clamp_of_the_last_token_gives_back_the_undefended_score(
    made: ProblemFactory,
) -> None:
    attack = recovery(LAST, steps=2, limit=1.0, defense=evolve(DEFENSE, at=LAST))
    indices = list(range(COUNT))
    free = evolve(attack, preserve=None)
    defended, base = (
        problem_of(made, evolve(free, defense=defense), protected(made), FlipBatch(indices))
        for defense in (attack.defense, None)
    )
    (site,) = defended.sites
    moved_B = (base.h_def[site] - defended.h_def[site])[:, -1].norm(dim=1)
    scores_B, reached_B = base.score(base.zero_BLQD)
    rows = harder(made, attack, indices)
    assert [row.undo.norm for row in rows] == pytest.approx(moved_B.tolist(), rel=1e-6)
    assert [row.undo.score for row in rows] == pytest.approx(scores_B.tolist(), abs=1e-4)
    assert [row.undo.recovered for row in rows] == reached_B.tolist()
    assert [row.state_norm for row in rows] == pytest.approx(
        defended.h_def[site][:, -1].norm(dim=1).tolist(), rel=1e-6
    )
    assert moved_B.max() > 1


def test_no_row_depends_on_the_rest_of_its_batch(made: ProblemFactory) -> None:
    attack = recovery(LAST, steps=4, limit=2.0)
    together = harder(made, attack, list(range(COUNT)))
    for index, row in enumerate(together):
        (alone,) = harder(made, attack, [index])
        pairs = [(getattr(row, name), getattr(alone, name)) for name in SEARCHES]
        assert [(a.recovered, b.recovered) for a, b in pairs if a.recovered != b.recovered] == []
        numbers = [(row.start, alone.start), (row.gradient, alone.gradient)]
        numbers += [(row.state_norm, alone.state_norm)]
        numbers += [(a.score, b.score) for a, b in pairs] + [(a.norm, b.norm) for a, b in pairs]
        for one, other in numbers:
            assert other == near(one, 100 * GRADIENT, max(abs(one), 10.0))


# --- Random search ----------------------------------------------------------------------------


def searched(made: ProblemFactory, passes: list[int], limit: float = 2.0) -> Any:
    step = recovery(LAST, limit=limit)
    problem = problem_of(made, step, protected(made), FlipBatch(list(range(COUNT))))
    constraint = constraint_of(step.preserve, problem)
    outcome = random_search(problem, constraint, limits(problem, limit), passes, list(range(COUNT)))
    return problem, outcome


def test_random_search_never_loses_what_it_found_and_keeps_the_rules(made: ProblemFactory) -> None:
    problem, none = searched(made, [1] * COUNT)
    start_B, _ = problem.score(problem.zero_BLQD)
    assert torch.equal(none.score_B, start_B.detach())
    assert not none.delta_BLQD.any()
    before = none.score_B
    for passes in (5, 20, 80):
        _, outcome = searched(made, [passes] * COUNT)
        assert (outcome.score_B >= before).all()
        before = outcome.score_B
    open_B = ~problem.score(problem.zero_BLQD)[1]
    assert (before > start_B)[open_B].all() and open_B.sum() > 1
    assert (outcome.delta_BLQD.flatten(1).norm(dim=1) <= 2.0 * (1 + 1e-5)).all()
    W_DS = protected(made).features[2].W_enc_DS
    assert (outcome.delta_BLQD @ W_DS).abs().max() < 1e-4
    scores, _ = problem.score(outcome.delta_BLQD)
    assert torch.allclose(scores, outcome.score_B, atol=1e-5)


def test_each_example_has_its_own_passes(made: ProblemFactory) -> None:
    _, mixed = searched(made, [1, 40, 1, 40, 1, 40])
    _, all_of = searched(made, [40] * COUNT)
    assert not mixed.delta_BLQD[::2].any()
    assert torch.allclose(mixed.score_B[1::2], all_of.score_B[1::2], atol=1e-5)
