"""Where protected features are read, to be kept where they are."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from attrs import frozen
from torch import Tensor

from recoverdsl.engine.attack.problem import Problem, Trace
from recoverdsl.engine.defense.autoencoders import Features

ROUNDING = 1e-5
"""What an inactive feature keeps away from its threshold, as a share of the state's norm."""


@frozen(eq=False)
class Reading:
    """What the encoder columns of one site read of one state.

    Where a clamp meets what δ changed below, features are read before it. Its change depends on
    nothing else, so where they read the same it does the same, and they read the same after it too.
    Held only after it they could be lost for good: an encoder with thresholds jumps, the clamp's
    change jumps with it, and no small step leads back.
    """

    site: int
    before_clamp: bool
    where_BQ: Tensor
    """The perturbed positions at which features are read here."""
    added_BQ: Tensor
    """Those of them where δ acts at this very site."""
    unit_A_DS: Tensor
    """Encoder columns of length 1."""

    def state(self, trace: Trace) -> Tensor:
        """The state that is read, (B, Q, D)."""
        return (trace.unclamped if self.before_clamp else trace.final)[self.site]

    def defended(self, problem: Problem) -> Tensor:
        """The same without δ."""
        return (problem.unclamped_def if self.before_clamp else problem.h_def)[self.site]

    def room(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """Which features are active when defended (B, Q, S), and how far an inactive one may rise.

        Where features are read only before the clamp, that and the state after it both count.
        """
        active_BQS, up_BQS = _room(problem.features[self.site], self.defended(problem))
        if self.before_clamp:
            after_BQS, up_after_BQS = _room(problem.features[self.site], problem.h_def[self.site])
            alone_BQ1 = ~self.added_BQ[..., None]
            active_BQS = active_BQS | (after_BQS & alone_BQ1)
            up_BQS = torch.where(alone_BQ1, up_BQS.minimum(up_after_BQS), up_BQS)
        return active_BQS, up_BQS


def readings(problem: Problem) -> Iterator[Reading]:
    """The readings of a problem, from the lowest site up."""
    for site, features in problem.features.items():
        unit_A_DS = torch.nn.functional.normalize(features.W_enc_DS, dim=0)
        touched_BQ, added_BQ = problem.touched_BQ, torch.zeros_like(problem.touched_BQ)
        if site in problem.sites:
            added_BQ = problem.where_BLQ[:, problem.sites.index(site)]
        # At δ's lowest site the clamp has acted already, on a state without δ.
        before = site > problem.sites[0] and site in problem.intervention.clamps
        if before:
            yield Reading(site, True, touched_BQ, added_BQ, unit_A_DS)
        if not before or site in problem.sites:
            where_BQ = touched_BQ & added_BQ if before else touched_BQ
            yield Reading(site, False, where_BQ, added_BQ, unit_A_DS)


def _room(features: Features, h_def_BQD: Tensor) -> tuple[Tensor, Tensor]:
    up_BQS = features.bound_S - h_def_BQD @ features.W_enc_DS
    rounding_BQ1 = ROUNDING * h_def_BQD.norm(dim=-1, keepdim=True)
    up_BQS = up_BQS / features.W_enc_DS.norm(dim=0) - rounding_BQ1
    return features.encode(h_def_BQD) > 0, up_BQS.clamp(min=0)
