"""Token positions: from the words of a spec to a mask over a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from recoverdsl.engine.model.forward import Tokens
from recoverdsl.language.schema import Positions


def position_mask(positions: Positions, tokens: Tokens) -> Tensor:
    """Return the boolean mask (B, T) of the positions that `positions` names; never true at padding."""
    chosen_BT = torch.zeros_like(tokens.mask_BT)
    for word in positions.include:
        chosen_BT |= _mask(word, tokens)
    for word in positions.exclude:
        chosen_BT &= ~_mask(word, tokens)
    return chosen_BT & tokens.mask_BT


def _mask(word: str, tokens: Tokens) -> Tensor:
    columns_T = torch.arange(tokens.mask_BT.shape[1], device=tokens.mask_BT.device)
    if word == "every_token":
        return tokens.mask_BT & (columns_T < tokens.prompt)
    if word == "first":
        return tokens.mask_BT & (tokens.positions_BT == 0)
    if word == "last_token":
        return tokens.mask_BT & (columns_T == tokens.prompt - 1)
    assert word in ("generated", "target_tokens", "every_generated_token")
    return tokens.mask_BT & (columns_T >= tokens.prompt)
