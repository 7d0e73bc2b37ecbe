"""The states from which protected features are read, to be held at their defended values."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from attrs import frozen
from torch import Tensor

from recoverdsl.engine.attack.problem import AttackProblem, Trace
from recoverdsl.engine.defense.autoencoders import Features

ROUNDING = 1e-5
"""How far below its threshold an inactive feature must stay, as a share of the state's norm."""


@frozen(eq=False)
class Reading:
    """A state that the encoder columns of one site read.

    Where a clamp acts on a state that δ changed at a lower site, features are read before the clamp.
    Its edit depends on them alone, so if they do not change before it, neither its edit nor the
    features after it change. If they were held after the clamp only, they could be lost for good: an
    encoder with thresholds jumps, the clamp's edit jumps with it, and no small step leads back.
    """

    site: int
    before_clamp: bool
    where_BQ: Tensor
    """The perturbed positions at which features are read here."""
    added_BQ: Tensor
    """The perturbed positions at which δ acts at this very site."""
    unit_A_DS: Tensor
    """Encoder columns of length 1."""

    def state(self, trace: Trace) -> Tensor:
        """Return the state that is read, (B, Q, D)."""
        return (trace.unclamped if self.before_clamp else trace.final)[self.site]

    def defended(self, problem: AttackProblem) -> Tensor:
        """Return the same state without δ, (B, Q, D)."""
        return (problem.unclamped_def if self.before_clamp else problem.h_def)[self.site]

    def room(self, problem: AttackProblem) -> tuple[Tensor, Tensor]:
        """Return which features are active when defended (B, Q, S), and how far an inactive one may
        rise.

        Where features are read before the clamp only, the states before and after it both count.
        """
        active_BQS, up_BQS = _room(problem.features[self.site], self.defended(problem))
        if self.before_clamp:
            after_BQS, up_after_BQS = _room(problem.features[self.site], problem.h_def[self.site])
            alone_BQ1 = ~self.added_BQ[..., None]
            active_BQS = active_BQS | (after_BQS & alone_BQ1)
            up_BQS = torch.where(alone_BQ1, up_BQS.minimum(up_after_BQS), up_BQS)
        return active_BQS, up_BQS


def readings(problem: AttackProblem) -> Iterator[Reading]:
    """Yield the readings of a problem, from the lowest site up."""
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
    """Return which features are active in a state (B, Q, S), and how far an inactive one may rise."""
    up_BQS = features.bound_S - h_def_BQD @ features.W_enc_DS
    rounding_BQ1 = ROUNDING * h_def_BQD.norm(dim=-1, keepdim=True)
    up_BQS = up_BQS / features.W_enc_DS.norm(dim=0) - rounding_BQ1
    return features.encode(h_def_BQD) > 0, up_BQS.clamp(min=0)
