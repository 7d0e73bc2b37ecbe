"""The defense: protected features clamped by an edit of the residual stream."""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from recoverdsl.engine.defense.autoencoders import Features
from recoverdsl.language.schema import ScaleBy, SetTo


@frozen(eq=False)
class SetEach:
    """A value for each feature, (S,): a multiple of its mean over texts."""

    value_S: Tensor


@frozen(eq=False)
class Clamp:
    """h + (c − z_S) · W_dec[S] where the clamp acts: the reconstruction error does not change.

    Equal to the defended state D(clamp_S(z; c)) + (h − D(z)) of the paper, since D is affine; in
    this form the error term keeps its gradient. Gradients flow through z_S.

    `only_active` clamps a feature only where its undefended activation is above zero.
    """

    features: Features
    value: SetTo | ScaleBy | SetEach
    only_active: bool

    def __call__(self, h_BTD: Tensor, where_BT: Tensor) -> Tensor:
        """Return the defended residual stream, float32, (B, T, d_model)."""
        h_BTD = h_BTD.float()
        z_BTS = self.features.encode(h_BTD)
        if isinstance(self.value, SetTo):
            target_BTS = torch.full_like(z_BTS, self.value.value)
        elif isinstance(self.value, ScaleBy):
            target_BTS = self.value.factor * z_BTS
        else:
            target_BTS = self.value.value_S.expand_as(z_BTS)
        acts_BTS = where_BT[..., None] & (z_BTS > 0) if self.only_active else where_BT[..., None]
        change_BTS = torch.where(acts_BTS, target_BTS - z_BTS, 0.0)
        return h_BTD + change_BTS @ self.features.W_dec_SD
