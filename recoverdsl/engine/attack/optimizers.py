"""Optimizers of δ and of trained suffixes, built from the schema's functions that name them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import ceil
from typing import Any, ClassVar

import torch
from torch import Tensor

from recoverdsl.engine.attack.geometry import into_ball, normalized
from recoverdsl.language import schema


class Optimizer(ABC):
    """Moves δ so that the score rises. State is per example."""

    keeps_best: ClassVar[bool] = False
    """Whether an attack ends with the best δ that was met, instead of the last."""

    @abstractmethod
    def move(self, delta_BLQD: Tensor, score_B: Tensor, gradient_BLQD: Tensor) -> Tensor:
        """Return the next δ (B, L, Q, D), before the constraint is applied to it, from the score at
        this one and the gradient that the constraint allows."""

    @abstractmethod
    def take(self, rows: Tensor) -> None:
        """Keep these rows of the batch only."""


class Stepper(Optimizer):
    """An optimizer whose steps depend on gradients alone."""

    def move(self, delta_BLQD: Tensor, score_B: Tensor, gradient_BLQD: Tensor) -> Tensor:
        return delta_BLQD + self.step(gradient_BLQD)

    @abstractmethod
    def step(self, gradient_BLQD: Tensor) -> Tensor:
        """Return the change of δ, (B, L, Q, D)."""


class Adam(Stepper):
    """Adam (Kingma & Ba 2015, algorithm 1), for maximization."""

    def __init__(self, lr: float) -> None:
        self.lr, self.t = lr, 0
        self.mean = self.square = torch.zeros(())

    def step(self, gradient_BLQD: Tensor) -> Tensor:
        self.t += 1
        self.mean = 0.9 * self.mean + 0.1 * gradient_BLQD
        self.square = 0.999 * self.square + 0.001 * gradient_BLQD**2
        mean = self.mean / (1 - 0.9**self.t)
        square = self.square / (1 - 0.999**self.t)
        return self.lr * mean / (square.sqrt() + 1e-8)

    def take(self, rows: Tensor) -> None:
        if self.t:
            self.mean, self.square = self.mean[rows], self.square[rows]


class SteepestAscent(Stepper):
    """Steps along the gradient, of the length `length_B` × `schedule(t)` whatever its size.

    With a ball as the only limit this converges to the direction of the gradient itself, which the
    per-coordinate scaling of Adam does not.
    """

    def __init__(self, length_B: Tensor, schedule: Callable[[int], float] = lambda t: 1.0) -> None:
        self.length_B, self.schedule, self.t = length_B, schedule, 0

    def step(self, gradient_BLQD: Tensor) -> Tensor:
        length_B = self.length_B * self.schedule(self.t)
        self.t += 1
        return length_B[:, None, None, None] * normalized(gradient_BLQD)

    def take(self, rows: Tensor) -> None:
        self.length_B = self.length_B[rows]


class Apgd(Optimizer):
    """Auto-PGD for the ℓ2 ball (Croce & Hein 2020, algorithm 1), for maximization.

    Steps along the normalized gradient with momentum, of twice the limit at first. At checkpoints, which
    come closer together, an example halves its step and goes back to its best δ if fewer than three
    quarters of the steps since the last checkpoint raised the score, or if neither its step nor its
    best score has changed since. The search starts where the attack does, and not at a random point.

    The projection within a step is onto the ball alone: gradients are already those that the constraint
    allows, and the constraint is applied to the δ that results.
    """

    keeps_best = True
    MOMENTUM: ClassVar[float] = 0.75
    """Share of the new step in a move, α; the rest repeats the move before."""
    RISING: ClassVar[float] = 0.75
    """Share of steps that must raise the score, ρ."""

    def __init__(self, limit_B: Tensor, steps: int) -> None:
        self.limit_B, self.length_B = limit_B, 2 * limit_B
        self.checkpoints = checkpoints(steps)
        self.t = self.since = 0
        self.rises_B = torch.zeros_like(limit_B)
        self.score_B = self.best_B = torch.full_like(limit_B, -torch.inf)
        self.halved_B = torch.zeros_like(limit_B, dtype=torch.bool)
        self.checked_B = self.best_B
        self.before = self.best = self.best_gradient = torch.zeros(())

    def move(self, delta_BLQD: Tensor, score_B: Tensor, gradient_BLQD: Tensor) -> Tensor:
        if not self.t:
            self.before, self.best, self.best_gradient = delta_BLQD, delta_BLQD, gradient_BLQD
            self.checked_B = score_B
        self.rises_B = self.rises_B + (score_B > self.score_B) * (self.t > 0)
        self.score_B = score_B
        better_B = score_B > self.best_B
        self.best_B = score_B.maximum(self.best_B)
        self.best = _chosen(better_B, delta_BLQD, self.best)
        self.best_gradient = _chosen(better_B, gradient_BLQD, self.best_gradient)
        now = delta_BLQD
        if self.t in self.checkpoints:
            halve_B = self._check()
            self.length_B = torch.where(halve_B, self.length_B / 2, self.length_B)
            now = _chosen(halve_B, self.best, now)
            gradient_BLQD = _chosen(halve_B, self.best_gradient, gradient_BLQD)
            self.score_B = torch.where(halve_B, self.best_B, self.score_B)
        length_B111 = self.length_B[:, None, None, None]
        ahead = into_ball(now + length_B111 * normalized(gradient_BLQD), self.limit_B)
        share = self.MOMENTUM if self.t else 1.0
        moved = now + share * (ahead - now) + (1 - share) * (now - self.before)
        self.before = now
        self.t += 1
        return moved

    def _check(self) -> Tensor:
        """Return which examples halve their step at a checkpoint, (B,)."""
        rare_B = self.rises_B < self.RISING * (self.t - self.since)
        stuck_B = ~self.halved_B & (self.best_B <= self.checked_B)
        self.halved_B = rare_B | stuck_B
        self.checked_B, self.since = self.best_B, self.t
        self.rises_B = torch.zeros_like(self.rises_B)
        return self.halved_B

    def take(self, rows: Tensor) -> None:
        for name in (
            "limit_B",
            "length_B",
            "rises_B",
            "score_B",
            "best_B",
            "halved_B",
            "checked_B",
        ):
            setattr(self, name, getattr(self, name)[rows])
        if self.t:
            for name in ("before", "best", "best_gradient"):
                setattr(self, name, getattr(self, name)[rows])


def checkpoints(steps: int) -> frozenset[int]:
    """Return the steps after which Auto-PGD may halve its step: shares 0.22, 0.41, 0.57, … of all, each
    interval 0.03 shorter than the one before and none below 0.06."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    # Rounded first: 0.22 · 50 is a little above 11 in floating point.
    return frozenset(ceil(round(share * steps, 9)) for share in shares[1:])


def _chosen(mask_B: Tensor, yes_BLQD: Tensor, no_BLQD: Tensor) -> Tensor:
    return torch.where(mask_B[:, None, None, None], yes_BLQD, no_BLQD)


OPTIMIZERS: dict[type, Callable[[Any, Tensor, int], Optimizer]] = {
    schema.Adam: lambda config, limit_B, steps: Adam(config.lr),
    schema.Gradient: lambda config, limit_B, steps: SteepestAscent(
        torch.full_like(limit_B, config.lr)
    ),
    schema.Apgd: lambda config, limit_B, steps: Apgd(limit_B, steps),
}


def optimizer_of(config: schema.Optimizer, limit_B: Tensor, steps: int) -> Optimizer:
    """Return a fresh optimizer of the kind that a spec names.

    Args:
        limit_B: the largest norm of each example's δ, float32; infinite without a limit.
        steps: how many steps it will take at most.
    """
    return OPTIMIZERS[type(config)](config, limit_B, steps)
