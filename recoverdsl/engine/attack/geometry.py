"""The geometry of δ: spans of encoder columns, projections out of them, norms and balls."""

from __future__ import annotations

import torch
from torch import Tensor


def span(A_DS: Tensor) -> Tensor:
    """Return an orthonormal basis (d_model, R) of the span of encoder columns, which may be dependent.

    Computed in float64 from a singular value decomposition of the normalized columns; directions
    below 1e-10 of the largest singular value count as dependent.
    """
    columns = torch.nn.functional.normalize(A_DS.double(), dim=0)
    U_DR, sigma_R, _ = torch.linalg.svd(columns, full_matrices=False)
    basis_DR: Tensor = U_DR[:, sigma_R > 1e-10 * sigma_R[0]].float().contiguous()
    return basis_DR


def project(x_D: Tensor, basis_DR: Tensor) -> Tensor:
    """Return x without its component in the span of an orthonormal basis."""
    # Twice: the second pass removes what rounding left of an x that was mostly in the span.
    for _ in range(2):
        x_D = x_D - (x_D @ basis_DR) @ basis_DR.T
    return x_D


def orthogonal_part(x_D: Tensor, basis_DR: Tensor) -> Tensor:
    """Return x without its component in the span of a basis, and exactly 0 if x lies in the span."""
    free_D = project(x_D, basis_DR)
    # Of an x in the span only rounding is left, whose direction is arbitrary and must not be scaled up.
    rounding_1 = 1e-5 * x_D.norm(dim=-1, keepdim=True)
    return torch.where(free_D.norm(dim=-1, keepdim=True) <= rounding_1, 0.0, free_D)


def norm(delta_BLQD: Tensor) -> Tensor:
    """Return the Frobenius norm (B,) over all sites and positions of one example (C4)."""
    norm_B: Tensor = torch.linalg.vector_norm(delta_BLQD.flatten(1), dim=1)
    return norm_B


def into_ball(delta_BLQD: Tensor, radius_B: Tensor) -> Tensor:
    """Return the nearest δ with ‖δ‖ ≤ radius, which has the same direction and so stays orthogonal."""
    scale_B = (radius_B / norm(delta_BLQD).clamp(min=1e-30)).clamp(max=1.0)
    return delta_BLQD * scale_B[:, None, None, None]


def normalized(x_BLQD: Tensor) -> Tensor:
    """Return each example scaled to norm 1; zero stays zero."""
    return x_BLQD / norm(x_BLQD).clamp(min=1e-30)[:, None, None, None]
