"""The step that reads the protected features over the prompts, without and under the clamp.

Letters: B example, T token, S protected feature.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recoverdsl.compiler.steps import ReadFeatures
from recoverdsl.engine.defense.intervention import Intervention
from recoverdsl.engine.model.forward import Tokens, embed, run_layers
from recoverdsl.engine.model.positions import position_mask
from recoverdsl.engine.steps.executor import ExampleExecutor, Progress, executes
from recoverdsl.engine.steps.feature_records import FeatureReadings


@executes(ReadFeatures)
class ReadingsExecutor(ExampleExecutor[ReadFeatures, FeatureReadings]):
    """Sums the values of the protected features at the tokens of the prompts at which the clamp acts."""

    record = FeatureReadings

    @torch.no_grad()
    def compute(self, batch: range, progress: Progress) -> FeatureReadings:
        tokens = self.work.resources.tokens(list(batch))
        clamped = self.work.protected(self.node).intervention(self.step.defense)
        base, defended = (self._read(tokens, i) for i in (Intervention(), clamped))
        covered_BT1 = position_mask(self.step.defense.at, tokens)[..., None]
        finite_B = torch.stack(
            [
                torch.where(covered_BT1, z_BTS, 0.0).isfinite().all(2).all(1)
                for z_BTS in (*base.values(), *defended.values())
            ]
        ).all(0)
        covered_BT1 = covered_BT1 & finite_B[:, None, None]
        active = {site: covered_BT1 & (z_BTS > 0) for site, z_BTS in base.items()}
        acts = (
            active
            if self.step.defense.when == "active"
            else {site: covered_BT1.expand_as(z_BTS) for site, z_BTS in base.items()}
        )
        return FeatureReadings(
            base={site: _sum(z_BTS, acts[site]) for site, z_BTS in base.items()},
            defended={site: _sum(z_BTS, acts[site]) for site, z_BTS in defended.items()},
            tokens={site: acts_BTS.sum((0, 1))[None] for site, acts_BTS in acts.items()},
            active={site: active_BTS.any(1).sum(0)[None] for site, active_BTS in active.items()},
            covered_B=covered_BT1.sum((1, 2)),
            finite_B=finite_B,
        )

    def _read(self, tokens: Tokens, intervention: Intervention) -> dict[int, Tensor]:
        """Return the values of the protected features under an intervention, (B, T, S), by boundary."""
        family = self.work.resources.model.family
        readers = self.work.protected(self.node).features
        watch: dict[int, list[Tensor]] = {site: [] for site in readers}
        run_layers(
            family, embed(family, tokens), tokens, start=0, stop=max(readers),
            edits=intervention.edits(tokens, watch=watch),
        )  # fmt: skip
        return {site: reader.encode(watch[site][0]) for site, reader in readers.items()}


def _sum(z_BTS: Tensor, where_BTS: Tensor) -> Tensor:
    """Return the sum over the tokens that are marked, (1, S), float64."""
    return torch.where(where_BTS, z_BTS, 0.0).double().sum((0, 1))[None]
