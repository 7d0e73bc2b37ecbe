"""The side effects of a clamp: on the next tokens of a text, and on the length of the states that it
edits."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from attrs import frozen
from torch import Tensor

from recoverdsl.engine.defense.intervention import Intervention
from recoverdsl.engine.model.families import Family
from recoverdsl.engine.model.forward import Edit, Tokens, embed, run_layers
from recoverdsl.engine.model.positions import position_mask
from recoverdsl.measure.damage import TextRow

LOGITS = 1 << 24
"""How many logits are held at a time, as one tensor."""


@frozen(eq=False)
class TextEffects:
    """What a clamp does to texts: the record of a step."""

    rows: tuple[TextRow, ...]
    moved_P: Tensor
    """See `StateMoves.moved_P`."""


@frozen(eq=False)
class StateMoves:
    """How far a clamp moves states: the record of a step."""

    moved_P: Tensor
    """‖h_defended − h‖ / ‖h‖ of every state at a clamped site and a position that the clamp's `at` names,
    (P,), ≥ 0."""


@torch.no_grad()
def effects_on_text(family: Family, tokens: Tokens, intervention: Intervention) -> TextEffects:
    """Return what the clamps of an intervention do to a batch of texts.

    Next tokens are compared at the positions from the first on at which the clamps act: before it, both
    models are the same. Only what the clamps can change runs twice.
    """
    start = min(intervention.clamps, default=family.n_layers)
    h_BTD = run_layers(family, embed(family, tokens), tokens, start=0, stop=start)
    moves: list[Tensor] = []
    base_BTD, defended_BTD = (
        run_layers(family, h_BTD, tokens, start=start, stop=family.n_layers, edits=edits)
        for edits in ({}, _noting(intervention, tokens, moves))
    )
    acting_BT = position_mask(intervention.at, tokens)
    compared_BT = (acting_BT.cumsum(1) > 0) & tokens.mask_BT
    # The last token of a text predicts none of it.
    compared_BT = compared_BT[:, :-1] & tokens.mask_BT[:, 1:]
    next_N = tokens.ids_BT[:, 1:][compared_BT]
    figures_3N = _compared(
        family, base_BTD[:, :-1][compared_BT], defended_BTD[:, :-1][compared_BT], next_N
    )
    counts = compared_BT.sum(1).tolist()
    per_text = (
        part_3n.double().sum(1).tolist() for part_3n in torch.split(figures_3N, counts, dim=1)
    )
    rows = tuple(TextRow(n, *sums) for n, sums in zip(counts, per_text, strict=True))
    return TextEffects(rows, _joined(moves))


@torch.no_grad()
def moved_states(family: Family, tokens: Tokens, intervention: Intervention) -> StateMoves:
    """Return how far the clamps of an intervention move the states of a batch, in the same forward pass:
    at a higher site h includes what lower clamps change."""
    moves: list[Tensor] = []
    run_layers(
        family, embed(family, tokens), tokens, start=0, stop=max(intervention.clamps, default=0),
        edits=_noting(intervention, tokens, moves),
    )  # fmt: skip
    return StateMoves(_joined(moves))


def _noting(intervention: Intervention, tokens: Tokens, moves: list[Tensor]) -> Mapping[int, Edit]:
    """Return the edits of an intervention, each of which also notes how far it moves the states."""
    where_BT = position_mask(intervention.at, tokens)

    def noting(edit: Edit) -> Edit:
        def act(h_BTD: Tensor) -> Tensor:
            after_BTD = edit(h_BTD)
            before_PD, after_PD = (h[where_BT].float() for h in (h_BTD, after_BTD))
            moves.append((after_PD - before_PD).norm(dim=1) / before_PD.norm(dim=1))
            return after_BTD

        return act

    return {site: noting(edit) for site, edit in intervention.edits(tokens).items()}


def _joined(moves: list[Tensor]) -> Tensor:
    return torch.cat(moves).cpu() if moves else torch.zeros(0)


def _compared(family: Family, base_ND: Tensor, defended_ND: Tensor, next_N: Tensor) -> Tensor:
    """Return KL(defended‖base) of the next-token distributions, and −log p of the next token without and
    under the clamp, in nats, (3, N).

    Rounding may leave a KL below 0, which is then 0.
    """
    rows = max(1, LOGITS // family.head.weight.shape[0])
    parts = [base_ND.new_zeros((3, 0), dtype=torch.float32)]
    for base_nD, defended_nD, next_n in zip(
        *(torch.split(of_N, rows) for of_N in (base_ND, defended_ND, next_N)), strict=True
    ):
        base_nV, defended_nV = (
            family.logits(h_nD).log_softmax(1) for h_nD in (base_nD, defended_nD)
        )
        kl_n = (defended_nV.exp() * (defended_nV - base_nV)).sum(1).clamp(min=0)
        losses = (-logp_nV.gather(1, next_n[:, None])[:, 0] for logp_nV in (base_nV, defended_nV))
        parts.append(torch.stack([kl_n, *losses]))
    return torch.cat(parts, dim=1)
