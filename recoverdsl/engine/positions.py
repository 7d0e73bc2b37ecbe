"""Token positions: from the words of a spec to a mask over a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from recoverdsl.engine.forward import Tokens
from recoverdsl.language.schema import Positions


def position_mask(positions: Positions, tokens: Tokens) -> Tensor:
    """Boolean mask (B, T) of the prompt positions that `positions` names; never true at padding."""
    chosen_BT = torch.zeros_like(tokens.mask_BT)
    for word in positions.include:
        chosen_BT |= _mask(word, tokens)
    for word in positions.exclude:
        chosen_BT &= ~_mask(word, tokens)
    return chosen_BT & tokens.mask_BT


def _mask(word: str, tokens: Tokens) -> Tensor:
    if word == "every_token":
        return tokens.mask_BT.clone()
    if word == "first":
        return tokens.mask_BT & (tokens.positions_BT == 0)
    if word == "last_token":
        last_BT = torch.zeros_like(tokens.mask_BT)
        last_BT[:, -1] = True
        return last_BT
    # Words of generated positions name nothing while only the prompt is run.
    return torch.zeros_like(tokens.mask_BT)
