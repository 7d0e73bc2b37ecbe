"""The least norm that recovers: where it is known, and where a warm start alone misses it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attrs import evolve
from torch import Tensor

from recoverdsl.compiler.steps import FindSmallestNorm, Place, ReachBehavior, Stage
from recoverdsl.engine.attack.constraints.free import Free
from recoverdsl.engine.attack.fast_minimum_norm import (
    fast_minimum_norm,
    least_of_basins,
    promising_start,
)
from recoverdsl.engine.attack.geometry import norm
from recoverdsl.engine.attack.search import Attack, Outcome, recover, smallest_norm
from recoverdsl.engine.steps import recovery
from recoverdsl.engine.steps.evaluation import FlipBatch
from recoverdsl.language.schema import (
    Adam,
    ByConstruction,
    Jacobian,
    JacobianSketch,
    Orthogonal,
    Preserve,
)
from tests.engine.attack.test_search import (
    CONSTRAINTS,
    B,
    adam,
    all_of,
    ascent,
    basis_of,
    least_norm,
    linear_problem,
    orthogonal,
    score,
    violation,
)
from tests.engine.attack.two_basins import EXAMPLES, TwoBasins, two_basins
from tests.engine.rigs import LAST, PROMPTS, SCORED, Rig, rig
from tests.models import jumprelu

STEPS = 16


def seeds(starts: int, count: int, draws: int = 8) -> list[list[list[int]]]:
    return [
        [[1000 * (start * draws + draw) + row for row in range(count)] for draw in range(draws)]
        for start in range(starts)
    ]


# --- Linear scores ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_it_reaches_the_closed_form_from_far_above(name: str) -> None:
    problem = linear_problem()
    constraint = CONSTRAINTS[name](problem)
    least_B = least_norm(problem, constraint)
    found = recover(problem, Attack(adam(0.3), constraint, steps=400), 30 * least_B)
    assert (norm(found.delta_BLQD) > 1.03 * least_B).any(), "the start was already the answer"
    best = fast_minimum_norm(problem, constraint, found, found.delta_BLQD, 2 * STEPS)
    assert (norm(best.delta_BLQD) >= least_B * (1 - 1e-4)).all()
    assert (norm(best.delta_BLQD) <= least_B * 1.01).all()
    torch.testing.assert_close(score(problem, best.delta_BLQD), best.score_B)
    assert (best.score_B > 0).all()
    assert torch.equal(best.steps_B, found.steps_B + 2 * STEPS)


def test_it_keeps_the_constraint() -> None:
    problem, constraint = linear_problem(), orthogonal()
    found = recover(problem, Attack(adam(), constraint, steps=200), all_of(50.0))
    best = least_of_basins(problem, constraint, found, all_of(50.0), STEPS, seeds(2, B))
    assert violation(basis_of(constraint), best.delta_BLQD) < 1e-6
    assert (norm(best.delta_BLQD) <= norm(found.delta_BLQD)).all()


def test_nothing_is_searched_that_was_not_recovered_and_the_start_is_left_as_it_was() -> None:
    problem = linear_problem()
    limit_B = torch.where(torch.arange(B) % 2 == 0, 2.0, 0.5) * least_norm(problem, Free())
    found = recover(problem, Attack(ascent(20), Free(), steps=20), limit_B)
    kept = found.delta_BLQD.clone(), found.score_B.clone()
    best = fast_minimum_norm(problem, Free(), found, found.delta_BLQD, STEPS)
    assert torch.equal(found.delta_BLQD, kept[0]) and torch.equal(found.score_B, kept[1])
    lost_B = ~found.recovered_B
    assert lost_B.tolist() == [False, True] * (B // 2)
    assert torch.equal(best.delta_BLQD[lost_B], found.delta_BLQD[lost_B])
    assert torch.equal(best.steps_B[lost_B], found.steps_B[lost_B])
    none = recover(problem, Attack(ascent(20), Free(), steps=20), 0.5 * limit_B.clamp(max=0.01))
    assert fast_minimum_norm(problem, Free(), none, none.delta_BLQD, STEPS) is none


def test_the_better_of_two_is_kept() -> None:
    """From a start that leads nowhere, the δ that was known is what is returned."""
    problem = linear_problem()
    least_B = least_norm(problem, Free())
    found = recover(problem, Attack(ascent(40), Free(), steps=40), 1.001 * least_B)
    assert found.recovered_B.all()
    nowhere = torch.zeros_like(found.delta_BLQD)
    best = fast_minimum_norm(problem, Free(), found, nowhere, STEPS)
    assert torch.equal(best.delta_BLQD, found.delta_BLQD)
    assert torch.equal(best.score_B, found.score_B)


def test_a_score_that_is_no_number_ends_the_search_of_its_example_alone() -> None:
    problem = linear_problem()
    found = recover(problem, Attack(adam(0.3), Free(), 400), 30 * least_norm(problem, Free()))
    h_BQD = problem.h_def[0].clone()
    h_BQD[2, 1, 5] = torch.nan
    broken = evolve(problem, h_def={0: h_BQD})
    best = least_of_basins(broken, Free(), found, all_of(100.0), STEPS, seeds(1, B))
    sane = least_of_basins(problem, Free(), found, all_of(100.0), STEPS, seeds(1, B))
    assert torch.equal(best.delta_BLQD[2], found.delta_BLQD[2])
    others = torch.tensor([0, 1, 3, 4, 5])
    torch.testing.assert_close(best.delta_BLQD[others], sane.delta_BLQD[others])


# --- Two basins -------------------------------------------------------------------------------


def warm(planted: TwoBasins) -> Outcome:
    """Return what bisection finds from the δ to which the gradient at 0 leads."""
    found = recover(planted.problem, Attack(adam(0.3), Free(), 400), 3 * planted.near_B)
    return smallest_norm(planted.problem, found, Attack(ascent(16), Free(), 16), within=0.01)


@pytest.mark.parametrize("least", [3.0, 4.0, 6.0])
def test_random_starts_find_the_lesser_of_two_basins(least: float) -> None:
    planted = two_basins(least=least)
    start = warm(planted)
    assert (norm(start.delta_BLQD) > 0.99 * planted.near_B).all(), "the warm start was not misled"
    limit_B = 3 * planted.near_B
    alone = least_of_basins(planted.problem, Free(), start, limit_B, STEPS, [])
    assert (norm(alone.delta_BLQD) > 0.99 * planted.near_B).all()
    best = least_of_basins(planted.problem, Free(), start, limit_B, STEPS, seeds(3, EXAMPLES))
    assert (norm(best.delta_BLQD) >= planted.least_B * (1 - 1e-5)).all()
    assert (norm(best.delta_BLQD) <= planted.least_B * 1.01).all()


def test_a_start_is_the_draw_of_the_highest_score_and_ignores_the_batch() -> None:
    planted = two_basins()
    radius_B = 2 * planted.near_B
    (draws,) = seeds(1, EXAMPLES)
    start = promising_start(planted.problem, Free(), radius_B, draws)
    each = [promising_start(planted.problem, Free(), radius_B, [one]) for one in draws]
    scores_NB = torch.stack([score(planted.problem, one) for one in each])
    assert torch.equal(score(planted.problem, start), scores_NB.amax(0))
    torch.testing.assert_close(norm(start), radius_B)
    only = torch.tensor([5])
    alone = promising_start(
        planted.problem.take(only), Free(), radius_B[only], [[one[5]] for one in draws]
    )
    assert torch.equal(alone[0], start[5])


# --- Under a final RMSNorm --------------------------------------------------------------------

TOP = 4
KEPT: dict[str, Preserve | None] = {
    "nothing": None,
    "orthogonal": Orthogonal(""),
    "by_construction": ByConstruction(""),
    "jacobian": Jacobian(""),
    "jacobian_sketch": JacobianSketch("", probes=2),
}
IDS = [1, 5, 9, 23, 40]


def at_the_top(kind: str) -> Rig:
    prompts = [*PROMPTS, *([*prompt[::-1], 6] for prompt in PROMPTS)]
    return rig(kind, prompts=prompts, saes={TOP: jumprelu(seed=TOP)}, chosen={TOP: IDS})


def hyperplanes(made: Rig, kind: str) -> Tensor:
    """Return w (B, D) of each example: logit(right) − logit(wrong) is w·h over the root mean square
    of h, so that its sign is that of w·h."""
    model: Any = made.plain.model
    scale = model.model.norm.weight + (1 if kind == "gemma" else 0)
    rows = []
    for example in made.resources.examples:
        right, wrong = (
            made.resources.model.tokenizer(example.fields[which]).input_ids[0]
            for which in ("right", "wrong")
        )
        rows.append(scale * (model.lm_head.weight[right] - model.lm_head.weight[wrong]))
    return torch.stack(rows).detach()


@pytest.mark.parametrize("preserve", KEPT.values(), ids=KEPT)
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma"])
def test_under_the_final_norm_it_is_the_distance_to_a_hyperplane(
    kind: str, preserve: Preserve | None
) -> None:
    made = at_the_top(kind)
    # A weak attack, whose δ is far from the least.
    attack = made.recover(
        Stage((Place(TOP - 1, "output", LAST),), Adam(0.5), 60, 40.0),
        behavior=SCORED, goal=ReachBehavior(SCORED), preserve=preserve,
    )  # fmt: skip
    batch = FlipBatch(list(range(len(made.prompts))))
    problems = made.problems()
    found = recovery.recover(problems, attack, made.protected, batch)
    step = FindSmallestNorm(attack, within=0.05, steps=STEPS, starts=1)
    best = recovery.find_smallest_norm(problems, step, made.protected, batch, found)

    problem = recovery.problem_of(problems, attack, made.protected, batch)
    w_BD, h_BD = hyperplanes(made, kind).double(), problem.h_def[TOP][:, -1].double()
    A_DS = made.protected.features[TOP].W_enc_DS.double()
    free_BD = w_BD - w_BD @ (A_DS @ torch.linalg.pinv(A_DS))
    margin_B = -(w_BD * h_BD).sum(1)
    flips_B = margin_B > 0
    assert int(flips_B.sum()) >= 2
    sizes_B = norm(best.delta_BLPD).double()[flips_B]
    assert all(row.reached for row, flip in zip(best.rows, flips_B.tolist(), strict=True) if flip)
    unconstrained_B = (margin_B / w_BD.norm(dim=1))[flips_B]
    in_null_space_B = (margin_B / free_BD.norm(dim=1))[flips_B]
    assert (norm(found.delta_BLPD).double()[flips_B] > 1.05 * unconstrained_B).any()
    if preserve is None:
        low_B = high_B = unconstrained_B
    elif isinstance(preserve, (Orthogonal, ByConstruction)):
        low_B = high_B = in_null_space_B
    elif isinstance(preserve, Jacobian):
        # Inactive features may fall.
        low_B, high_B = unconstrained_B, in_null_space_B
    else:
        # A sketch draws another null space at every step.
        low_B, high_B = unconstrained_B, norm(found.delta_BLPD).double()[flips_B]
    assert (sizes_B >= low_B * 0.999).all()
    assert (sizes_B <= high_B * 1.01).all()
