"""Figures of a batch of examples, from their activations and their δ.

Letters: B example, P perturbed position, S protected feature, D residual width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def example_figures(
    *,
    z_def_BPS: Tensor,
    z_rec_BPS: Tensor,
    delta_BPD: Tensor,
    h_def_BPD: Tensor,
    W_enc_DS: Tensor,
    W_dec_SD: Tensor,
    eta: float = 0.0,
) -> dict[str, Tensor]:
    """Compute every per-example figure at one site.

    The norms are Frobenius norms over all of an example's positions together. Everything is
    computed in float64, because a violation of 1e-8 is smaller than what float32 rounding would
    add to it, and returned in float32.

    Args:
        z_def_BPS: protected features, re-encoded from the defended state.
        z_rec_BPS: protected features, encoded from the recovered state.
        delta_BPD: δ.
        h_def_BPD: the defended residual stream, before δ is added.
        W_enc_DS: A_S, the encoder columns of the protected features.
        W_dec_SD: D_S, their decoder rows.
        eta: what a feature must exceed to count as reactivated, in activation units; ≥ 0.

    Returns:
        A float32 tensor of shape (B,) under each of these names. The first four, `norm` and
        `relative_norm` are ≥ 0, the two shares lie in [0, 1]; the names of the sources are those
        of the definitions in the paper (arXiv 2606.18322).

        - `activation_drift`: ‖z_rec − z_def‖₂, in activation units (C2).
        - `decode_drift`: ‖D_S(z_rec − z_def)‖₂, in units of the residual stream (C3).
        - `drift`: ‖z_rec − z_def‖₂ / ‖z_def‖₂ (defended-feature drift). The paper adds a tiny ε to
          the denominator; where z_def is exactly 0 this makes the figure as large as ε is small,
          an arbitrary number. Here it is 0 if the features did not move, and otherwise NaN:
          undefined. `activation_drift` says how far they moved.
        - `clamp_floor_violation`: ‖max(z_def − z_rec, 0)‖₂ / ‖z_def‖₂, with the same rule.
        - `reactivated_count`: (position, feature) entries that were ≤ 0 when defended and are > η
          when recovered.
        - `reactivated_fraction`: that count over all P·S entries (reactivated fraction); 0 if there
          are none.
        - `norm`: ‖δ‖_F, in units of the residual stream (C4).
        - `relative_norm`: ‖δ‖_F / ‖h_def‖_F; NaN if h_def is 0 and δ is not.
        - `violation`: largest |A_sᵀδ_p| over features and positions, over ‖A_S‖_F ‖δ‖_F, in [0, 1]
          (C1); 0 if δ is 0.

    Raises:
        ValueError: shapes do not fit together, or η is negative.
    """
    B, P, S = z_def_BPS.shape
    D = delta_BPD.shape[-1]
    expected = {
        "z_rec_BPS": (z_rec_BPS, (B, P, S)),
        "delta_BPD": (delta_BPD, (B, P, D)),
        "h_def_BPD": (h_def_BPD, (B, P, D)),
        "W_enc_DS": (W_enc_DS, (D, S)),
        "W_dec_SD": (W_dec_SD, (S, D)),
    }
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, not {shape}")
    if eta < 0:
        raise ValueError(f"eta is {eta}, below 0")

    z_def, z_rec = z_def_BPS.double(), z_rec_BPS.double()
    moved_BPS = z_rec - z_def
    delta, encoder = delta_BPD.double(), W_enc_DS.double()

    z_def_norm_B = _norm(z_def)
    activation_drift_B = _norm(moved_BPS)
    floor_B = _norm((-moved_BPS).clamp(min=0))
    reactivated_B = ((z_def <= 0) & (z_rec > eta)).sum(dim=(1, 2))
    norm_B = _norm(delta)
    leak_B = _largest((delta @ encoder).abs())

    figures = {
        "activation_drift": activation_drift_B,
        "decode_drift": _norm(moved_BPS @ W_dec_SD.double()),
        "drift": _relative(activation_drift_B, z_def_norm_B),
        "clamp_floor_violation": _relative(floor_B, z_def_norm_B),
        "reactivated_fraction": reactivated_B / max(P * S, 1),
        "reactivated_count": reactivated_B,
        "norm": norm_B,
        "relative_norm": _relative(norm_B, _norm(h_def_BPD.double())),
        "violation": _relative(leak_B, torch.linalg.vector_norm(encoder) * norm_B),
    }
    return {name: figure.float() for name, figure in figures.items()}


def _norm(x_BPX: Tensor) -> Tensor:
    norm_B: Tensor = torch.linalg.vector_norm(x_BPX.flatten(1), dim=1)
    return norm_B


def _largest(x_BPX: Tensor) -> Tensor:
    flat = x_BPX.flatten(1)
    return flat.amax(dim=1) if flat.shape[1] else flat.new_zeros(len(flat))


def _relative(part_B: Tensor, whole_B: Tensor) -> Tensor:
    """part / whole; 0 where the part is 0, NaN where only the whole is."""
    ratio = torch.where(whole_B == 0, torch.nan, part_B / whole_B)
    return torch.where(part_B == 0, 0.0, ratio)
