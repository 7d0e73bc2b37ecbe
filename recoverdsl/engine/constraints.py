"""Constraints that hold: δ is moved onto them after every step, and the rest is measured."""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor


@frozen(eq=False)
class Free:
    """No constraint but the norm."""

    def __call__(self, delta_BQD: Tensor) -> Tensor:
        return delta_BQD


@frozen(eq=False)
class Orthogonal:
    """C1, encoder orthogonality: A_Sᵀδ = 0 at each perturbed position.

    `basis_DR` is an orthonormal basis of the span of A_S. δ itself is projected, not its gradient:
    an optimizer that rescales the gradient per coordinate leaves the null space at once.
    """

    basis_DR: Tensor

    @classmethod
    def to(cls, A_DS: Tensor) -> Orthogonal:
        """The constraint for encoder columns `A_DS`, which may depend on each other.

        The basis is computed in float64 from a singular value decomposition of the normalized
        columns; directions below 1e-10 of the largest singular value count as dependent.
        """
        columns = torch.nn.functional.normalize(A_DS.double(), dim=0)
        U_DR, sigma_R, _ = torch.linalg.svd(columns, full_matrices=False)
        return cls(U_DR[:, sigma_R > 1e-10 * sigma_R[0]].float().contiguous())

    def __call__(self, delta_BQD: Tensor) -> Tensor:
        # Twice: the second pass removes what rounding left of a δ that was mostly in the span.
        free_BQD = delta_BQD
        for _ in range(2):
            free_BQD = free_BQD - (free_BQD @ self.basis_DR) @ self.basis_DR.T
        # Of a δ in the span only rounding is left, which points anywhere: nothing to scale up again.
        rounding_BQ1 = 1e-5 * delta_BQD.norm(dim=-1, keepdim=True)
        return torch.where(free_BQD.norm(dim=-1, keepdim=True) <= rounding_BQ1, 0.0, free_BQD)


Constraint = Free | Orthogonal


def norm(delta_BQD: Tensor) -> Tensor:
    """Frobenius norm (B,) over all positions of one example (C4)."""
    norm_B: Tensor = torch.linalg.vector_norm(delta_BQD.flatten(1), dim=1)
    return norm_B


def into_ball(delta_BQD: Tensor, radius_B: Tensor) -> Tensor:
    """The nearest δ with ‖δ‖ ≤ radius; keeps directions, hence orthogonality."""
    scale_B = (radius_B / norm(delta_BQD).clamp(min=1e-30)).clamp(max=1.0)
    return delta_BQD * scale_B[:, None, None]


def normalized(x_BQD: Tensor) -> Tensor:
    """Each example scaled to norm 1; zero stays zero."""
    return x_BQD / norm(x_BQD).clamp(min=1e-30)[:, None, None]
