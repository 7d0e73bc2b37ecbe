"""Optimizers of δ and of trained suffixes, built from the schema's functions that name them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from recoverdsl.engine.attack.geometry import normalized
from recoverdsl.language import schema


class Optimizer(Protocol):
    """Turns gradients of the score into steps that raise it. State is per example."""

    def step(self, gradient_BLQD: Tensor) -> Tensor:
        """Return the change of δ, (B, L, Q, D)."""
        ...

    def take(self, rows: Tensor) -> None:
        """Keep these rows of the batch only."""
        ...


class Adam:
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


class SteepestAscent:
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


OPTIMIZERS: dict[type, Callable[[Any, int, torch.device], Optimizer]] = {
    schema.Adam: lambda config, count, device: Adam(config.lr),
    schema.Gradient: lambda config, count, device: SteepestAscent(
        torch.full((count,), config.lr, device=device)
    ),
}


def optimizer_of(
    config: schema.Adam | schema.Gradient, count: int, device: torch.device
) -> Optimizer:
    """Return a fresh optimizer of the kind that a spec names, for a batch of `count` examples."""
    return OPTIMIZERS[type(config)](config, count, device)
