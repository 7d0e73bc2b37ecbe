"""The search for δ where its answer is known: scores that are linear in δ."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from attrs import evolve, frozen
from torch import Tensor, nn

from recoverdsl.engine.attack.constraints import Constraint
from recoverdsl.engine.attack.constraints.free import Free
from recoverdsl.engine.attack.constraints.orthogonal import Orthogonal
from recoverdsl.engine.attack.geometry import norm
from recoverdsl.engine.attack.optimizers import Adam, SteepestAscent
from recoverdsl.engine.attack.problem import AttackProblem
from recoverdsl.engine.attack.search import (
    Attack,
    Outcome,
    random_direction,
    recover,
    smallest_norm,
)
from recoverdsl.engine.behavior.conditions import Condition
from recoverdsl.engine.behavior.objectives import Objective, ScoreGoal
from recoverdsl.engine.defense.intervention import Intervention
from recoverdsl.engine.model.families import Family
from recoverdsl.engine.model.forward import NO_PREFIX, Tokens
from recoverdsl.language.schema import Comparison
from tests.bounds import GRADIENT, assert_near

B, L, Q, D = 6, 1, 4, 16
POSITIVE = Condition(Comparison("score", ">", 0.0))


class Mix(nn.Module):
    """Adds up the positions so far: the last one reads every δ alike."""

    def forward(self, h_BQD: Tensor, **_: Any) -> Tensor:
        return h_BQD.cumsum(1)


@frozen(eq=False)
class Linear(Family):
    """A model whose logits are linear in the residual stream."""

    def positional(self, h_BQD: Tensor, positions_BQ: Tensor) -> Mapping[str, Any]:
        return {}


def linear_family(seed: int = 0) -> Linear:
    head = nn.Linear(D, 20, bias=False).requires_grad_(False)
    head.weight.copy_(torch.randn(20, D, generator=torch.Generator().manual_seed(seed)))
    return Linear(
        model=head,
        layers=nn.ModuleList([Mix()]),
        final_norm=nn.Identity(),
        head=head,
        max_positions=64,
    )


def linear_problem(
    where_Q: tuple[bool, ...] = (True, False, True, True), seed: int = 0
) -> AttackProblem:
    """Return examples with a negative score, logit(a) − logit(b), that differ in size and direction."""
    family = linear_family(seed)
    generator = torch.Generator().manual_seed(seed)
    h_BQD = torch.randn(B, Q, D, generator=generator) * torch.linspace(0.5, 3, B)[:, None, None]
    tokens_BK = torch.stack([torch.randperm(20, generator=generator)[:2] for _ in range(B)])
    objective = Objective(torch.tensor([1.0, -1.0]), tokens_BK, torch.zeros(2, dtype=torch.bool))
    made = AttackProblem(
        family=family, sites=(0,), first=0, prefix=NO_PREFIX, intervention=Intervention(), features={},
        tokens=Tokens(torch.zeros(B, Q, dtype=torch.long), torch.ones(B, Q, dtype=torch.bool)),
        h_def={0: h_BQD}, where_BLQ=torch.tensor(where_Q).expand(B, L, Q),
        goal=ScoreGoal(objective, POSITIVE, Q - 1),
    )  # fmt: skip
    present_B = undisturbed(made) > 0
    tokens_BK = torch.where(present_B[:, None], tokens_BK.flip(1), tokens_BK)
    return evolve(made, goal=ScoreGoal(evolve(objective, tokens_BK=tokens_BK), POSITIVE, Q - 1))


def score(problem: AttackProblem, delta: Tensor) -> Tensor:
    return problem.score(delta)[0]


def undisturbed(problem: AttackProblem) -> Tensor:
    return score(problem, problem.zero_BLQD)


def directions(problem: AttackProblem) -> Tensor:
    """Return ∂score/∂δ at each perturbed position, (B, D): the same at all of them."""
    assert isinstance(problem.goal, ScoreGoal)
    rows_BKD: Tensor = problem.family.head.weight[problem.goal.objective.tokens_BK]
    return rows_BKD[:, 0] - rows_BKD[:, 1]


def least_norm(problem: AttackProblem, constraint: Constraint) -> Tensor:
    """Return the least norm that recovers: the margin over the length of the constrained gradient,
    in closed form."""
    margin_B = -undisturbed(problem)
    gradient = directions(problem)[:, None, None] * problem.where_BLQ[..., None]
    if isinstance(constraint, Orthogonal):
        basis = basis_of(constraint).double()
        gradient = gradient.double() - gradient.double() @ basis @ basis.T
    return (margin_B / gradient.flatten(1).norm(dim=1)).float()


def basis_of(constraint: Orthogonal) -> Tensor:
    """Return the span of the features at the only site, (D, R)."""
    (basis_DR,) = constraint.bases
    assert basis_DR is not None
    return basis_DR


def orthogonal(seed: int = 3) -> Orthogonal:
    return Orthogonal.to(torch.randn(D, 6, generator=torch.Generator().manual_seed(seed)))


def steep(leaning: AttackProblem) -> Orthogonal:
    """Return a constraint that leaves a hundredth of each gradient: the features read almost all of
    it."""
    generator = torch.Generator().manual_seed(5)
    gradients_BD = nn.functional.normalize(directions(leaning), dim=1)
    return Orthogonal.to((gradients_BD + 0.005 * torch.randn(B, D, generator=generator)).T)


CONSTRAINTS: dict[str, Callable[[AttackProblem], Constraint]] = {
    "free": lambda _: Free(),
    "orthogonal": lambda _: orthogonal(),
    "orthogonal to nearly all of the gradient": steep,
}


def adam(lr: float = 0.1) -> Callable[[Tensor], Adam]:
    return lambda _: Adam(lr)


def ascent(steps: int) -> Callable[[Tensor], SteepestAscent]:
    return lambda radius_B: SteepestAscent(radius_B, lambda t: max(0.1, 1 - t / steps))


def all_of(value: float) -> Tensor:
    return torch.full((B,), value)


def violation(A: Tensor, delta_BLQD: Tensor) -> float:
    """Return the largest share of a δ along one direction of the basis A (D, R)."""
    return float(
        ((delta_BLQD.double() @ A.double()).abs().flatten(1).amax(1) / norm(delta_BLQD)).max()
    )


# --- The planted minimum ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_smallest_norm_is_the_closed_form_minimum(name: str) -> None:
    problem = linear_problem()
    constraint = CONSTRAINTS[name](problem)
    least_B = least_norm(problem, constraint)
    found = recover(problem, Attack(adam(0.3), constraint, steps=400), 30 * least_B)
    assert found.recovered_B.all()
    assert (norm(found.delta_BLQD) > 1.03 * least_B).any(), "the start was already the answer"
    best = smallest_norm(problem, found, Attack(ascent(16), constraint, steps=16), within=0.01)
    assert best.recovered_B.all()
    assert (norm(best.delta_BLQD) >= least_B * (1 - 1e-4)).all()
    assert (norm(best.delta_BLQD) <= least_B * 1.02).all()
    assert (score(problem, best.delta_BLQD) > 0).all()


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_a_limit_below_the_minimum_recovers_nothing(name: str) -> None:
    problem = linear_problem()
    constraint = CONSTRAINTS[name](problem)
    limit_B = 0.98 * least_norm(problem, constraint)
    for optimizer in (adam(), ascent(40)):
        assert not recover(
            problem, Attack(optimizer, constraint, steps=40), limit_B
        ).recovered_B.any()


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_a_limit_just_above_the_minimum_recovers_everything(name: str) -> None:
    problem = linear_problem()
    constraint = CONSTRAINTS[name](problem)
    limit_B = 1.05 * least_norm(problem, constraint)
    assert recover(problem, Attack(ascent(40), constraint, steps=40), limit_B).recovered_B.all()


def test_features_that_read_the_whole_gradient_make_recovery_impossible() -> None:
    problem = linear_problem()
    constraint = Orthogonal.to(directions(problem).T)
    limit_B = 100 * least_norm(problem, Free())
    for optimizer in (adam(), ascent(60)):
        free = recover(problem, Attack(optimizer, Free(), steps=60), limit_B)
        kept = recover(problem, Attack(optimizer, constraint, steps=60), limit_B)
        assert free.recovered_B.all()
        assert not kept.recovered_B.any()
        assert not kept.failed_B.any()
        assert torch.allclose(kept.score_B, undisturbed(problem), atol=1e-3)


def test_a_search_finer_than_float32_ends() -> None:
    problem = linear_problem()
    least_B = least_norm(problem, Free())
    found = recover(problem, Attack(ascent(20), Free(), steps=20), 3 * least_B)
    best = smallest_norm(problem, found, Attack(ascent(4), Free(), steps=4), within=1e-12)
    assert torch.allclose(norm(best.delta_BLQD), least_B, rtol=1e-3)


def test_examples_that_were_not_recovered_are_not_searched() -> None:
    problem = linear_problem()
    least_B = least_norm(problem, Free())
    limit_B = torch.where(torch.arange(B) % 2 == 0, 2.0, 0.5) * least_B
    found = recover(problem, Attack(ascent(20), Free(), steps=20), limit_B)
    kept = found.delta_BLQD.clone(), found.score_B.clone()
    best = smallest_norm(problem, found, Attack(ascent(16), Free(), steps=16), within=0.01)
    # The search begins at what was found, and leaves it as it was.
    assert torch.equal(found.delta_BLQD, kept[0])
    assert torch.equal(found.score_B, kept[1])
    assert best.recovered_B.tolist() == [True, False] * (B // 2)
    lost_B = ~best.recovered_B
    assert torch.equal(best.delta_BLQD[lost_B], found.delta_BLQD[lost_B])
    assert (norm(best.delta_BLQD)[best.recovered_B] <= 1.02 * least_B[best.recovered_B]).all()


# --- Budget and constraint --------------------------------------------------------------------


@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("constraint", [Free(), orthogonal()], ids=["free", "orthogonal"])
def test_no_norm_exceeds_its_limit(constraint: Constraint, stop: bool) -> None:
    problem = linear_problem()
    limit_B = torch.logspace(-2, 1, B)
    for optimizer in (adam(5.0), ascent(10)):
        attack = Attack(optimizer, constraint, steps=20, stop_when_recovered=stop)
        outcome = recover(problem, attack, limit_B, start_BLQD=torch.full((B, L, Q, D), 50.0))
        assert (norm(outcome.delta_BLQD) <= limit_B * (1 + 1e-5)).all()


def test_delta_stays_where_it_may_act() -> None:
    problem = linear_problem(where_Q=(False, True, False, True))
    outcome = recover(
        problem, Attack(adam(), Free(), steps=10), all_of(1.0), start_BLQD=torch.ones(B, L, Q, D)
    )
    assert torch.equal(outcome.delta_BLQD[:, :, [0, 2]], torch.zeros(B, L, 2, D))
    assert outcome.delta_BLQD[:, :, [1, 3]].abs().amin() > 0


class ProjectsOnlyTheGradient(Adam):
    """Adam after a projection of the gradient, as in the published code of the attack."""

    def __init__(self, lr: float, constraint: Orthogonal) -> None:
        super().__init__(lr)
        self.constraint = constraint

    def step(self, gradient_BLQD: Tensor) -> Tensor:
        return super().step(self.constraint(gradient_BLQD))


def test_adam_keeps_the_constraint_that_a_projected_gradient_alone_loses() -> None:
    problem, constraint = linear_problem(), orthogonal()

    def after(optimizer: Callable[[Tensor], Adam], kept: Constraint) -> Outcome:
        attack = Attack(optimizer, kept, steps=50, stop_when_recovered=False)
        return recover(problem, attack, all_of(20.0))

    ours = after(adam(), constraint)
    published = after(lambda _: ProjectsOnlyTheGradient(0.1, constraint), Free())
    assert (norm(ours.delta_BLQD) > 1).all()
    assert violation(basis_of(constraint), ours.delta_BLQD) < 1e-6
    assert violation(basis_of(constraint), published.delta_BLQD) > 0.05


def test_the_smallest_norm_keeps_the_constraint() -> None:
    problem, constraint = linear_problem(), orthogonal()
    found = recover(problem, Attack(adam(), constraint, steps=200), all_of(50.0))
    best = smallest_norm(problem, found, Attack(ascent(16), constraint, steps=16), within=0.05)
    assert best.recovered_B.all()
    assert violation(basis_of(constraint), best.delta_BLQD) < 1e-6


# --- Examples apart ---------------------------------------------------------------------------


def test_an_example_that_is_not_a_number_fails_alone() -> None:
    problem = linear_problem()
    attack = Attack(adam(), orthogonal(), steps=60)
    limit_B = 4 * least_norm(problem, orthogonal())
    h_BQD = problem.h_def[0].clone()
    h_BQD[2, 1, 5] = torch.nan
    broken = recover(evolve(problem, h_def={0: h_BQD}), attack, limit_B)
    assert broken.failed_B.tolist() == [False, False, True, False, False, False]
    assert not broken.recovered_B[2]
    assert torch.equal(broken.delta_BLQD[2], torch.zeros(L, Q, D))

    others = torch.tensor([0, 1, 3, 4, 5])
    alone = recover(problem.take(others), attack, limit_B[others])
    assert alone.recovered_B.any()
    assert torch.equal(broken.recovered_B[others], alone.recovered_B)
    assert torch.equal(broken.steps_B[others], alone.steps_B)
    assert_near(broken.delta_BLQD[others], alone.delta_BLQD, GRADIENT)
    assert torch.allclose(broken.score_B[others], alone.score_B, atol=1e-5)


def test_an_example_that_stops_being_a_number_on_the_way_fails_alone() -> None:
    problem = linear_problem()

    class Breaks(Adam):
        def step(self, gradient_BLQD: Tensor) -> Tensor:
            step = super().step(gradient_BLQD)
            if self.t == 3:
                step[0] = torch.nan
            return step

    attack = Attack(lambda _: Breaks(0.01), Free(), steps=10)
    outcome = recover(problem, attack, 0.5 * least_norm(problem, Free()))
    assert outcome.failed_B.tolist() == [True] + [False] * (B - 1)
    assert torch.equal(outcome.delta_BLQD[0], torch.zeros(L, Q, D))
    assert outcome.steps_B.tolist() == [3] + [10] * (B - 1)


def test_stopping_keeps_the_first_success() -> None:
    problem = linear_problem()
    limit_B = 3 * least_norm(problem, Free())

    def run(steps: int, stop: bool = True) -> Outcome:
        attack = Attack(adam(0.05), Free(), steps=steps, stop_when_recovered=stop)
        return recover(problem, attack, limit_B)

    first, onward = run(200), run(200, stop=False)
    assert first.recovered_B.all()
    assert len(set(first.steps_B.tolist())) > 1
    for row, steps in enumerate(first.steps_B.tolist()):
        assert not run(steps - 1).recovered_B[row]
        assert torch.allclose(run(steps).delta_BLQD[row], first.delta_BLQD[row], atol=1e-6)
    assert (onward.steps_B == 200).all()
    assert (onward.score_B > first.score_B).all()


def test_each_example_has_its_own_limit() -> None:
    problem = linear_problem()
    least_B = least_norm(problem, Free())
    limit_B = torch.where(torch.arange(B) < 3, 0.9, 1.1) * least_B
    outcome = recover(problem, Attack(ascent(30), Free(), steps=30), limit_B)
    assert outcome.recovered_B.tolist() == [False] * 3 + [True] * 3


def test_examples_without_recovery_report_the_norm_they_were_given() -> None:
    problem = linear_problem()
    limit_B = 0.5 * least_norm(problem, Free())
    outcome = recover(problem, Attack(ascent(30), Free(), steps=30), limit_B)
    assert torch.allclose(norm(outcome.delta_BLQD), limit_B, rtol=1e-4)
    assert torch.allclose(outcome.score_B, score(problem, outcome.delta_BLQD), atol=1e-5)


# --- Random directions ------------------------------------------------------------------------


def test_random_directions_have_the_norm_of_the_limit_and_keep_the_constraint() -> None:
    problem, constraint = linear_problem(), orthogonal()
    limit_B = torch.linspace(1, 20, B)
    outcome = random_direction(problem, constraint, limit_B, list(range(B)))
    assert torch.allclose(norm(outcome.delta_BLQD), limit_B, rtol=1e-5)
    assert violation(basis_of(constraint), outcome.delta_BLQD) < 1e-6
    assert torch.equal(outcome.delta_BLQD[:, :, 1], torch.zeros(B, L, D))


def test_a_random_direction_recovers_where_the_score_says_so() -> None:
    problem = linear_problem()
    limit_B = 20 * least_norm(problem, Free())
    outcomes = [
        random_direction(problem, Free(), limit_B, list(range(at, at + B))) for at in (0, 50)
    ]
    for outcome in outcomes:
        assert torch.equal(outcome.recovered_B, score(problem, outcome.delta_BLQD) > 0)
        assert not outcome.failed_B.any()
    recovered = torch.stack([outcome.recovered_B for outcome in outcomes])
    assert recovered.any() and not recovered.all()


def test_no_random_direction_is_left_where_features_read_every_direction() -> None:
    problem = linear_problem()
    constraint = Orthogonal.to(torch.randn(D, 2 * D, generator=torch.Generator().manual_seed(0)))
    outcome = random_direction(problem, constraint, all_of(20.0), list(range(B)))
    assert torch.equal(outcome.delta_BLQD, torch.zeros(B, L, Q, D))
    assert not outcome.recovered_B.any()


def test_the_draw_of_an_example_ignores_the_columns_of_longer_prompts() -> None:
    problem = linear_problem(where_Q=(False, True, True, True))
    where_BLQ = problem.where_BLQ[..., 1:]
    assert isinstance(problem.goal, ScoreGoal)
    narrow = evolve(
        problem, tokens=problem.tokens.until(Q - 1), h_def={0: problem.h_def[0][:, 1:]},
        where_BLQ=where_BLQ, touched_BQ=where_BLQ.any(1), goal=evolve(problem.goal, column=Q - 2),
    )  # fmt: skip
    seeds = list(range(B))
    wide = random_direction(problem, Free(), all_of(1.0), seeds).delta_BLQD
    assert torch.equal(
        wide[:, :, 1:], random_direction(narrow, Free(), all_of(1.0), seeds).delta_BLQD
    )
