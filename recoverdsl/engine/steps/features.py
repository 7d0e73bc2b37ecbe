"""Steps that rank, select and average features."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from recoverdsl.compiler.steps import (
    MeanActivations,
    RankByAttribution,
    RankByContrast,
    SelectFeatures,
)
from recoverdsl.engine.behavior.feature_effects import attribution, sum_over_texts, top_features
from recoverdsl.engine.behavior.observation import score_of
from recoverdsl.engine.defense.autoencoders import Autoencoder
from recoverdsl.engine.resources import Resources, Text
from recoverdsl.engine.steps.executor import (
    Executor,
    Progress,
    TextExecutor,
    executes,
)
from recoverdsl.engine.steps.feature_records import (
    ActivationSums,
    Attributions,
    Contrast,
    Ranking,
    SelectedFeature,
    SelectedFeatures,
)
from recoverdsl.errors import UnavailableError


@executes(RankByAttribution)
class AttributionExecutor(Executor[RankByAttribution, Attributions]):
    """Sums the effects of every feature on a score, batch by batch: one row is small enough to keep."""

    record = Attributions

    @property
    def resources(self) -> Resources:
        """The resources of the run, with the rows of the step's own data block."""
        block = self.work.output.graph[self.node.inputs["data"]].block
        assert block is not None
        return self.work.resources.over(block)

    def count(self) -> int:
        return len(self.resources.examples)

    def longest(self) -> int:
        return max(map(len, self.resources.prompts))

    def compute(self, batch: range, progress: Progress) -> Attributions:
        resources, indices = self.resources, list(batch)
        saes = self.work.autoencoders(self.node)
        goal = score_of(resources, self.step.score, indices)
        effects, finite_B = attribution(resources, saes, goal, self.step.positions, indices)
        return Attributions(
            encoders_of(saes), {sae: effect_F[None] for sae, effect_F in enumerate(effects)}, finite_B
        )  # fmt: skip


@executes(RankByContrast)
class ContrastExecutor(TextExecutor[RankByContrast, Contrast]):
    """Sums the activations of every feature over two sets of texts, batch by batch."""

    record = Contrast

    def texts(self) -> list[Text]:
        """Return all texts of one side, then all of the other; a batch may hold both."""
        return [text for role in ("texts", "against") for text in self._side(role)]

    def compute(self, batch: range, progress: Progress) -> Contrast:
        saes, split = self.work.autoencoders(self.node), len(self._side("texts"))
        texts, against = (
            self._sums(self._side(role)[max(0, batch.start - first) : max(0, batch.stop - first)])
            for role, first in (("texts", 0), ("against", split))
        )
        boundaries = {number: sae.boundary for number, sae in enumerate(saes)}
        return Contrast(encoders_of(saes), boundaries, texts, against)

    def _sums(self, texts: list[Text]) -> ActivationSums:
        saes = {sae.boundary: sae for sae in self.work.autoencoders(self.node)}
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
        encoders = encoders_of(self.work.autoencoders(self.node))
        return SelectedFeatures(
            tuple(
                SelectedFeature(sae, id, 0.0, encoders[sae])
                for sae, ids in enumerate(self.step.ids)
                for id in ids
            )
        )

    def _first(self, ranking: str) -> SelectedFeatures:
        assert self.step.count is not None
        found = self.work.output.record(ranking, Ranking)  # type: ignore[type-abstract]  # none is made
        effects = [found.mean(sae) for sae in found.encoders]
        if not all(effect_F.isfinite().all() for effect_F in effects):
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


def encoders_of(saes: Sequence[Autoencoder]) -> dict[int, str]:
    """Return the invariance class of each SAE's encoder, by the number of the SAE."""
    return {number: sae.invariance for number, sae in enumerate(saes)}


def activation_sums(totals: dict[int, torch.Tensor], tokens: int) -> ActivationSums:
    """Return the record of one batch from its sums, (features,) by boundary, and its number of
    tokens."""
    return ActivationSums(
        {boundary: total_F[None] for boundary, total_F in totals.items()}, torch.tensor([tokens])
    )
