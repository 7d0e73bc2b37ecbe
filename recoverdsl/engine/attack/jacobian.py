"""Keeping features over several layers: the null space of the protected features' Jacobian.

A δ at one layer moves features of later ones. Φ(δ) holds, for every monitored site and perturbed
position, how far the protected features' pre-activations moved; J = ∂Φ/∂δ has a row for each and a
column for each entry of δ, far too large to write down. Products with it are enough: Jᵀy is one
backward pass and Jv the derivative of such a pass, both for a whole batch at once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from attrs import frozen
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from recoverdsl.engine.attack.constraints import into_ball
from recoverdsl.engine.attack.problem import Problem, Trace
from recoverdsl.engine.attack.readings import readings
from recoverdsl.engine.behavior.objectives import AnswerGoal

AT_BOUND = 1e-5
"""How far below its bound a feature still counts as being at it."""

EXCESS = 1e-5
"""What the corrections leave of Φ, as a share of the norm that δ may have."""


@frozen(eq=False)
class Linearization:
    """Φ (B, R) at one δ, and products with its Jacobian J (B, R, L·Q·D)."""

    phi_BR: Tensor
    pull: Callable[[Tensor], Tensor]
    """y (B, R) → Jᵀy (B, L, Q, D)."""
    push: Callable[[Tensor], Tensor]
    """v (B, L, Q, D) → Jv (B, R)."""


def linearize(problem: Problem, delta_BLQD: Tensor) -> Linearization:
    """Φ and J at δ, of δ's entries that may act."""
    # The fused attention kernels have no second derivative.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        delta = delta_BLQD.detach().requires_grad_(True)
        phi_BR = moved(problem, problem.trace(problem.place(delta)))
        y_BR = torch.zeros_like(phi_BR, requires_grad=True)
        (pulled,) = torch.autograd.grad(phi_BR, delta, y_BR, create_graph=True)

    problem.spend(gradients=1)

    def pull(y: Tensor) -> Tensor:
        (product,) = torch.autograd.grad(phi_BR, delta, y, retain_graph=True)
        return product

    def push(v: Tensor) -> Tensor:
        # Jᵀy is linear in y, so its derivative in y along v is Jv.
        (product,) = torch.autograd.grad(pulled, y_BR, v, retain_graph=True)
        return product

    return Linearization(phi_BR.detach(), pull, push)


def moved(problem: Problem, trace: Trace) -> Tensor:
    """Φ (B, R): pre-activations minus their defended values, in units of each encoder column's norm.

    Zero at positions that are not perturbed, or not read there.
    """
    parts = []
    for reading in readings(problem):
        phi_BQS = (reading.state(trace) - reading.defended(problem)) @ reading.unit_A_DS
        parts.append((phi_BQS * reading.where_BQ[..., None]).flatten(1))
    return torch.cat(parts, dim=1)


def room(problem: Problem) -> tuple[Tensor, Tensor]:
    """Which features are active when defended (B, R), and how far an inactive one may rise (B, R).

    An inactive feature has no gradient, so nothing but this bound on its pre-activation sees it
    coming back. The bound is a little below the threshold: a feature that rounding carries across it
    may jump to a value far from zero.
    """
    active, up = zip(*(reading.room(problem) for reading in readings(problem)), strict=True)
    return torch.cat([a.flatten(1) for a in active], 1), torch.cat([u.flatten(1) for u in up], 1)


@frozen(eq=False)
class Jacobian:
    """δ stays where the protected features have their defended values, to first order at each step,
    and is then corrected until they do.

    Active features are held equal; inactive ones may move below their threshold. The projection of
    the gradient, g − Jᵀ(JJᵀ)⁺Jg, is found by conjugate gradients.
    """

    iterations: int = 24
    """Most products with J for each solve."""
    tolerance: float = 1e-2
    """Relative residual at which a solve ends; the correction removes what is left."""
    corrections: int = 3
    """Most Gauss–Newton corrections after each step."""
    HALVINGS = 3
    """How often a correction is halved that leaves features further off than they were."""

    def tangent(
        self, problem: Problem, delta_BLQD: Tensor, gradient_BLQD: Tensor, step: int
    ) -> Tensor:
        gradient_BLQD = problem.place(gradient_BLQD)
        linear = linearize(problem, delta_BLQD)
        active_BR, up_BR = room(problem)
        pushed_BR = linear.push(gradient_BLQD)
        # A feature at its bound may leave it downwards; rounding puts it on either side.
        held_BR = active_BR | ((linear.phi_BR >= up_BR - AT_BOUND) & (pushed_BR > 0))
        y_BR = self._solve(problem, linear, held_BR, pushed_BR, self.tolerance)
        problem.spend(gradients=2)
        return gradient_BLQD - problem.place(linear.pull(y_BR))

    def admit(self, problem: Problem, delta_BLQD: Tensor, limit_B: Tensor) -> Tensor:
        delta = into_ball(problem.place(delta_BLQD), limit_B)
        enough_B = EXCESS * limit_B
        size_B = self._excess(problem, delta).norm(dim=1)
        held_BR, up_BR = room(problem)
        rows = (size_B > enough_B).nonzero().squeeze(1)
        for _ in range(self.corrections):
            if not len(rows):
                break
            live = problem if len(rows) == len(problem) else problem.take(rows)
            linear = linearize(live, delta[rows])
            # Also those at their bound: else what corrects one feature carries another across.
            held_BR[rows] |= linear.phi_BR >= up_BR[rows] - AT_BOUND
            # No more digits than are needed.
            tolerance_B = (0.5 * enough_B / size_B)[rows].clamp(self.tolerance, 0.5)
            excess_BR = self._excess(live, delta[rows], linear.phi_BR)
            y_BR = self._solve(live, linear, held_BR[rows], excess_BR, tolerance_B)
            live.spend(gradients=1)
            correction = live.place(linear.pull(y_BR))
            delta[rows], now_B = self._towards(
                live, delta[rows], correction, size_B[rows], limit_B[rows]
            )
            closer_B = now_B < size_B[rows]
            size_B[rows] = now_B
            rows = rows[closer_B & (now_B > enough_B[rows])]
        return delta

    def _towards(
        self, problem: Problem, delta: Tensor, correction: Tensor, size_B: Tensor, limit_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """δ less the correction, or less a share of it where J changes so fast that all of it would
        overshoot, or as it was where none helps; and how far off features then are, (B,)."""
        delta, size_B = delta.clone(), size_B.clone()
        rows = torch.arange(len(problem), device=delta.device)
        for halvings in range(self.HALVINGS + 1):
            live = problem if len(rows) == len(problem) else problem.take(rows)
            tried = into_ball(delta[rows] - 0.5**halvings * correction[rows], limit_B[rows])
            now_B = self._excess(live, tried).norm(dim=1)
            closer_B = now_B < size_B[rows]
            delta[rows[closer_B]], size_B[rows[closer_B]] = tried[closer_B], now_B[closer_B]
            rows = rows[~closer_B]
            if not len(rows):
                break
        return delta, size_B

    @torch.no_grad()
    def _excess(self, problem: Problem, delta: Tensor, phi_BR: Tensor | None = None) -> Tensor:
        """By how much features are off what they may be, (B, R)."""
        phi_BR = moved(problem, problem.trace(delta)) if phi_BR is None else phi_BR
        active_BR, up_BR = room(problem)
        return torch.where(active_BR, phi_BR, (phi_BR - up_BR).clamp(min=0))

    def _solve(
        self,
        problem: Problem,
        linear: Linearization,
        held_BR: Tensor,
        right_BR: Tensor,
        tolerance_B: Tensor | float,
    ) -> Tensor:
        """y with (JJᵀ)y = right over the held rows, by conjugate gradients, example by example."""
        residual = direction = right_BR * held_BR
        y = torch.zeros_like(residual)
        size_B = residual.square().sum(1)
        goal_B = tolerance_B**2 * size_B
        for _ in range(self.iterations):
            going_B = size_B > goal_B
            if not going_B.any():
                break
            problem.spend(gradients=2, of=going_B)
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


@frozen(eq=False)
class JacobianSketch:
    """The published approximation, for comparison (reference code of arXiv 2606.18322).

    The gradient loses its components along Jᵀu for a few random u and one along the drift itself,
    on activations, so that inactive features go unseen; a penalty on the drift is added to it; and
    after each step δ takes five plain gradient steps down the drift.

    Args:
        probes: how many random u, drawn anew for every step.
        seed: of the first draw.
        penalty: weight of the squared relative drift against `scale` × the score.
        scale: what the published objective weighs a score with, where it is that of an answer the
            mean over its tokens.
    """

    probes: int
    scale: float = 5.0
    seed: int = 0
    penalty: float = 200.0
    STEPS = 5
    RATE = 0.05

    def tangent(
        self, problem: Problem, delta_BLQD: Tensor, gradient_BLQD: Tensor, step: int
    ) -> Tensor:
        gradient = problem.place(gradient_BLQD) * self.scale
        if isinstance(problem.goal, AnswerGoal):
            gradient = gradient / problem.goal.mask_BA.sum(1)[:, None, None, None]
        with torch.enable_grad():
            delta = delta_BLQD.detach().requires_grad_(True)
            z_BR, z_def_BR = self._activations(problem, problem.place(delta))
            off_BR = (z_BR - z_def_BR).detach()
            # Before anything has moved it is rounding, which points anywhere.
            rounding_B1 = 1e-5 * z_def_BR.norm(dim=1, keepdim=True)
            off_BR = torch.where(off_BR.norm(dim=1, keepdim=True) > rounding_B1, off_BR, 0.0)
            basis: list[Tensor] = []
            for u_BR in (off_BR, *self._drawn(problem, step).to(z_BR)):
                unit_BR = torch.nn.functional.normalize(u_BR, dim=1)
                (row,) = torch.autograd.grad(z_BR, delta, unit_BR, retain_graph=True)
                problem.spend(gradients=1)
                for known in basis:
                    row = row - _along(row, known)
                size_B = row.flatten(1).norm(dim=1)
                basis.append(
                    torch.where(
                        (size_B > 1e-7)[:, None, None, None],
                        row / size_B.clamp(min=1e-30)[:, None, None, None],
                        0.0,
                    )
                )
            (downhill,) = torch.autograd.grad(_drift(z_BR, z_def_BR).sum(), delta)
        problem.spend(gradients=1)
        for known in basis:
            gradient = gradient - _along(gradient, known)
        return gradient - self.penalty * problem.place(downhill)

    def admit(self, problem: Problem, delta_BLQD: Tensor, limit_B: Tensor) -> Tensor:
        delta = into_ball(problem.place(delta_BLQD), limit_B)
        if not delta.any():
            return delta
        for _ in range(self.STEPS):
            with torch.enable_grad():
                at = delta.detach().requires_grad_(True)
                drift_B = _drift(*self._activations(problem, problem.place(at)))
                (slope,) = torch.autograd.grad(drift_B.sum(), at)
            problem.spend(gradients=1)
            delta = into_ball(problem.place(delta - self.RATE * slope), limit_B)
        return delta

    def _drawn(self, problem: Problem, step: int) -> Tensor:
        """The random u of a step (probes, B, R): the same for an example whatever its batch."""
        widths = [len(features.ids_S) for features in problem.features.values()]
        drawn = [torch.zeros(self.probes, *problem.touched_BQ.shape, width) for width in widths]
        for row, touched_Q in enumerate(problem.touched_BQ.cpu()):
            generator = torch.Generator().manual_seed(self.seed + step)
            count = int(touched_Q.sum())
            for u_KBQS, width in zip(drawn, widths, strict=True):
                u_KBQS[:, row, touched_Q] = torch.randn(
                    self.probes, count, width, generator=generator
                )
        return torch.cat([u_KBQS.flatten(2) for u_KBQS in drawn], dim=2)

    def _activations(self, problem: Problem, delta_BLQD: Tensor) -> tuple[Tensor, Tensor]:
        z, z_def = [], []
        touched_BQ1 = problem.touched_BQ[..., None]
        for site, h_BQD in problem.states(delta_BLQD).items():
            features = problem.features[site]
            z.append((features.encode(h_BQD) * touched_BQ1).flatten(1))
            z_def.append((features.encode(problem.h_def[site]) * touched_BQ1).flatten(1))
        return torch.cat(z, dim=1), torch.cat(z_def, dim=1)


def _drift(z_BR: Tensor, z_def_BR: Tensor) -> Tensor:
    """Squared relative drift (B,)."""
    return (z_BR - z_def_BR).square().sum(1) / (z_def_BR.square().sum(1) + 1e-6)


def _along(x_BLQD: Tensor, unit_BLQD: Tensor) -> Tensor:
    """The component of x along a unit vector, example by example."""
    share_B = (x_BLQD * unit_BLQD).flatten(1).sum(1)
    return share_B[:, None, None, None] * unit_BLQD
