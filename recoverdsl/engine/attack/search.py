"""The attack: a small residual perturbation δ that brings the behavior back under the active clamp.

All examples of a batch are optimized at once, each with its own δ, limit and end. Losses are summed,
so no example's gradient sees another's. An example that is done leaves the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from attrs import evolve, field, frozen
from torch import Tensor

from recoverdsl.engine.attack.constraints import Constraint
from recoverdsl.engine.attack.geometry import norm, normalized
from recoverdsl.engine.attack.meter import UNCOUNTED, Meter
from recoverdsl.engine.attack.optimizers import Optimizer
from recoverdsl.engine.attack.problem import AttackProblem


@frozen(eq=False)
class Outcome:
    """The result of an attack, per example.

    `delta_BLQD` is float32: everything that is added to the clamped states, corrections and earlier
    stages included.
    """

    delta_BLQD: Tensor
    score_B: Tensor
    recovered_B: Tensor
    steps_B: Tensor
    """Steps taken until the behavior was back, or in all."""
    failed_B: Tensor
    """True where the score or its gradient was not a finite number; δ is then zero."""

    @classmethod
    def none(cls, problem: AttackProblem) -> Outcome:
        """Return an outcome with δ = 0, no score, and nothing recovered."""
        count, delta = len(problem), problem.zero_BLQD
        return cls(
            delta_BLQD=delta,
            score_B=torch.full((count,), torch.nan, device=delta.device),
            recovered_B=torch.zeros(count, dtype=torch.bool, device=delta.device),
            steps_B=torch.zeros(count, dtype=torch.long, device=delta.device),
            failed_B=torch.zeros(count, dtype=torch.bool, device=delta.device),
        )

    def improved(self, rows: Tensor, other: Outcome) -> Outcome:
        """Return this outcome with what another search found for some of its examples, where that is
        better: recovered, or else not failed, or else of a higher score. Steps add up.

        Args:
            rows: the examples (R,) that `other` is about, none of which has recovered here.
        """
        score_R = self.score_B[rows]
        higher_R = ~other.failed_B & (self.failed_B[rows] | (other.score_B > score_R))
        taken_R = other.recovered_B | higher_R
        at = rows[taken_R]
        return Outcome(
            delta_BLQD=self.delta_BLQD.index_copy(0, at, other.delta_BLQD[taken_R]),
            score_B=self.score_B.index_copy(0, at, other.score_B[taken_R]),
            recovered_B=self.recovered_B.index_copy(0, at, other.recovered_B[taken_R]),
            steps_B=self.steps_B.index_add(0, rows, other.steps_B),
            failed_B=self.failed_B.index_copy(0, at, other.failed_B[taken_R]),
        )


@frozen(eq=False)
class Attack:
    """How δ is searched. `optimizer` returns a new optimizer for the limits of a batch."""

    optimizer: Callable[[Tensor], Optimizer]
    constraint: Constraint[Any]
    steps: int
    stop_when_recovered: bool = field(default=True)
    forward_passes: int | None = None
    """How many may be spent on each example: no step is taken that would exceed it if it cost as many
    as the step before; None if as many as the steps need."""


def recover(
    problem: AttackProblem,
    attack: Attack,
    limit_B: Tensor,
    start_BLQD: Tensor | None = None,
    progress: Callable[[int], None] = lambda done: None,
    meter: Meter | None = None,
) -> Outcome:
    """Maximize the score over ‖δ‖ ≤ `limit_B` and the attack's constraint, and return what was found.

    Args:
        limit_B: largest Frobenius norm of what each example's δ adds (C4), positive.
        start_BLQD: where to begin; zero if not given.
        progress: called after each step with the number of examples that are done.
        meter: counts the cost of the search; a new one if not given.
    """
    delta = problem.zero_BLQD if start_BLQD is None else start_BLQD
    meter = meter or Meter.of(len(problem), delta.device)
    delta = attack.constraint.admit(problem, delta, limit_B, meter)
    best = Outcome.none(problem)
    rows = torch.arange(len(problem), device=delta.device)
    live, limit = problem, limit_B
    spent_B = meter.forward_passes_B.clone()
    optimizer = attack.optimizer(limit_B)
    for step in range(attack.steps + 1):
        delta.requires_grad_(True)
        with torch.enable_grad():
            score, reached = live.score(delta, meter)
            (gradient,) = torch.autograd.grad(score.sum(), delta)
        meter.spend(gradients=1)
        delta = delta.detach()
        score = score.detach()

        broken = ~(score.isfinite() & gradient.flatten(1).isfinite().all(1))
        back = reached & ~broken
        best.steps_B[rows] = step
        best.failed_B[rows] = broken
        kept = torch.ones_like(broken)
        if optimizer.keeps_best and step:
            before_B, had_B = best.score_B[rows], best.recovered_B[rows]
            kept = broken | (back & ~had_B) | ((back == had_B) & (score > before_B))
        best.score_B[rows[kept]] = score[kept]
        best.recovered_B[rows[kept]] = back[kept]
        shown = torch.where(broken[:, None, None, None], 0.0, delta)
        best.delta_BLQD[rows[kept]] = shown[kept]

        stay = ~broken & ~back if attack.stop_when_recovered else ~broken
        if attack.forward_passes is not None:
            now_B = meter.forward_passes_B.clone()
            stay = stay & (2 * now_B - spent_B <= attack.forward_passes)[meter.members_B]
            spent_B = now_B
        progress(len(problem) - int(stay.sum()))
        if step == attack.steps or not stay.any():
            break
        if not stay.all():
            left = stay.nonzero().squeeze(1)
            rows, live, meter = rows[left], live.take(left), meter.take(left)
            delta, gradient, limit = delta[left], gradient[left], limit[left]
            score = score[left]
            optimizer.take(left)
        # The part of the gradient that δ cannot follow would shorten the step along the rest.
        gradient = attack.constraint.tangent(live, delta, gradient, step, meter)
        moved = optimizer.move(delta, score, gradient)
        delta = attack.constraint.admit(live, moved, limit, meter)
    return evolve(best, delta_BLQD=_total(problem, best.delta_BLQD, best.failed_B))


def smallest_norm(
    problem: AttackProblem,
    found: Outcome,
    attack: Attack,
    within: float,
    progress: Callable[[int], None] = lambda done: None,
) -> Outcome:
    """Return the δ of least norm that recovers, per example, by warm-started bisection of all
    examples at once.

    Between the largest norm that failed (0 at first: a valid flip does not hold undisturbed) and the
    smallest that recovered, the middle is tried from the best δ so far, scaled down. An example
    ends when the two are `within` × the smallest apart. Examples that `found` did not recover are not
    searched.

    Args:
        found: the δ to start from, which recover within a limit.
        attack: `steps` is per tried radius, and its optimizer gets the radii as limits.
        within: relative precision of the norm, in (0, 1).
        progress: called after each radius with the number of examples that are done.
    """
    best = evolve(found, delta_BLQD=found.delta_BLQD.clone(), score_B=found.score_B.clone())
    high_B = norm(best.delta_BLQD)
    low_B = torch.zeros_like(high_B)
    steps_B = found.steps_B.clone()
    while True:
        radius_B = (low_B + high_B) / 2
        # Floating point limits the bisection: a middle that is one of the ends leaves nothing to try.
        between_B = (low_B < radius_B) & (radius_B < high_B)
        open_B = found.recovered_B & between_B & (high_B - low_B > within * high_B)
        progress(int((~open_B).sum()))
        rows = open_B.nonzero().squeeze(1)
        if not len(rows):
            return evolve(best, steps_B=steps_B)
        radius = radius_B[rows]
        start = best.delta_BLQD[rows] * (radius / high_B[rows])[:, None, None, None]
        tried = recover(problem.take(rows), attack, radius, start)
        steps_B[rows] += tried.steps_B
        success = rows[tried.recovered_B]
        best.delta_BLQD[success] = tried.delta_BLQD[tried.recovered_B]
        best.score_B[success] = tried.score_B[tried.recovered_B]
        found_norm = norm(tried.delta_BLQD[tried.recovered_B])
        high_B[success] = found_norm.minimum(radius[tried.recovered_B])
        low_B[rows[~tried.recovered_B]] = radius[~tried.recovered_B]


def random_direction(
    problem: AttackProblem, constraint: Constraint[Any], limit_B: Tensor, seeds: list[int]
) -> Outcome:
    """Return δ of norm `limit_B` in a random direction that keeps the constraint.

    Args:
        seeds: one per example, so that a draw does not depend on the rest of the batch.
    """
    noise, _ = drawn_noise(problem, seeds)
    delta = in_direction(problem, constraint, noise, limit_B)
    with torch.no_grad():
        score_B, reached_B = problem.score(delta)
    broken_B = ~score_B.isfinite()
    return evolve(
        Outcome.none(problem), delta_BLQD=_total(problem, delta, broken_B), score_B=score_B,
        recovered_B=reached_B & ~broken_B, failed_B=broken_B,
    )  # fmt: skip


def random_start(
    problem: AttackProblem,
    constraint: Constraint[Any],
    limit_B: Tensor,
    seeds: list[int],
    meter: Meter = UNCOUNTED,
) -> Tensor:
    """Return δ (B, L, Q, D) in a random direction that keeps the constraint, of a norm drawn
    uniformly from 0 to `limit_B`.

    Args:
        seeds: one per example, so that a draw does not depend on the rest of the batch.
    """
    noise, share_B = drawn_noise(problem, seeds)
    return in_direction(problem, constraint, noise, share_B * limit_B, meter)


def drawn_noise(problem: AttackProblem, seeds: list[int]) -> tuple[Tensor, Tensor]:
    """Return normal noise (B, L, Q, D) where δ acts, and a number in [0, 1) for each example, (B,)."""
    noise, shares = problem.zero_BLQD, []
    for row, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(seed)
        where_LQ = problem.where_BLQ[row]
        # Only where δ acts, so that the columns of longer prompts change nothing.
        drawn_PD = torch.randn(int(where_LQ.sum()), noise.shape[-1], generator=generator)
        noise[row, where_LQ] = drawn_PD.to(noise)
        shares.append(torch.rand((), generator=generator))
    return noise, torch.stack(shares).to(noise)


def in_direction(
    problem: AttackProblem,
    constraint: Constraint[Any],
    direction_BLQD: Tensor,
    limit_B: Tensor,
    meter: Meter = UNCOUNTED,
) -> Tensor:
    """Return a δ of norm `limit_B` along a direction, as far as the constraint lets δ follow it."""
    unit_BLQD = normalized(constraint.tangent(problem, problem.zero_BLQD, direction_BLQD, 0, meter))
    delta_BLQD = constraint.admit(problem, unit_BLQD * limit_B[:, None, None, None], limit_B, meter)
    for _ in range(3):
        # The correction of δ may have shortened it.
        size_B = norm(problem.added(delta_BLQD, meter))
        short_B = (size_B < 0.999 * limit_B) & (size_B > 1e-6 * limit_B)
        if not short_B.any():
            break
        scale_B = torch.where(short_B, limit_B / size_B.clamp(min=1e-30), 1.0)
        scaled_BLQD = delta_BLQD * scale_B[:, None, None, None]
        delta_BLQD = constraint.admit(problem, scaled_BLQD, limit_B, meter)
    return delta_BLQD


@torch.no_grad()
def outcome_of(
    problem: AttackProblem, delta_BLQD: Tensor, failed_B: Tensor | None = None
) -> Outcome:
    """Return the outcome of a given δ.

    Args:
        failed_B: which examples have no δ; none if not given.
    """
    score_B, reached_B = problem.score(delta_BLQD)
    broken_B = ~score_B.isfinite() if failed_B is None else failed_B | ~score_B.isfinite()
    return evolve(
        Outcome.none(problem), delta_BLQD=delta_BLQD, score_B=score_B,
        recovered_B=reached_B & ~broken_B, failed_B=broken_B,
    )  # fmt: skip


def _total(problem: AttackProblem, delta_BLQD: Tensor, failed_B: Tensor) -> Tensor:
    # For the record, and no part of what the search costs.
    return torch.where(failed_B[:, None, None, None], 0.0, problem.total(delta_BLQD))
