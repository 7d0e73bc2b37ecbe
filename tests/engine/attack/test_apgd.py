"""Auto-PGD: against a plain transcription of its algorithm, and where the answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from attrs import evolve
from torch import Tensor

from recoverdsl.engine.attack.constraints.free import Free
from recoverdsl.engine.attack.geometry import into_ball, norm
from recoverdsl.engine.attack.optimizers import Apgd, checkpoints
from recoverdsl.engine.attack.search import Attack, recover
from tests.engine.attack.test_search import (
    CONSTRAINTS,
    B,
    basis_of,
    least_norm,
    linear_problem,
    orthogonal,
    score,
    violation,
)

SIZE = 12


def bumpy(x: Tensor, seed: Tensor) -> Tensor:
    """Return a score for each row of x: smooth for seed 0, with many maxima for the others."""
    waves = (seed > 0) * torch.sin(x * (3 + seed[:, None])).sum(1)
    slopes = torch.linspace(1, 3, SIZE, dtype=x.dtype)
    return waves - (slopes * (x - 0.3 * seed[:, None] - 1).square()).sum(1)


def by_the_book(
    f: Callable[[np.ndarray], tuple[float, np.ndarray]], limit: float, steps: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Algorithm 1 of Croce and Hein for one example, from 0: every point that it evaluates, and the
    best of them."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    w = [math.ceil(round(p * steps, 9)) for p in shares]

    def project(x: np.ndarray) -> np.ndarray:
        return x * min(1.0, limit / max(np.linalg.norm(x), 1e-30))

    eta, x, before = 2 * limit, np.zeros(SIZE), np.zeros(SIZE)
    visited, values = [x], [f(x)[0]]
    best, best_value = x, values[0]
    halved_last, value_at_check = False, best_value
    for k in range(steps):
        if k in w[1:]:
            j = w.index(k)
            rises = sum(values[i + 1] > values[i] for i in range(w[j - 1], k))
            few = rises < 0.75 * (k - w[j - 1])
            stuck = not halved_last and best_value <= value_at_check
            halved_last, value_at_check = few or stuck, best_value
            if halved_last:
                eta, x, values[-1] = eta / 2, best, best_value
        gradient = f(x)[1]
        z = project(x + eta * gradient / np.linalg.norm(gradient))
        alpha = 0.75 if k else 1.0
        x, before = project(x + alpha * (z - x) + (1 - alpha) * (x - before)), x
        visited.append(x)
        values.append(f(x)[0])
        if values[-1] > best_value:
            best, best_value = x, values[-1]
    return visited, best


def test_it_visits_the_points_of_the_published_algorithm() -> None:
    steps, limits = 40, torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
    seeds = torch.arange(4, dtype=torch.float64)
    optimizer = Apgd(limits, steps)
    x = torch.zeros(4, 1, 1, SIZE, dtype=torch.float64)
    visited = [x[:, 0, 0].clone()]
    for _ in range(steps):
        x.requires_grad_(True)
        value = bumpy(x[:, 0, 0], seeds)
        (gradient,) = torch.autograd.grad(value.sum(), x)
        x = into_ball(optimizer.move(x.detach(), value.detach(), gradient), limits)
        visited.append(x[:, 0, 0].clone())
    halved = 0
    for row in range(4):

        def f(point: np.ndarray, row: int = row) -> tuple[float, np.ndarray]:
            at = torch.tensor(point[None], requires_grad=True)
            value = bumpy(at, seeds[row : row + 1])
            value.sum().backward()
            assert at.grad is not None
            return float(value.detach()), at.grad[0].numpy()

        expected, _ = by_the_book(f, float(limits[row]), steps)
        np.testing.assert_allclose(
            torch.stack(visited)[:, row].numpy(), np.stack(expected), atol=1e-9
        )
        halved += int(optimizer.length_B[row] < 2 * limits[row])
    assert halved, "no example ever halved its step"
    assert len(set((optimizer.length_B / limits).tolist())) > 1, "examples halve on their own"


def test_checkpoints_come_closer_together() -> None:
    at = sorted(checkpoints(100))
    assert at[:4] == [22, 41, 57, 70]
    gaps = np.diff([0, *at])
    assert (np.diff(gaps) <= 0).all() and gaps.min() >= 6
    assert min(checkpoints(50)) == 11


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_a_limit_just_above_the_minimum_recovers_everything_and_one_below_nothing(
    name: str,
) -> None:
    problem = linear_problem()
    constraint = CONSTRAINTS[name](problem)
    attack = Attack(lambda limit_B: Apgd(limit_B, 40), constraint, steps=40)
    least_B = least_norm(problem, constraint)
    assert recover(problem, attack, 1.01 * least_B).recovered_B.all()
    below = recover(problem, attack, 0.99 * least_B)
    assert not below.recovered_B.any()
    assert (norm(below.delta_BLQD) <= 0.99 * least_B * (1 + 1e-5)).all()


def test_it_keeps_the_constraint() -> None:
    problem, constraint = linear_problem(), orthogonal()
    attack = Attack(lambda limit_B: Apgd(limit_B, 30), constraint, 30, stop_when_recovered=False)
    found = recover(problem, attack, torch.full((B,), 20.0))
    assert violation(basis_of(constraint), found.delta_BLQD) < 1e-6


def test_an_attack_that_goes_on_ends_with_the_best_delta_that_it_met() -> None:
    problem = linear_problem()
    limit_B = 0.9 * least_norm(problem, Free())
    seen: list[Tensor] = []

    class Watched(Apgd):
        def move(self, delta_BLQD: Tensor, score_B: Tensor, gradient_BLQD: Tensor) -> Tensor:
            seen.append(score_B)
            moved = super().move(delta_BLQD, score_B, gradient_BLQD)
            # Spoils what follows, so that the last δ is not the best.
            return moved if self.t < 5 else -moved

    attack = Attack(lambda limit_B: Watched(limit_B, 9), Free(), 9, stop_when_recovered=False)
    found = recover(problem, attack, limit_B)
    assert (seen[-1] < torch.stack(seen).amax(0)).any()
    assert torch.equal(found.score_B, torch.stack(seen).amax(0))
    torch.testing.assert_close(score(problem, found.delta_BLQD), found.score_B)
    assert (found.steps_B == 9).all()


def test_an_example_moves_alike_alone_and_beside_others_that_leave() -> None:
    problem = linear_problem()
    factor_B = torch.tensor([3.0, 0.9, 3.0, 0.8, 2.0, 0.7])
    limit_B = factor_B * least_norm(problem, Free())
    attack = Attack(lambda limit_B: Apgd(limit_B, 25), Free(), steps=25)
    together = recover(problem, attack, limit_B)
    assert 0 < int(together.recovered_B.sum()) < B
    for row in range(B):
        only = torch.tensor([row])
        alone = recover(problem.take(only), attack, limit_B[only])
        torch.testing.assert_close(alone.delta_BLQD[0], together.delta_BLQD[row])
        assert alone.steps_B[0] == together.steps_B[row]


def test_a_score_that_is_no_number_fails_its_example_alone() -> None:
    problem = linear_problem()
    h_BQD = problem.h_def[0].clone()
    h_BQD[2, 1, 5] = torch.nan
    attack = Attack(lambda limit_B: Apgd(limit_B, 20), Free(), steps=20)
    found = recover(
        evolve(problem, h_def={0: h_BQD}), attack, 2 * least_norm(problem, Free()).nan_to_num(1.0)
    )
    assert found.failed_B.tolist() == [row == 2 for row in range(B)]
    assert found.recovered_B.tolist() == [row != 2 for row in range(B)]
