"""The attack: a small residual perturbation δ that brings the behavior back under the active clamp.

All examples of a batch are optimized at once, each with its own δ, limit and end. Losses are summed,
so no example's gradient sees another's. An example that is done leaves the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from attrs import evolve, field, frozen
from torch import Tensor

from recoverdsl.engine.constraints import Constraint, into_ball, norm, normalized
from recoverdsl.engine.families import Family
from recoverdsl.engine.forward import Prefix, Tokens, run_layers
from recoverdsl.engine.objectives import Objective, holds
from recoverdsl.language.schema import Predicate


@frozen(eq=False)
class Problem:
    """A batch of defended examples: all that stays fixed while δ changes.

    δ acts at `boundary`, on the columns from `first` on (Q of them) where `where_BQ` is true. It is
    added after the clamp: `h_def_BQD` is the clamped residual stream, float32.
    """

    family: Family
    boundary: int
    tokens: Tokens
    first: int
    h_def_BQD: Tensor
    where_BQ: Tensor
    prefix: Prefix
    objective: Objective
    predicate: Predicate

    def __len__(self) -> int:
        return len(self.h_def_BQD)

    def score(self, delta_BQD: Tensor) -> Tensor:
        """Scores (B,) with δ in place, differentiable in δ. Runs the suffix only."""
        h_BQD = (self.h_def_BQD + delta_BQD).to(self.family.dtype)
        h_BQD = run_layers(
            self.family, h_BQD, self.tokens, start=self.boundary, stop=self.family.n_layers,
            first=self.first, cache=self.prefix,
        )  # fmt: skip
        return self.objective(self.family, h_BQD[:, -1])

    def take(self, rows: Tensor) -> Problem:
        return evolve(
            self, tokens=self.tokens.take(rows), h_def_BQD=self.h_def_BQD[rows],
            where_BQ=self.where_BQ[rows], prefix=self.prefix.take(rows),
            objective=self.objective.take(rows),
        )  # fmt: skip


class Optimizer(Protocol):
    """Turns gradients of the score into steps that raise it. State is per example."""

    def step(self, gradient_BQD: Tensor) -> Tensor: ...

    def take(self, rows: Tensor) -> None: ...


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1), for maximization."""

    def __init__(self, lr: float) -> None:
        self.lr, self.t = lr, 0
        self.mean = self.square = torch.zeros(())

    def step(self, gradient_BQD: Tensor) -> Tensor:
        self.t += 1
        self.mean = 0.9 * self.mean + 0.1 * gradient_BQD
        self.square = 0.999 * self.square + 0.001 * gradient_BQD**2
        mean = self.mean / (1 - 0.9**self.t)
        square = self.square / (1 - 0.999**self.t)
        return self.lr * mean / (square.sqrt() + 1e-8)

    def take(self, rows: Tensor) -> None:
        if self.t:
            self.mean, self.square = self.mean[rows], self.square[rows]


class SteepestAscent:
    """Steps along the gradient, of the length `length_B` × `schedule(t)` whatever its size.

    With a ball as the only limit this converges to the direction of the gradient itself, which the
    per-coordinate scaling of Adam does not.
    """

    def __init__(self, length_B: Tensor, schedule: Callable[[int], float] = lambda t: 1.0) -> None:
        self.length_B, self.schedule, self.t = length_B, schedule, 0

    def step(self, gradient_BQD: Tensor) -> Tensor:
        length_B = self.length_B * self.schedule(self.t)
        self.t += 1
        return length_B[:, None, None] * normalized(gradient_BQD)

    def take(self, rows: Tensor) -> None:
        self.length_B = self.length_B[rows]


@frozen(eq=False)
class Outcome:
    """What an attack found, per example. `delta_BQD` is float32, zero where δ may not act."""

    delta_BQD: Tensor
    score_B: Tensor
    recovered_B: Tensor
    steps_B: Tensor
    """Steps taken until the behavior was back, or in all."""
    failed_B: Tensor
    """True where the score or its gradient stopped being a number; δ is then zero."""


@frozen(eq=False)
class Attack:
    """How δ is searched. `optimizer` makes a fresh one from the limits of the batch."""

    optimizer: Callable[[Tensor], Optimizer]
    constraint: Constraint
    steps: int
    stop_when_recovered: bool = field(default=True)


def recover(
    problem: Problem,
    attack: Attack,
    limit_B: Tensor,
    start_BQD: Tensor | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Outcome:
    """Maximizes the score over ‖δ‖ ≤ `limit_B` and the attack's constraint.

    Args:
        limit_B: largest Frobenius norm of each example's δ (C4), positive.
        start_BQD: where to begin; zero if not given.
        progress: called after each step with the number of examples that are done.
    """
    mask_BQ1 = problem.where_BQ[..., None]

    def admissible(delta: Tensor, limit: Tensor, mask: Tensor) -> Tensor:
        return into_ball(attack.constraint(delta * mask), limit)

    delta = torch.zeros_like(problem.h_def_BQD) if start_BQD is None else start_BQD
    delta = admissible(delta, limit_B, mask_BQ1)
    best = Outcome(
        delta_BQD=delta.clone(),
        score_B=torch.full((len(problem),), torch.nan, device=delta.device),
        recovered_B=torch.zeros(len(problem), dtype=torch.bool, device=delta.device),
        steps_B=torch.zeros(len(problem), dtype=torch.long, device=delta.device),
        failed_B=torch.zeros(len(problem), dtype=torch.bool, device=delta.device),
    )
    rows = torch.arange(len(problem), device=delta.device)
    live, limit, mask = problem, limit_B, mask_BQ1
    optimizer = attack.optimizer(limit_B)
    for step in range(attack.steps + 1):
        delta.requires_grad_(True)
        with torch.enable_grad():
            score = live.score(delta)
            (gradient,) = torch.autograd.grad(score.sum(), delta)
        delta = delta.detach()
        score = score.detach()

        broken = ~(score.isfinite() & gradient.flatten(1).isfinite().all(1))
        back = holds(problem.predicate, score) & ~broken
        best.score_B[rows] = score
        best.steps_B[rows] = step
        best.recovered_B[rows] = back
        best.failed_B[rows] = broken
        best.delta_BQD[rows] = torch.where(broken[:, None, None], 0.0, delta)

        stay = ~broken & ~back if attack.stop_when_recovered else ~broken
        progress(len(problem) - int(stay.sum()))
        if step == attack.steps or not stay.any():
            break
        if not stay.all():
            kept = stay.nonzero().squeeze(1)
            rows, live, delta, gradient = rows[kept], live.take(kept), delta[kept], gradient[kept]
            limit, mask = limit[kept], mask[kept]
            optimizer.take(kept)
        # The part of the gradient that δ cannot follow would shorten the step along the rest.
        gradient = attack.constraint(gradient * mask)
        delta = admissible(delta + optimizer.step(gradient), limit, mask)
    return best


def smallest_norm(
    problem: Problem,
    found: Outcome,
    attack: Attack,
    within: float,
    progress: Callable[[int], None] = lambda done: None,
) -> Outcome:
    """The least norm that recovers, per example, by warm-started bisection of all examples at once.

    Between the largest norm that failed (0 at first: a valid flip does not hold undisturbed) and the
    smallest that recovered, the middle is tried from the best δ so far, scaled down. An example
    ends when the two are `within` × the smallest apart. Examples that `found` did not recover stay
    as they are.

    Args:
        attack: `steps` is per tried radius; its optimizer is given the radii.
    """
    best = evolve(found, delta_BQD=found.delta_BQD.clone(), score_B=found.score_B.clone())
    high_B = norm(best.delta_BQD)
    low_B = torch.zeros_like(high_B)
    steps_B = found.steps_B.clone()
    while True:
        radius_B = (low_B + high_B) / 2
        # Numbers end somewhere: a middle that is one of the two ends has nothing left to try.
        between_B = (low_B < radius_B) & (radius_B < high_B)
        open_B = found.recovered_B & between_B & (high_B - low_B > within * high_B)
        progress(int((~open_B).sum()))
        rows = open_B.nonzero().squeeze(1)
        if not len(rows):
            return evolve(best, steps_B=steps_B)
        radius = radius_B[rows]
        start = best.delta_BQD[rows] * (radius / high_B[rows])[:, None, None]
        tried = recover(problem.take(rows), attack, radius, start)
        steps_B[rows] += tried.steps_B
        success = rows[tried.recovered_B]
        best.delta_BQD[success] = tried.delta_BQD[tried.recovered_B]
        best.score_B[success] = tried.score_B[tried.recovered_B]
        found_norm = norm(tried.delta_BQD[tried.recovered_B])
        high_B[success] = found_norm.minimum(radius[tried.recovered_B])
        low_B[rows[~tried.recovered_B]] = radius[~tried.recovered_B]


def random_direction(
    problem: Problem, constraint: Constraint, limit_B: Tensor, seeds: list[int], draws: int
) -> Outcome:
    """δ of norm `limit_B` in a random direction that keeps the constraint; the best of `draws`.

    Args:
        seeds: one per example, so that a draw does not depend on the rest of the batch.
    """
    best: Outcome | None = None
    for draw in range(draws):
        noise = torch.zeros_like(problem.h_def_BQD)
        for row, seed in enumerate(seeds):
            generator = torch.Generator().manual_seed(seed + draw)
            where_Q = problem.where_BQ[row]
            # Only where δ acts, so that the columns of longer prompts change nothing.
            drawn_PD = torch.randn(int(where_Q.sum()), noise.shape[-1], generator=generator)
            noise[row, where_Q] = drawn_PD.to(noise)
        delta = normalized(constraint(noise)) * limit_B[:, None, None]
        with torch.no_grad():
            score = problem.score(delta)
        broken = ~score.isfinite()
        now = Outcome(
            torch.where(broken[:, None, None], 0.0, delta),
            score,
            holds(problem.predicate, score) & ~broken,
            torch.zeros_like(broken, dtype=torch.long),
            broken,
        )
        best = now if best is None else _better(best, now)
    assert best is not None
    return best


def _better(a: Outcome, b: Outcome) -> Outcome:
    """Row by row the outcome that recovered, or else the one with the higher score, failures last."""
    second_B = (b.recovered_B & ~a.recovered_B) | (
        (b.recovered_B == a.recovered_B) & ((b.score_B > a.score_B) | (a.failed_B & ~b.failed_B))
    )

    def pick(x: Tensor, y: Tensor) -> Tensor:
        return torch.where(second_B.view(-1, *[1] * (x.dim() - 1)), y, x)

    return Outcome(
        pick(a.delta_BQD, b.delta_BQD), pick(a.score_B, b.score_B),
        pick(a.recovered_B, b.recovered_B), pick(a.steps_B, b.steps_B), a.failed_B & b.failed_B,
    )  # fmt: skip
