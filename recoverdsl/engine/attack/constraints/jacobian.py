"""The null space of the protected features' Jacobian, in which features of several layers do not drift.

A δ at one layer moves features of later ones. Φ(δ) holds, for every monitored site and perturbed
position, the change of the protected features' pre-activations; J = ∂Φ/∂δ has a row for each of them
and a column for each entry of δ, and is far too large to hold. Products with it are enough: Jᵀy is one
backward pass and Jv the derivative of such a pass, both for a whole batch at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from attrs import frozen
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from recoverdsl.engine.attack.constraints.constraint import Constraint
from recoverdsl.engine.attack.constraints.readings import readings
from recoverdsl.engine.attack.geometry import into_ball
from recoverdsl.engine.attack.meter import UNCOUNTED, Meter
from recoverdsl.engine.attack.problem import AttackProblem, Trace
from recoverdsl.errors import UnavailableError
from recoverdsl.language import schema

AT_BOUND = 1e-5
"""How far below its bound a feature still counts as being at it."""

EXCESS = 1e-5
"""How much of Φ the corrections may leave, as a share of the norm that δ may have."""


@frozen(eq=False)
class Linearization:
    """Φ (B, R) at one δ, and products with its Jacobian J (B, R, L·Q·D)."""

    phi_BR: Tensor
    pull: Callable[[Tensor], Tensor]
    """y (B, R) → Jᵀy (B, L, Q, D)."""
    push: Callable[[Tensor], Tensor]
    """v (B, L, Q, D) → Jv (B, R)."""


def linearize(
    problem: AttackProblem, delta_BLQD: Tensor, meter: Meter = UNCOUNTED
) -> Linearization:
    """Return Φ and J at δ, over the entries of δ that may act."""
    # The fused attention kernels have no second derivative.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        delta = delta_BLQD.detach().requires_grad_(True)
        phi_BR = preactivation_change(problem, problem.trace(problem.place(delta), meter))
        y_BR = torch.zeros_like(phi_BR, requires_grad=True)
        (pulled,) = torch.autograd.grad(phi_BR, delta, y_BR, create_graph=True)

    meter.spend(gradients=1)

    def pull(y: Tensor) -> Tensor:
        (product,) = torch.autograd.grad(phi_BR, delta, y, retain_graph=True)
        return product

    def push(v: Tensor) -> Tensor:
        # Jᵀy is linear in y, so its derivative in y along v is Jv.
        (product,) = torch.autograd.grad(pulled, y_BR, v, retain_graph=True)
        return product

    return Linearization(phi_BR.detach(), pull, push)


def preactivation_change(problem: AttackProblem, trace: Trace) -> Tensor:
    """Return Φ (B, R): pre-activations minus their defended values, in units of each encoder
    column's norm.

    It is zero at positions that are not perturbed, or at which features are not read.
    """
    parts = []
    for reading in readings(problem):
        phi_BQS = (reading.state(trace) - reading.defended(problem)) @ reading.unit_A_DS
        parts.append((phi_BQS * reading.where_BQ[..., None]).flatten(1))
    return torch.cat(parts, dim=1)


def room(problem: AttackProblem) -> tuple[Tensor, Tensor]:
    """Return which features are active when defended (B, R), and how far an inactive one may rise
    (B, R).

    An inactive feature has no gradient, so only this bound on its pre-activation prevents its
    reactivation. The bound is a little below the threshold: a feature that rounding carries across
    it may jump to a value far from zero.
    """
    active, up = zip(*(reading.room(problem) for reading in readings(problem)), strict=True)
    return torch.cat([a.flatten(1) for a in active], 1), torch.cat([u.flatten(1) for u in up], 1)


@frozen(eq=False)
class Jacobian(Constraint[schema.Jacobian]):
    """δ stays where the protected features have their defended values, to first order at each step,
    and is then corrected until they do.

    Active features are held equal; inactive ones may move below their threshold. The projection of
    the gradient, g − Jᵀ(JJᵀ)⁺Jg, is found by conjugate gradients.
    """

    reads_unclamped = True
    iterations: int = 24
    """The most products with J for each solve."""
    tolerance: float = 1e-2
    """Relative residual at which a solve ends; the correction removes what is left."""
    corrections: int = 3
    """The most Gauss–Newton corrections after each step."""
    HALVINGS: ClassVar[int] = 3
    """How often a correction is halved if it leaves features further from their values than before."""

    @classmethod
    def build(cls, config: schema.Jacobian, problem: AttackProblem) -> Jacobian:
        for features in problem.features.values():
            if features.bound_S.isnan().any():
                raise UnavailableError(
                    "whether a feature of this SAE is active does not depend on its own pre-activation alone",
                    why=f"its encoder is {features.autoencoder.invariance}",
                    help="take preserve = by_construction(…)",
                )
        return cls()

    def tangent(
        self,
        problem: AttackProblem,
        delta_BLQD: Tensor,
        gradient_BLQD: Tensor,
        step: int,
        meter: Meter = UNCOUNTED,
    ) -> Tensor:
        gradient_BLQD = problem.place(gradient_BLQD)
        linear = linearize(problem, delta_BLQD, meter)
        active_BR, up_BR = room(problem)
        pushed_BR = linear.push(gradient_BLQD)
        # A feature at its bound may leave it downwards; rounding puts it on either side.
        held_BR = active_BR | ((linear.phi_BR >= up_BR - AT_BOUND) & (pushed_BR > 0))
        y_BR = self._solve(linear, held_BR, pushed_BR, self.tolerance, meter)
        meter.spend(gradients=2)
        return gradient_BLQD - problem.place(linear.pull(y_BR))

    def admit(
        self,
        problem: AttackProblem,
        delta_BLQD: Tensor,
        limit_B: Tensor,
        meter: Meter = UNCOUNTED,
    ) -> Tensor:
        delta = into_ball(problem.place(delta_BLQD), limit_B)
        enough_B = EXCESS * limit_B
        size_B = self._excess(problem, delta, meter).norm(dim=1)
        held_BR, up_BR = room(problem)
        rows = (size_B > enough_B).nonzero().squeeze(1)
        for _ in range(self.corrections):
            if not len(rows):
                break
            whole = len(rows) == len(problem)
            live, counter = (problem, meter) if whole else (problem.take(rows), meter.take(rows))
            linear = linearize(live, delta[rows], counter)
            # Also those at their bound: else what corrects one feature carries another across.
            held_BR[rows] |= linear.phi_BR >= up_BR[rows] - AT_BOUND
            # No more digits than are needed.
            tolerance_B = (0.5 * enough_B / size_B)[rows].clamp(self.tolerance, 0.5)
            excess_BR = self._excess(live, delta[rows], counter, linear.phi_BR)
            y_BR = self._solve(linear, held_BR[rows], excess_BR, tolerance_B, counter)
            counter.spend(gradients=1)
            correction = live.place(linear.pull(y_BR))
            delta[rows], now_B = self._towards(
                live, delta[rows], correction, size_B[rows], limit_B[rows], counter
            )
            closer_B = now_B < size_B[rows]
            size_B[rows] = now_B
            rows = rows[closer_B & (now_B > enough_B[rows])]
        return delta

    def _towards(
        self,
        problem: AttackProblem,
        delta: Tensor,
        correction: Tensor,
        size_B: Tensor,
        limit_B: Tensor,
        meter: Meter,
    ) -> tuple[Tensor, Tensor]:
        """Return δ less the correction, less a share of it where J changes so fast that all of it would
        overshoot, or unchanged where no share helps; and how far features are then off, (B,)."""
        delta, size_B = delta.clone(), size_B.clone()
        rows = torch.arange(len(problem), device=delta.device)
        for halvings in range(self.HALVINGS + 1):
            whole = len(rows) == len(problem)
            live, counter = (problem, meter) if whole else (problem.take(rows), meter.take(rows))
            tried = into_ball(delta[rows] - 0.5**halvings * correction[rows], limit_B[rows])
            now_B = self._excess(live, tried, counter).norm(dim=1)
            closer_B = now_B < size_B[rows]
            delta[rows[closer_B]], size_B[rows[closer_B]] = tried[closer_B], now_B[closer_B]
            rows = rows[~closer_B]
            if not len(rows):
                break
        return delta, size_B

    @torch.no_grad()
    def _excess(
        self, problem: AttackProblem, delta: Tensor, meter: Meter, phi_BR: Tensor | None = None
    ) -> Tensor:
        """Return how far features exceed what the constraint allows, (B, R)."""
        phi_BR = (
            preactivation_change(problem, problem.trace(delta, meter)) if phi_BR is None else phi_BR
        )
        active_BR, up_BR = room(problem)
        return torch.where(active_BR, phi_BR, (phi_BR - up_BR).clamp(min=0))

    def _solve(
        self,
        linear: Linearization,
        held_BR: Tensor,
        right_BR: Tensor,
        tolerance_B: Tensor | float,
        meter: Meter,
    ) -> Tensor:
        """Return y with (JJᵀ)y = right over the held rows, by conjugate gradients, example by
        example."""
        residual = direction = right_BR * held_BR
        y = torch.zeros_like(residual)
        size_B = residual.square().sum(1)
        goal_B = tolerance_B**2 * size_B
        for _ in range(self.iterations):
            going_B = size_B > goal_B
            if not going_B.any():
                break
            meter.spend(gradients=2, where_B=going_B)
            image = linear.push(linear.pull(direction)) * held_BR
            length_B = size_B / (direction * image).sum(1).clamp(min=1e-30)
            length_B1 = torch.where(going_B, length_B, 0.0)[:, None]
            y = y + length_B1 * direction
            residual = residual - length_B1 * image
            new_B = residual.square().sum(1)
            turned = residual + (new_B / size_B.clamp(min=1e-30))[:, None] * direction
            direction = torch.where(going_B[:, None], turned, direction)
            size_B = torch.where(going_B, new_B, size_B)
        return y
