"""Attribution: δ split into the part that the SAE's features carry and the residual that they do not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recoverdsl.engine.attack.problem import AttackProblem
from recoverdsl.engine.defense.autoencoders import Autoencoder


@torch.no_grad()
def split(
    problem: AttackProblem,
    autoencoders: Sequence[Autoencoder],
    delta_BLQD: Tensor,
    parts: Sequence[str | int],
) -> dict[str, Tensor]:
    """Return the parts of a δ by their names, each (B, L, Q, D) (paper: attribution).

    At each site they are computed around the state that δ meets there: the clamped one, with the δ of
    lower sites in place. With Δz = E(h + δ) − E(h): `clamped` is D_SᵀΔz_S over the protected
    features, `other_features` the same over all others, `residual` the rest, so that the three sum
    to δ; a number k is the share of the k other features that change the most, by ‖Δz_f‖ ‖D_f‖ over
    an example's positions, and lies within `other_features`. The parts are not orthogonal: they may
    be longer than δ and cancel.
    """
    clamped = problem.trace(delta_BLQD).clamped
    by_boundary = {sae.boundary: sae for sae in autoencoders}
    by_site: dict[str, list[Tensor]] = {str(part): [] for part in parts}
    for at, site in enumerate(problem.sites):
        delta_BQD, h_BQD, sae = delta_BLQD[:, at], clamped[site], by_boundary[site]
        change_BQF = sae.encode(h_BQD + delta_BQD) - sae.encode(h_BQD)
        # Where δ is zero its parts are zero too, without what rounding would leave.
        change_BQF = change_BQF * (delta_BQD != 0).any(-1, keepdim=True)
        ids_S = problem.features[site].ids_S if site in problem.features else None
        own_BQF = torch.zeros_like(change_BQF)
        if ids_S is not None:
            own_BQF[..., ids_S] = change_BQF[..., ids_S]
        other_BQF = change_BQF - own_BQF
        rows_FD = sae.W_dec_FD
        pieces = {"clamped": own_BQF @ rows_FD, "other_features": other_BQF @ rows_FD}
        pieces["residual"] = delta_BQD - pieces["clamped"] - pieces["other_features"]
        size_BF = other_BQF.norm(dim=1) * rows_FD.norm(dim=1)
        for part in parts:
            if isinstance(part, int):
                best_Bk = size_BF.topk(min(part, size_BF.shape[1]), dim=1).indices
                chosen_BF = torch.zeros_like(size_BF).scatter(1, best_Bk, 1.0)
                by_site[str(part)].append((other_BQF * chosen_BF[:, None]) @ rows_FD)
            else:
                by_site[part].append(pieces[part])
    return {name: torch.stack(sites, dim=1) for name, sites in by_site.items()}
