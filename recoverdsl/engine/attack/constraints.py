"""Constraints that hold: δ is moved onto them after every step, and the rest is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from attrs import frozen
from torch import Tensor

if TYPE_CHECKING:
    from recoverdsl.engine.attack.problem import Problem


class Constraint(Protocol):
    """What δ must keep besides the norm. L sites, Q columns."""

    def admit(self, problem: Problem, delta_BLQD: Tensor, limit_B: Tensor) -> Tensor:
        """A δ nearby that keeps the constraint, acts only where it may, and is within the limit."""
        ...

    def tangent(
        self, problem: Problem, delta_BLQD: Tensor, gradient_BLQD: Tensor, step: int
    ) -> Tensor:
        """The part of a gradient at δ that the constraint lets δ follow; steps count from 0."""
        ...


@frozen(eq=False)
class Free:
    """No constraint but the norm."""

    def __call__(self, delta_BLQD: Tensor) -> Tensor:
        return delta_BLQD

    def admit(self, problem: Problem, delta_BLQD: Tensor, limit_B: Tensor) -> Tensor:
        return into_ball(problem.place(delta_BLQD), limit_B)

    def tangent(
        self, problem: Problem, delta_BLQD: Tensor, gradient_BLQD: Tensor, step: int
    ) -> Tensor:
        return problem.place(gradient_BLQD)


@frozen(eq=False)
class Orthogonal:
    """C1, encoder orthogonality: A_Sᵀδ = 0 at each site and perturbed position.

    `bases` holds, for each site, an orthonormal basis (d_model, R) of the span of A_S, or None where
    the site has no protected features. δ itself is projected, not its gradient: an optimizer that
    rescales the gradient per coordinate leaves the null space at once.
    """

    bases: tuple[Tensor | None, ...]

    @classmethod
    def to(cls, *A_DS: Tensor | None) -> Orthogonal:
        """The constraint for the encoder columns at each site."""
        return cls(tuple(None if A is None else span(A) for A in A_DS))

    def __call__(self, delta_BLQD: Tensor) -> Tensor:
        return torch.stack(
            [
                delta if basis is None else without(delta, basis)
                for delta, basis in zip(delta_BLQD.unbind(1), self.bases, strict=True)
            ],
            dim=1,
        )

    def admit(self, problem: Problem, delta_BLQD: Tensor, limit_B: Tensor) -> Tensor:
        return into_ball(self(problem.place(delta_BLQD)), limit_B)

    def tangent(
        self, problem: Problem, delta_BLQD: Tensor, gradient_BLQD: Tensor, step: int
    ) -> Tensor:
        return self(problem.place(gradient_BLQD))


@frozen(eq=False)
class ByConstruction:
    """The problem itself moves the state back onto the protected features' values.

    What is searched is the free δ; its correction follows from it, and both together must be within
    the limit. The total is not proportional to the free part, so that is scaled down step by step.
    """

    ROUNDS = 8

    def admit(self, problem: Problem, delta_BLQD: Tensor, limit_B: Tensor) -> Tensor:
        delta_BLQD = problem.place(delta_BLQD)
        rows = torch.arange(len(problem), device=delta_BLQD.device)
        live = problem
        for round in range(self.ROUNDS + 1):
            size_B = norm(live.added(delta_BLQD[rows]))
            over_B = size_B > limit_B[rows]
            if not over_B.any():
                return delta_BLQD
            if not over_B.all():
                live, rows, size_B = live.take(over_B), rows[over_B], size_B[over_B]
            # A little less each time: proportional shrinking alone may creep up on the limit.
            scale_B = limit_B[rows] / size_B * (1 - 0.002 * 2**round)
            delta_BLQD = delta_BLQD.index_copy(
                0, rows, delta_BLQD[rows] * scale_B[:, None, None, None]
            )
        return delta_BLQD.index_fill(0, rows, 0.0)

    def tangent(
        self, problem: Problem, delta_BLQD: Tensor, gradient_BLQD: Tensor, step: int
    ) -> Tensor:
        return problem.place(gradient_BLQD)


def span(A_DS: Tensor) -> Tensor:
    """An orthonormal basis (d_model, R) of the span of encoder columns, which may depend on each other.

    Computed in float64 from a singular value decomposition of the normalized columns; directions
    below 1e-10 of the largest singular value count as dependent.
    """
    columns = torch.nn.functional.normalize(A_DS.double(), dim=0)
    U_DR, sigma_R, _ = torch.linalg.svd(columns, full_matrices=False)
    basis_DR: Tensor = U_DR[:, sigma_R > 1e-10 * sigma_R[0]].float().contiguous()
    return basis_DR


def project(x_D: Tensor, basis_DR: Tensor) -> Tensor:
    """x without its component in the span of an orthonormal basis."""
    # Twice: the second pass removes what rounding left of an x that was mostly in the span.
    for _ in range(2):
        x_D = x_D - (x_D @ basis_DR) @ basis_DR.T
    return x_D


def without(x_D: Tensor, basis_DR: Tensor) -> Tensor:
    """The same, and exactly 0 if nothing else is left."""
    free_D = project(x_D, basis_DR)
    # Of an x in the span only rounding is left, which points anywhere: nothing to scale up again.
    rounding_1 = 1e-5 * x_D.norm(dim=-1, keepdim=True)
    return torch.where(free_D.norm(dim=-1, keepdim=True) <= rounding_1, 0.0, free_D)


def norm(delta_BLQD: Tensor) -> Tensor:
    """Frobenius norm (B,) over all sites and positions of one example (C4)."""
    norm_B: Tensor = torch.linalg.vector_norm(delta_BLQD.flatten(1), dim=1)
    return norm_B


def into_ball(delta_BLQD: Tensor, radius_B: Tensor) -> Tensor:
    """The nearest δ with ‖δ‖ ≤ radius; keeps directions, hence orthogonality."""
    scale_B = (radius_B / norm(delta_BLQD).clamp(min=1e-30)).clamp(max=1.0)
    return delta_BLQD * scale_B[:, None, None, None]


def normalized(x_BLQD: Tensor) -> Tensor:
    """Each example scaled to norm 1; zero stays zero."""
    return x_BLQD / norm(x_BLQD).clamp(min=1e-30)[:, None, None, None]
