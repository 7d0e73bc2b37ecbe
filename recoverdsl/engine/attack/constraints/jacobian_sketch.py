"""The published sketch of the Jacobian, for comparison."""

from __future__ import annotations

from typing import ClassVar

import torch
from attrs import frozen
from torch import Tensor

from recoverdsl.engine.attack.constraints.constraint import Constraint
from recoverdsl.engine.attack.geometry import into_ball
from recoverdsl.engine.attack.meter import UNCOUNTED, Meter
from recoverdsl.engine.attack.problem import AttackProblem
from recoverdsl.engine.behavior.objectives import AnswerGoal
from recoverdsl.language import schema


@frozen(eq=False)
class JacobianSketch(Constraint[schema.JacobianSketch]):
    """The published approximation, for comparison (reference code of arXiv 2606.18322).

    The gradient loses its components along Jᵀu for a few random u and one along the drift itself.
    Both are computed from activations, so that inactive features are not seen. A penalty on the
    drift is added to the gradient, and after each step δ takes five plain gradient steps down the
    drift.

    Args:
        probes: how many random u, drawn anew for every step.
        seed: of the first draw.
        penalty: weight of the squared relative drift against `scale` × the score.
        scale: weight of the score in the published objective; the score of an answer is the mean
            over its tokens there.
    """

    probes: int
    scale: float = 5.0
    seed: int = 0
    penalty: float = 200.0
    STEPS: ClassVar[int] = 5
    RATE: ClassVar[float] = 0.05

    @classmethod
    def build(cls, config: schema.JacobianSketch, problem: AttackProblem) -> JacobianSketch:
        return cls(config.probes)

    def tangent(
        self,
        problem: AttackProblem,
        delta_BLQD: Tensor,
        gradient_BLQD: Tensor,
        step: int,
        meter: Meter = UNCOUNTED,
    ) -> Tensor:
        gradient = problem.place(gradient_BLQD) * self.scale
        if isinstance(problem.goal, AnswerGoal):
            gradient = gradient / problem.goal.mask_BA.sum(1)[:, None, None, None]
        with torch.enable_grad():
            delta = delta_BLQD.detach().requires_grad_(True)
            z_BR, z_def_BR = self._activations(problem, problem.place(delta), meter)
            off_BR = (z_BR - z_def_BR).detach()
            # Before anything has moved, the difference is rounding, whose direction is arbitrary.
            rounding_B1 = 1e-5 * z_def_BR.norm(dim=1, keepdim=True)
            off_BR = torch.where(off_BR.norm(dim=1, keepdim=True) > rounding_B1, off_BR, 0.0)
            basis: list[Tensor] = []
            for u_BR in (off_BR, *self._drawn(problem, step).to(z_BR)):
                unit_BR = torch.nn.functional.normalize(u_BR, dim=1)
                (row,) = torch.autograd.grad(z_BR, delta, unit_BR, retain_graph=True)
                meter.spend(gradients=1)
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
        meter.spend(gradients=1)
        for known in basis:
            gradient = gradient - _along(gradient, known)
        return gradient - self.penalty * problem.place(downhill)

    def admit(
        self,
        problem: AttackProblem,
        delta_BLQD: Tensor,
        limit_B: Tensor,
        meter: Meter = UNCOUNTED,
    ) -> Tensor:
        delta = into_ball(problem.place(delta_BLQD), limit_B)
        if not delta.any():
            return delta
        for _ in range(self.STEPS):
            with torch.enable_grad():
                at = delta.detach().requires_grad_(True)
                drift_B = _drift(*self._activations(problem, problem.place(at), meter))
                (slope,) = torch.autograd.grad(drift_B.sum(), at)
            meter.spend(gradients=1)
            delta = into_ball(problem.place(delta - self.RATE * slope), limit_B)
        return delta

    def _drawn(self, problem: AttackProblem, step: int) -> Tensor:
        """Return the random u of a step (probes, B, R): the same for an example whatever its batch."""
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

    def _activations(
        self, problem: AttackProblem, delta_BLQD: Tensor, meter: Meter
    ) -> tuple[Tensor, Tensor]:
        """Return the protected features with δ and their defended values, each (B, R)."""
        z, z_def = [], []
        touched_BQ1 = problem.touched_BQ[..., None]
        for site, h_BQD in problem.states(delta_BLQD, meter).items():
            features = problem.features[site]
            z.append((features.encode(h_BQD) * touched_BQ1).flatten(1))
            z_def.append((features.encode(problem.h_def[site]) * touched_BQ1).flatten(1))
        return torch.cat(z, dim=1), torch.cat(z_def, dim=1)


def _drift(z_BR: Tensor, z_def_BR: Tensor) -> Tensor:
    """Return the squared relative drift (B,)."""
    return (z_BR - z_def_BR).square().sum(1) / (z_def_BR.square().sum(1) + 1e-6)


def _along(x_BLQD: Tensor, unit_BLQD: Tensor) -> Tensor:
    """Return the component of x along a unit vector, example by example."""
    share_B = (x_BLQD * unit_BLQD).flatten(1).sum(1)
    return share_B[:, None, None, None] * unit_BLQD
