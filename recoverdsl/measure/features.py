"""Figures of a batch of examples, from their activations and their δ.

Letters: B example, P column, S protected feature, D residual width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import frozen
from torch import Tensor

from recoverdsl.measure.columns import figure


@frozen(eq=False)
class Monitored:
    """Protected features at one site that δ can reach, before and after an attack."""

    z_def_BPS: Tensor
    """Re-encoded from the defended state."""
    z_rec_BPS: Tensor
    """Encoded from the recovered state."""
    W_dec_SD: Tensor
    """D_S, their decoder rows, (S, d_model)."""


@frozen(eq=False)
class Perturbed:
    """δ at one site."""

    delta_BPD: Tensor
    h_def_BPD: Tensor
    """The clamped residual stream that δ is added to."""
    W_enc_DS: Tensor | None = None
    """A_S, the encoder columns of the site's protected features; None if it has none."""


@frozen(kw_only=True)
class FeatureFigures:
    """The drift of the protected features of one example, over its perturbed positions and all monitored
    sites together (definitions of the paper, arXiv 2606.18322)."""

    activation_drift: float = figure()
    """‖z_rec − z_def‖₂, in activation units; ≥ 0 (C2)."""
    decode_drift: float = figure()
    """‖D_S(z_rec − z_def)‖₂, in units of the residual stream; ≥ 0 (C3)."""
    drift: float = figure()
    """‖z_rec − z_def‖₂ / ‖z_def‖₂ (defended-feature drift). The paper adds a tiny ε to the denominator;
    where z_def is exactly 0 the figure then depends on ε alone. Here it is 0 if the features did not
    move, and otherwise NaN: undefined. `activation_drift` says how far they moved."""
    active_drift: float = figure()
    """The same, and NaN where z_def is 0. An example in which no protected feature is active, before or
    after, then does not count as one whose features stayed where they were."""
    clamp_floor_violation: float = figure()
    """‖max(z_def − z_rec, 0)‖₂ / ‖z_def‖₂, with the rule of `drift`."""
    reactivated_fraction: float = figure()
    """`reactivated_count` over all P·S entries, in [0, 1]; 0 if there are none."""
    reactivated_count: int
    """(position, feature) entries that were ≤ 0 when defended and are > η when recovered."""


@frozen(kw_only=True)
class DeltaFigures:
    """The size of one example's δ, over its perturbed positions and sites together."""

    norm: float = figure()
    """‖δ‖_F, in units of the residual stream; ≥ 0 (C4)."""
    relative_norm: float = figure()
    """‖δ‖_F / ‖h_def‖_F, both over the sites and positions where δ is not 0; NaN if h_def is 0 and δ is
    not."""
    violation: float = figure()
    """Largest |cos(A_s, δ_p)| = |A_sᵀδ_p| / (‖A_s‖ ‖δ_p‖) between the δ of one position and the encoder
    column of one protected feature of its site, in [0, 1]: how far C1 is from being kept. 0 if δ is 0,
    NaN if no perturbed site has protected features."""


def feature_figures(
    monitored: Sequence[Monitored], where_BP: Tensor, *, eta: float = 0.0
) -> list[FeatureFigures]:
    """Return the figures of the monitored features, one record per example.

    Computed in float64 and rounded to float32.

    Args:
        monitored: sites at or above the lowest perturbed one; features of the others cannot change.
        where_BP: true at perturbed positions; the others are left out.
        eta: the activation above which a feature counts as reactivated; ≥ 0.

    Raises:
        ValueError: shapes do not fit together, or η is negative.
    """
    if eta < 0:
        raise ValueError(f"expected eta ≥ 0, found {eta}")
    where_BP1 = where_BP[..., None]
    zero_B = torch.zeros(len(where_BP), dtype=torch.float64, device=where_BP.device)
    moved, decoded, defended, floor = [zero_B], [zero_B], [zero_B], [zero_B]
    reactivated_B, entries_B = zero_B, zero_B
    for site in monitored:
        _check(site.z_def_BPS, where_BP, "z_def_BPS")
        _check(site.z_rec_BPS, where_BP, "z_rec_BPS", site.z_def_BPS.shape[2])
        _check_matrix(site.W_dec_SD, site.z_def_BPS.shape[2], "W_dec_SD", 0)
        z_def, z_rec = (z.double() * where_BP1 for z in (site.z_def_BPS, site.z_rec_BPS))
        moved_BPS = z_rec - z_def
        moved.append(_norm(moved_BPS))
        decoded.append(_norm(moved_BPS @ site.W_dec_SD.double()))
        defended.append(_norm(z_def))
        floor.append(_norm((-moved_BPS).clamp(min=0)))
        back_BPS = (z_def <= 0) & (z_rec > eta) & where_BP1
        reactivated_B = reactivated_B + back_BPS.sum(dim=(1, 2))
        entries_B = entries_B + where_BP.sum(1) * z_def.shape[2]
    activation_drift_B, defended_B = _whole(moved), _whole(defended)
    return [
        FeatureFigures(
            activation_drift=activation, decode_drift=decode, drift=drift, active_drift=active,
            clamp_floor_violation=below, reactivated_fraction=fraction, reactivated_count=int(count),
        )
        for activation, decode, drift, active, below, fraction, count in _by_example(
            activation_drift_B,
            _whole(decoded),
            _relative(activation_drift_B, defended_B),
            torch.where(defended_B == 0, torch.nan, activation_drift_B / defended_B),
            _relative(_whole(floor), defended_B),
            reactivated_B / entries_B.clamp(min=1),
            reactivated_B,
        )
    ]  # fmt: skip


def delta_figures(perturbed: Sequence[Perturbed], where_BP: Tensor) -> list[DeltaFigures]:
    """Return the figures of δ, one record per example.

    Computed in float64, because float32 rounding would exceed a violation of 1e-8, and rounded to
    float32.

    Args:
        perturbed: sites where δ is added.
        where_BP: true at perturbed positions; the others are left out.

    Raises:
        ValueError: shapes do not fit together.
    """
    where_BP1 = where_BP[..., None]
    zero_B = torch.zeros(len(where_BP), dtype=torch.float64, device=where_BP.device)
    sizes, states = [zero_B], [zero_B]
    bound = any(place.W_enc_DS is not None for place in perturbed)
    leak_B = zero_B if bound else torch.full_like(zero_B, torch.nan)
    for place in perturbed:
        _check(place.delta_BPD, where_BP, "delta_BPD")
        _check(place.h_def_BPD, where_BP, "h_def_BPD", place.delta_BPD.shape[2])
        delta = place.delta_BPD.double() * where_BP1
        sizes.append(_norm(delta))
        acts_BP1 = (delta != 0).any(dim=2, keepdim=True)
        states.append(_norm(place.h_def_BPD.double() * acts_BP1))
        if place.W_enc_DS is not None:
            _check_matrix(place.W_enc_DS, place.delta_BPD.shape[2], "W_enc_DS", 0)
            leak_B = leak_B.maximum(_largest(_cosines(delta, place.W_enc_DS.double())))
    norm_B = _whole(sizes)
    return [
        DeltaFigures(norm=norm, relative_norm=relative, violation=leak)
        for norm, relative, leak in _by_example(norm_B, _relative(norm_B, _whole(states)), leak_B)
    ]


def _by_example(*figures: Tensor) -> list[tuple[float, ...]]:
    """Return the figures (B,) example by example, rounded to float32."""
    return [tuple(row) for row in torch.stack(figures, dim=1).float().tolist()]


def _check(x_BPX: Tensor, where_BP: Tensor, name: str, last: int | None = None) -> None:
    expected = (*where_BP.shape, x_BPX.shape[-1] if last is None else last)
    if tuple(x_BPX.shape) != expected:
        raise ValueError(f"expected {name} of shape {expected}, found {tuple(x_BPX.shape)}")


def _check_matrix(x: Tensor, size: int, name: str, dim: int) -> None:
    if x.dim() != 2 or x.shape[dim] != size:
        raise ValueError(
            f"expected {name} with {size} in dimension {dim}, found shape {tuple(x.shape)}"
        )


def _whole(parts: list[Tensor]) -> Tensor:
    """Return the norm of all parts together, (B,), from the norm of each."""
    whole_B: Tensor = torch.linalg.vector_norm(torch.stack(parts), dim=0)
    return whole_B


def _norm(x_BPX: Tensor) -> Tensor:
    norm_B: Tensor = torch.linalg.vector_norm(x_BPX.flatten(1), dim=1)
    return norm_B


def _cosines(delta_BPD: Tensor, A_DS: Tensor) -> Tensor:
    """Return |cos| of each position's δ and each column, (B, P, S), in [0, 1]; 0 if one of them is 0."""
    unit_BPD = torch.nn.functional.normalize(delta_BPD, dim=2, eps=1e-300)
    unit_DS = torch.nn.functional.normalize(A_DS, dim=0, eps=1e-300)
    # Rounding may exceed 1 in the last digit.
    cosines_BPS: Tensor = (unit_BPD @ unit_DS).abs().clamp(max=1.0)
    return cosines_BPS


def _largest(x_BPX: Tensor) -> Tensor:
    flat = x_BPX.flatten(1)
    return flat.amax(dim=1) if flat.shape[1] else flat.new_zeros(len(flat))


def _relative(part_B: Tensor, whole_B: Tensor) -> Tensor:
    """Return part / whole, (B,): 0 where the part is 0, NaN where only the whole is."""
    ratio = torch.where(whole_B == 0, torch.nan, part_B / whole_B)
    return torch.where(part_B == 0, 0.0, ratio)
