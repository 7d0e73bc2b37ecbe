"""The state that the executors of one run share: its resources, and the output of the steps so far."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import define, field

from recoverdsl.compiler.graph import Node
from recoverdsl.compiler.steps import FindSmallestNorm, ReachHarder, Recover, RunBase, Step, Suffix
from recoverdsl.engine.attack.problem_factory import ProblemFactory
from recoverdsl.engine.behavior.generation import Answers
from recoverdsl.engine.behavior.observation import Observations
from recoverdsl.engine.defense.autoencoders import Autoencoder
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.resources import Resources, Text
from recoverdsl.engine.steps.evaluation import NO_UNLIKE_ANSWER, FlipBatch
from recoverdsl.engine.steps.feature_records import ActivationSums, SelectedFeatures
from recoverdsl.engine.steps.output import Output, ValidFlips
from recoverdsl.engine.steps.target_records import ChosenTargets
from recoverdsl.measure.texts import base_like
from recoverdsl.store.records import on_device


def _reaches_another(step: Step) -> bool:
    """Return whether the target of a step is that of another example."""
    match step:
        case Recover():
            return step.goal.example == "another"
        case FindSmallestNorm():
            return step.recover.goal.example == "another"
        case Suffix():
            return step.example == "another"
        case ReachHarder():
            return _reaches_another(step.search)
    return False


@define
class Work:
    """One run of a graph, while it is under way."""

    resources: Resources
    output: Output
    """The results so far."""
    problems: ProblemFactory = field(init=False)
    _protected: dict[tuple[str, str | None], Protected] = field(factory=dict)
    """Keys of the steps that select features and average them to their records on the device."""
    _texts: dict[str, list[Text]] = field(factory=dict)
    """Key of a step to its texts."""
    _unlike: dict[tuple[tuple[int, ...], int], int | None] = field(factory=dict)
    """Valid flips and a place among them to the index of an example with an unlike answer."""

    @problems.default
    def _new_factory(self) -> ProblemFactory:
        return ProblemFactory(self.resources)

    def flips(self, node: Node) -> tuple[int, ...]:
        """Return the indices of the valid flips that a step is over."""
        return self.output.record(node.inputs["flips"], ValidFlips).indices

    def texts(self, key: str) -> list[Text]:
        """Return the texts of a data block, or the prompts with the answers of a behavior."""
        if key not in self._texts:
            node = self.output.graph[key]
            if isinstance(node.step, RunBase):
                answers = self.output.record(key, Observations).answers
                assert answers is not None
                pairs = zip(self.resources.prompts, answers.lists(), strict=True)
                self._texts[key] = [Text(prompt, answer) for prompt, answer in pairs]
            else:
                assert node.block is not None
                self._texts[key] = self.resources.texts(node.block)
        return self._texts[key]

    def autoencoders(self, node: Node) -> list[Autoencoder]:
        """Return the SAEs whose features a step reads, as its results number them."""
        return [self.resources.autoencoders[name] for name in self.output.graph.saes_of(node)]

    def protected(self, node: Node) -> Protected:
        """Return the selected features of each SAE, and their means where the defense needs them."""
        keys = (node.inputs["features"], node.inputs.get("means"))
        if keys not in self._protected:
            selected = self.output.record(keys[0], SelectedFeatures).rows
            features = {}
            for number, name in enumerate(self.output.graph.saes_of(node)):
                own = [row.feature for row in selected if row.sae == number]
                if own:
                    boundary = self.resources.autoencoders[name].boundary
                    features[boundary] = self.resources.features(name, own)
            means = {}
            if keys[1] is not None:
                sums = self.output.record(keys[1], ActivationSums)
                means = {
                    site: sums.mean(site).float().to(self.resources.device) for site in features
                }
            self._protected[keys] = Protected(dict(sorted(features.items())), means)
        return self._protected[keys]

    def flip_batch(self, node: Node, batch: Sequence[int]) -> FlipBatch:
        """Return some of the valid flips, with the answers that an attack on a text needs.

        Args:
            batch: places among the valid flips.
        """
        flips = self.flips(node)
        indices = [flips[at] for at in batch]
        if "targets" in node.inputs:
            targets = self.output.record(node.inputs["targets"], ChosenTargets).rows
            chosen = [targets[at] for at in batch]
            filled = [
                index if one.row is None else one.row
                for index, one in zip(indices, chosen, strict=True)
            ]
            missing = {at: one.missing for at, one in enumerate(chosen) if one.missing}
            return FlipBatch(indices, filled=filled, missing=missing)
        if "base" not in node.inputs:
            return FlipBatch(indices)
        answers = self.output.record(node.inputs["base"], Observations).answers
        assert answers is not None
        another = _reaches_another(node.step)
        others = [self._unlike_answer(answers, flips, at) for at in batch]
        rows = [
            index if other is None else other for index, other in zip(indices, others, strict=True)
        ]
        device = self.resources.device
        answers = on_device(answers, device)
        return FlipBatch(
            indices,
            answers.take(torch.tensor(indices, device=device)),
            answers.take(torch.tensor(rows, device=device)),
            missing={
                at: NO_UNLIKE_ANSWER for at, other in enumerate(others) if other is None and another
            },
        )

    def _unlike_answer(self, answers: Answers, flips: tuple[int, ...], at: int) -> int | None:
        """Return the next valid flip whose answer is unlike this one's, from its first word on.

        Fixed by the order of the data, whatever the batch.
        """
        if (flips, at) not in self._unlike:
            read, phrases = self.resources.judged_text, self.resources.judges.phrases
            own, texts = flips[at], answers.lists()
            rotated = flips[at + 1 :] + flips[:at]
            self._unlike[flips, at] = next(
                (
                    other
                    for other in rotated
                    if texts[other][:1] != texts[own][:1]
                    and not base_like(read(texts[other]), read(texts[own]), phrases)
                ),
                None,
            )
        return self._unlike[flips, at]
