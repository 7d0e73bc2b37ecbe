"""Effects of features, by which they are ranked: attribution to a score, contrast between two sets
of texts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from recoverdsl.engine.defense.autoencoders import Autoencoder, Features
from recoverdsl.engine.defense.intervention import Intervention
from recoverdsl.engine.model.families import Family
from recoverdsl.engine.model.forward import Tokens, embed, run_layers
from recoverdsl.engine.model.positions import position_mask
from recoverdsl.engine.resources import Resources, Text
from recoverdsl.language.schema import Positions


def attribution(
    resources: Resources,
    saes: Sequence[Autoencoder],
    goal: Callable[[Family, Tensor], Tensor],
    positions: Positions,
    indices: list[int],
) -> tuple[list[Tensor], Tensor]:
    """Return activation × gradient of every feature, summed over positions and examples: (d_sae,)
    per SAE.

    Args:
        goal: returns the score (B,) from the states before the final norm at the last tokens.

    Examples with an effect that is not a finite number are left out; the second tensor, (B,), is
    true at the others.
    """
    family = resources.model.family
    tokens = resources.tokens(indices)
    where_BT = position_mask(positions, tokens)
    watch: dict[int, list[Tensor]] = {sae.boundary: [] for sae in saes}
    h_BTD = embed(family, tokens).requires_grad_(True)
    with torch.enable_grad():
        edits = Intervention().edits(tokens, watch=watch)
        top_BTD = run_layers(family, h_BTD, tokens, start=0, stop=family.n_layers, edits=edits)
        score_B = goal(family, top_BTD[:, -1])
        states = [watch[sae.boundary][0] for sae in saes]
        gradients = torch.autograd.grad(score_B.sum(), states)
    effects_BF = []
    with torch.no_grad():
        for sae, state_BTD, gradient_BTD in zip(saes, states, gradients, strict=True):
            # ∂score/∂z_f is the gradient along the feature's decoder row.
            z_BTF = sae.encode(state_BTD.detach()) * where_BT[..., None]
            effects_BF.append((z_BTF * (gradient_BTD.float() @ sae.W_dec_FD.T)).sum(1))
    finite_B = torch.stack([effect_BF.isfinite().all(1) for effect_BF in effects_BF]).all(0)
    return [effect_BF[finite_B].double().sum(0) for effect_BF in effects_BF], finite_B


@torch.no_grad()
def sum_over_texts(
    resources: Resources, readers: Mapping[int, Autoencoder | Features], texts: Sequence[Text]
) -> tuple[dict[int, Tensor], int]:
    """Return the activations summed over all tokens that are read, by boundary, and how many tokens.

    Args:
        readers: by boundary, the SAE or the features that encode the residual stream there.
    """
    family = resources.model.family
    tokens = Tokens.in_parts(
        [text.before for text in texts], [text.read for text in texts], resources.device
    )
    mask_BN = tokens.mask_BT[:, tokens.prompt :]
    watch: dict[int, list[Tensor]] = {site: [] for site in readers}
    run_layers(
        family, embed(family, tokens), tokens, start=0, stop=max(readers),
        edits=Intervention().edits(tokens, watch=watch),
    )  # fmt: skip
    totals = {
        site: reader.encode(watch[site][0][:, tokens.prompt :][mask_BN]).double().sum(0)
        for site, reader in readers.items()
    }
    return totals, int(mask_BN.sum())


def top_features(effects: Sequence[Tensor], count: int, each: bool) -> list[Tensor]:
    """Return the ids of the `count` features with the largest effect, for each SAE.

    Args:
        effects: (d_sae,) per SAE.
        each: whether `count` are taken from each SAE, or from all of them together.
    """
    if each:
        return [effect_F.topk(min(count, len(effect_F))).indices for effect_F in effects]
    offsets = [0]
    for effect_F in effects:
        offsets.append(offsets[-1] + len(effect_F))
    together = torch.cat(list(effects)).topk(min(count, offsets[-1])).indices
    return [
        together[(together >= low) & (together < high)] - low
        for low, high in itertools.pairwise(offsets)
    ]
