"""The least norm that recovers, by FMN (Pintor et al. 2021, "Fast minimum-norm adversarial attacks
through adaptive norm constraints", algorithm 1, ℓ2).

Beside bisection, which settles a radius before it tries the next, the radius follows δ from step to step:
it shrinks while the goal is reached and grows while it is not, by a share that decays to 0, and so does
the length of the steps. δ and its gradient stay in the null space of the constraint.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi
from typing import Any

import torch
from attrs import evolve
from torch import Tensor

from recoverdsl.engine.attack.constraints import Constraint
from recoverdsl.engine.attack.geometry import norm, normalized
from recoverdsl.engine.attack.problem import AttackProblem
from recoverdsl.engine.attack.search import Outcome, drawn_noise

SHARE = 0.2
"""How much the radius changes in the first step, γ₀; published 0.05, for more steps than are taken here."""

LONGEST, SHORTEST = 1.0, 0.01
"""Length of the first and the last step, as a share of the radius."""

BEYOND = 2.0
"""Norm of a random start, as a multiple of the least norm so far: the basin of a lesser norm is wider there."""


LESS = 1e-4
"""How much less a norm must be, as a share, to count as less: more than rounding, which differs from
batch to batch."""


def least_of_basins(
    problem: AttackProblem,
    constraint: Constraint[Any],
    best: Outcome,
    limit_B: Tensor,
    steps: int,
    seeds: Sequence[Sequence[list[int]]],
) -> Outcome:
    """Return, per example, the δ of the least norm that is found from random starts and then from the
    best one.

    Args:
        best: the δ to improve on; see `fast_minimum_norm`.
        limit_B: the largest norm that is tried.
        steps: how many are taken from a random start; twice as many from the best.
        seeds: for each random start, the seeds of its draws, one per example and draw.
    """
    for draws in seeds:
        radius_B = (BEYOND * norm(best.delta_BLQD)).minimum(limit_B)
        start = promising_start(problem, constraint, radius_B, draws)
        best = fast_minimum_norm(problem, constraint, best, start, steps)
    return fast_minimum_norm(problem, constraint, best, best.delta_BLQD, 2 * steps)


@torch.no_grad()
def promising_start(
    problem: AttackProblem,
    constraint: Constraint[Any],
    radius_B: Tensor,
    draws: Sequence[list[int]],
) -> Tensor:
    """Return, per example, the δ of the highest score of several in random directions of the
    constraint's null space, (B, L, Q, D): at one norm, the basin of the least norm tends to score
    highest.

    Args:
        draws: the seeds of each draw, one per example.
    """
    start, best_B = problem.zero_BLQD, torch.full_like(radius_B, -torch.inf)
    for seeds in draws:
        noise = drawn_noise(problem, seeds)[0]
        unit = normalized(constraint.tangent(problem, problem.zero_BLQD, noise, 0))
        delta = unit * radius_B[:, None, None, None]
        score_B = problem.score(delta)[0]
        # False for a score that is no number.
        higher_B = score_B > best_B
        start = torch.where(higher_B[:, None, None, None], delta, start)
        best_B = torch.where(higher_B, score_B, best_B)
    return start


def fast_minimum_norm(
    problem: AttackProblem,
    constraint: Constraint[Any],
    best: Outcome,
    start_BLQD: Tensor,
    steps: int,
) -> Outcome:
    """Return, per example, the δ of less norm that is found from a start, or else the best one so far.

    Only examples whose best δ recovers are searched, all of them at once, and all for as many steps.

    Args:
        best: the δ to improve on, with everything that is added to the clamped states.
        start_BLQD: where to begin; its norm is the first radius and the largest that is tried.
        steps: how many are taken, at least 1.
    """
    rows = best.recovered_B.nonzero().squeeze(1)
    if not len(rows):
        return best
    live = problem.take(rows)
    least_R = norm(best.delta_BLQD[rows])
    found = evolve(best, delta_BLQD=best.delta_BLQD.clone(), score_B=best.score_B.clone())
    largest_R = radius_R = norm(start_BLQD[rows])
    delta = constraint.admit(live, start_BLQD[rows], radius_R)
    shortest_R = torch.full_like(radius_R, torch.inf)
    for step in range(steps + 1):
        delta.requires_grad_(True)
        with torch.enable_grad():
            score_R, reached_R = live.score(delta)
            (gradient,) = torch.autograd.grad(score_R.sum(), delta)
        delta = delta.detach()
        total = live.total(delta)
        size_R = norm(live.added(delta))
        finite_R = score_R.detach().isfinite() & gradient.flatten(1).isfinite().all(1)
        reached_R = reached_R & finite_R
        less_R = reached_R & (size_R < (1 - LESS) * least_R)
        found.delta_BLQD[rows[less_R]] = total[less_R]
        found.score_B[rows[less_R]] = score_R.detach()[less_R]
        least_R = torch.where(less_R, size_R, least_R)
        shortest_R = torch.where(reached_R, size_R.minimum(shortest_R), shortest_R)
        if step == steps:
            break
        decay = (1 + cos(pi * step / steps)) / 2
        share = SHARE * decay
        shrunk_R = (radius_R * (1 - share)).minimum(shortest_R)
        radius_R = torch.where(reached_R, shrunk_R, radius_R * (1 + share)).minimum(largest_R)
        length_R = radius_R * (SHORTEST + (LONGEST - SHORTEST) * decay)
        # An example whose score is no number goes on from nothing, and finds nothing more.
        gradient = torch.where(finite_R[:, None, None, None], gradient, 0.0)
        gradient = constraint.tangent(live, delta, gradient, step)
        moved = delta + length_R[:, None, None, None] * normalized(gradient)
        delta = constraint.admit(live, moved, radius_R)
    return evolve(found, steps_B=found.steps_B.index_add(0, rows, torch.full_like(rows, steps)))
