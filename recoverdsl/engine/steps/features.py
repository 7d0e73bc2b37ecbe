"""Steps that rank, select and average features."""

from __future__ import annotations

import torch

from recoverdsl.compiler.steps import MeanActivations, RankFeatures, SelectFeatures
from recoverdsl.engine.behavior.feature_effects import attribution, sum_over_texts, top_features
from recoverdsl.engine.behavior.observation import score_of
from recoverdsl.engine.resources import Text
from recoverdsl.engine.steps.executor import Executor, Progress, TextExecutor, executes
from recoverdsl.engine.steps.feature_records import (
    ActivationSums,
    Attributions,
    Contrast,
    FeatureEffects,
    SelectedFeature,
    SelectedFeatures,
)
from recoverdsl.errors import UnavailableError


@executes(RankFeatures)
class RankingExecutor(TextExecutor[RankFeatures, FeatureEffects]):
    """Computes the effect of every feature, over examples or over two sets of texts.

    Effects are summed batch by batch: one row of all features is small enough to keep.
    """

    record = FeatureEffects

    def texts(self) -> list[Text]:
        """Return all texts of one side, then all of the other; a batch may hold both."""
        return [text for role in ("texts", "against") for text in self._side(role)]

    def count(self) -> int:
        if self.step.by == "attribution":
            return len(self.work.resources.examples)
        return super().count()

    def longest(self) -> int:
        if self.step.by == "attribution":
            return max(map(len, self.work.resources.prompts))
        return super().longest()

    def compute(self, batch: range, progress: Progress) -> FeatureEffects:
        saes = self.work.resources.autoencoders
        encoders = {number: sae.invariance for number, sae in enumerate(saes)}
        boundaries = {number: sae.boundary for number, sae in enumerate(saes)}
        if self.step.by == "attribution":
            return FeatureEffects(encoders, boundaries, attributions=self._attributions(batch))
        split = len(self._side("texts"))
        texts, against = (
            self._sums(self._side(role)[max(0, batch.start - first) : max(0, batch.stop - first)])
            for role, first in (("texts", 0), ("against", split))
        )
        return FeatureEffects(encoders, boundaries, contrast=Contrast(texts, against))

    def _attributions(self, batch: range) -> Attributions:
        assert self.step.positions is not None
        indices = list(batch)
        goal = score_of(self.work.resources, self.step.score, indices)
        effects, finite_B = attribution(self.work.resources, goal, self.step.positions, indices)
        return Attributions(
            {number: effect_F[None] for number, effect_F in enumerate(effects)}, finite_B
        )

    def _sums(self, texts: list[Text]) -> ActivationSums:
        saes = {sae.boundary: sae for sae in self.work.resources.autoencoders}
        if texts:
            totals, count = sum_over_texts(self.work.resources, saes, texts)
        else:
            totals, count = {b: torch.zeros(sae.d_sae).double() for b, sae in saes.items()}, 0
        return activation_sums(totals, count)

    def _side(self, role: str) -> list[Text]:
        return self.work.texts(self.node.inputs[role])


@executes(SelectFeatures)
class SelectionExecutor(Executor[SelectFeatures, SelectedFeatures]):
    """Selects the features that are listed, or those with the largest mean effect."""

    record = SelectedFeatures
    batched = False

    def count(self) -> int:
        return 1

    def longest(self) -> int:
        return 0

    def compute(self, batch: range, progress: Progress) -> SelectedFeatures:
        ranking = self.node.inputs.get("ranking")
        return self._listed() if ranking is None else self._first(ranking)

    def _listed(self) -> SelectedFeatures:
        encoders = [sae.invariance for sae in self.work.resources.autoencoders]
        return SelectedFeatures(
            tuple(
                SelectedFeature(sae, id, 0.0, encoders[sae])
                for sae, ids in enumerate(self.step.ids)
                for id in ids
            )
        )

    def _first(self, ranking: str) -> SelectedFeatures:
        assert self.step.count is not None
        found = self.work.output.record(ranking, FeatureEffects)
        effects = [found.mean(sae) for sae in found.encoders]
        empty = found.attributions is not None and not found.attributions.finite_B.any()
        if empty or not all(effect_F.isfinite().all() for effect_F in effects):
            raise UnavailableError(
                "features cannot be ranked: their effects are not finite numbers",
                why="activations or gradients of the model overflow on these texts",
                help="take dtype = float32, or look for broken weights",
            )
        most = min(map(len, effects)) if self.step.each else sum(map(len, effects))
        if self.step.count > most:
            raise UnavailableError(
                f"expected at most {most} features, found top({self.step.count})"
            )
        return SelectedFeatures(
            tuple(
                SelectedFeature(sae, int(id), float(effects[sae][id]), found.encoders[sae])
                for sae, ids in enumerate(top_features(effects, self.step.count, self.step.each))
                for id in ids
            ),
            left_out=found.left_out,
        )


@executes(MeanActivations)
class MeansExecutor(TextExecutor[MeanActivations, ActivationSums]):
    """Averages the selected features over texts."""

    record = ActivationSums

    def texts(self) -> list[Text]:
        return self.work.texts(self.node.inputs["texts"])

    def compute(self, batch: range, progress: Progress) -> ActivationSums:
        features = self.work.protected(self.node).features
        texts = self.texts()[batch.start : batch.stop]
        return activation_sums(*sum_over_texts(self.work.resources, features, texts))


def activation_sums(totals: dict[int, torch.Tensor], tokens: int) -> ActivationSums:
    """Return the record of one batch from its sums, (features,) by boundary, and its number of tokens."""
    return ActivationSums(
        {boundary: total_F[None] for boundary, total_F in totals.items()}, torch.tensor([tokens])
    )
