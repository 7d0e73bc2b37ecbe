"""A batch of defended examples, and the effect of a perturbation on them.

Letters: B example, L site where δ may be added, Q column from the first perturbed one on, D residual
width, S protected feature.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from attrs import evolve, field, frozen
from torch import Tensor

from recoverdsl.engine.attack.geometry import project
from recoverdsl.engine.attack.meter import UNCOUNTED, Meter
from recoverdsl.engine.behavior.objectives import Goal
from recoverdsl.engine.defense.autoencoders import Features
from recoverdsl.engine.defense.intervention import Intervention
from recoverdsl.engine.model.families import Family
from recoverdsl.engine.model.forward import Edit, Prefix, Tokens, run_layers
from recoverdsl.engine.model.positions import position_mask


@frozen(eq=False)
class Trace:
    """The residual stream (B, Q, D), float32, by boundary, during one pass."""

    unclamped: dict[int, Tensor] = field(factory=dict)
    """Before the clamp, where one acts on what δ changed."""
    clamped: dict[int, Tensor] = field(factory=dict)
    """After the clamp and before δ."""
    final: dict[int, Tensor] = field(factory=dict)
    """After clamp, δ and correction."""


@frozen(eq=False)
class AttackProblem:
    """All that stays fixed while δ changes; the cost of a search is counted by a `Meter`.

    At a site the clamp acts first and δ is added after it; clamps at later sites see δ's effect.
    """

    family: Family
    tokens: Tokens
    """Prompts, and the target after them where the goal has one."""
    first: int
    """The first of the Q columns: nothing before it changes."""
    sites: tuple[int, ...]
    """The L boundaries where δ is added, ascending."""
    where_BLQ: Tensor
    """True where δ may act."""
    h_def: Mapping[int, Tensor]
    """The defended residual stream (B, Q, D), float32, at every site and monitored boundary."""
    intervention: Intervention
    """The clamps."""
    features: Mapping[int, Features]
    """Protected features by boundary, of those boundaries that δ can reach."""
    prefix: Prefix
    goal: Goal
    shared_LQ: Tensor | None = None
    """True at the columns of a site that share one vector."""
    bases: Mapping[int, Tensor] = field(factory=dict)
    """By boundary, an orthonormal basis of the directions in which the state is moved back to its
    defended value, at the touched positions: preservation by construction."""
    unclamped_def: Mapping[int, Tensor] = field(factory=dict)
    """The defended residual stream (B, Q, D) before the clamps that act on what δ changed, where a
    constraint needs it."""
    fixed_BLQD: Tensor | None = None
    """δ of earlier stages, which stays."""
    touched_BQ: Tensor = field()
    """Positions that this stage or an earlier one perturbs, at whatever site."""

    @touched_BQ.default
    def _where(self) -> Tensor:
        return self.where_BLQ.any(1)

    def __len__(self) -> int:
        return len(self.where_BLQ)

    @property
    def zero_BLQD(self) -> Tensor:
        """A δ of zeros."""
        h_BQD = self.h_def[self.sites[0]]
        return torch.zeros(*self.where_BLQ.shape, h_BQD.shape[-1], device=h_BQD.device)

    def place(self, x_BLQD: Tensor) -> Tensor:
        """Return x where δ may act and 0 elsewhere, with the mean of its shared columns in each of
        them."""
        x_BLQD = x_BLQD * self.where_BLQ[..., None]
        if self.shared_LQ is None:
            return x_BLQD
        shared_BLQ1 = (self.shared_LQ & self.where_BLQ)[..., None]
        count_BL11 = shared_BLQ1.sum(2, keepdim=True).clamp(min=1)
        mean_BL1D = (x_BLQD * shared_BLQ1).sum(2, keepdim=True) / count_BL11
        return torch.where(shared_BLQ1, mean_BL1D, x_BLQD)

    def score(self, delta_BLQD: Tensor, meter: Meter = UNCOUNTED) -> tuple[Tensor, Tensor]:
        """Return scores (B,), differentiable in δ, and whether the goal is reached (B,)."""
        h_BQD = self.run(delta_BLQD, self.family.n_layers, meter=meter)
        return self.goal(self.family, h_BQD, self.first)

    def states(self, delta_BLQD: Tensor, meter: Meter = UNCOUNTED) -> dict[int, Tensor]:
        """Return the residual stream (B, Q, D) at every monitored boundary with δ in place, float32."""
        final = self.trace(delta_BLQD, meter).final
        return {site: final[site] for site in self.features}

    def trace(self, delta_BLQD: Tensor, meter: Meter = UNCOUNTED) -> Trace:
        """Return the states that a pass with δ in place meets up to the last monitored boundary."""
        trace = Trace()
        self.run(delta_BLQD, max([*self.features, self.sites[-1]]), trace, meter)
        return trace

    def total(self, delta_BLQD: Tensor, meter: Meter = UNCOUNTED) -> Tensor:
        """Return everything that is added to the clamped states: δ, its corrections, and earlier
        stages' δ."""
        if not self.bases:
            return delta_BLQD if self.fixed_BLQD is None else delta_BLQD + self.fixed_BLQD
        trace = Trace()
        with torch.no_grad():
            self.run(delta_BLQD, self.sites[-1], trace, meter)
        return torch.stack([trace.final[s] - trace.clamped[s] for s in self.sites], dim=1)

    def added(self, delta_BLQD: Tensor, meter: Meter = UNCOUNTED) -> Tensor:
        """Return what this stage adds to the earlier ones, to which its limit applies."""
        total_BLQD = self.total(delta_BLQD, meter)
        return total_BLQD if self.fixed_BLQD is None else total_BLQD - self.fixed_BLQD

    def take(self, rows: Tensor) -> AttackProblem:
        """Return the problem of some examples."""
        return evolve(
            self, tokens=self.tokens.take(rows), where_BLQ=self.where_BLQ[rows],
            h_def={site: h[rows] for site, h in self.h_def.items()},
            unclamped_def={site: h[rows] for site, h in self.unclamped_def.items()},
            intervention=self.intervention.take(rows), prefix=self.prefix.take(rows),
            goal=self.goal.take(rows),
            fixed_BLQD=None if self.fixed_BLQD is None else self.fixed_BLQD[rows],
            touched_BQ=self.touched_BQ[rows],
        )  # fmt: skip

    def run(
        self,
        delta_BLQD: Tensor,
        stop: int,
        trace: Trace | None = None,
        meter: Meter = UNCOUNTED,
    ) -> Tensor:
        """Run the columns from the first perturbed one on up to boundary `stop`, and return their states
        (B, Q, D) there.

        Args:
            trace: receives the states at each site, monitored and clamped boundary.
            meter: counts the pass.
        """
        trace = trace or Trace()
        start = self.sites[0]
        meter.spend(forward_passes=int(stop > start))
        where_BQ = position_mask(self.intervention.at, self.tokens)[:, self.first :]

        def edit(site: int) -> Edit:
            clamp = self.intervention.clamps.get(site)

            def act(h_BQD: Tensor) -> Tensor:
                h_BQD = h_BQD.float()
                # At the start it has acted already: that state does not depend on δ.
                if clamp is not None and site > start:
                    trace.unclamped[site] = h_BQD
                    h_BQD = clamp(h_BQD, where_BQ)
                trace.clamped[site] = h_BQD
                if site in self.sites:
                    at = self.sites.index(site)
                    h_BQD = h_BQD + delta_BLQD[:, at]
                    if self.fixed_BLQD is not None:
                        h_BQD = h_BQD + self.fixed_BLQD[:, at]
                if site in self.bases:
                    corrected_BQ = self.touched_BQ
                    if site == start:
                        # Here the correction depends on δ alone, so it holds after the target too.
                        corrected_BQ = corrected_BQ | self.where_BLQ[:, 0]
                    moved_BQD = h_BQD - self.h_def[site]
                    kept_BQD = project(moved_BQD, self.bases[site])
                    h_BQD = torch.where(corrected_BQ[..., None], self.h_def[site] + kept_BQD, h_BQD)
                trace.final[site] = h_BQD
                return h_BQD.to(self.family.dtype)

            return act

        places = {*self.sites, *self.features, *self.intervention.clamps}
        edits = {site: edit(site) for site in places if start < site <= stop}
        h_BQD = edit(start)(self.h_def[start])
        return run_layers(
            self.family, h_BQD, self.tokens, start=start, stop=stop,
            first=self.first, cache=self.prefix, edits=edits,
        )  # fmt: skip
