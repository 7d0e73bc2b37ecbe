"""Runs a graph: takes from the store what is there, computes the rest, keeps it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

import torch
from attrs import define, field, frozen
from torch import Tensor

from recoverdsl.compiler.graph import Graph, Node
from recoverdsl.compiler.steps import (
    FindSmallestNorm,
    KeepValidFlips,
    MeanActivations,
    RandomDirections,
    RankFeatures,
    Recover,
    RunBase,
    RunDefended,
    SelectFeatures,
    SplitDelta,
    Suffix,
)
from recoverdsl.engine.behavior.feature_effects import attribution, best, sum_over_texts
from recoverdsl.engine.behavior.generation import Answers
from recoverdsl.engine.behavior.observation import observe, score_of
from recoverdsl.engine.defense.intervention import Intervention
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.resources import Resources, Text
from recoverdsl.engine.steps.batches import batch_size, in_batches
from recoverdsl.engine.steps.evaluation import Batch
from recoverdsl.engine.steps.executors import Executors
from recoverdsl.errors import UnavailableError
from recoverdsl.language.schema.canonical import canonical
from recoverdsl.measure.texts import base_like
from recoverdsl.store.steps import Entry, Part, Row, Store

State = Literal["kept", "computed", "resumed"]


class Observer(Protocol):
    """Is told how a run goes."""

    def busy(self, what: str) -> AbstractContextManager[None]:
        """Something of unknown length is under way."""
        ...

    def began(self, node: Node, examples: int) -> Callable[[int], None]:
        """A step begins; what is returned takes the number of examples done."""
        ...

    def ended(self, node: Node, state: State, seconds: float, batch_size: int | None) -> None: ...


@frozen(eq=False)
class Result:
    """One step's result, its parts joined."""

    rows: list[Row]
    tensors: dict[str, Tensor]
    seconds: float = 0.0
    """What its batches took when they were computed."""

    @classmethod
    def of(cls, parts: Sequence[Part]) -> Result:
        names = parts[0].tensors if parts else ()
        return cls(
            [row for part in parts for row in part.rows],
            {name: _joined([part.tensors[name] for part in parts]) for name in names},
            sum(part.seconds for part in parts),
        )


@frozen(eq=False)
class Output:
    """What a run of a graph came to: the result of each step by its key, and the valid flips."""

    results: Mapping[str, Result]
    valid_flips: Sequence[int]
    """Indices of the examples whose behavior the clamp removed."""


@define
class Runner:
    """Runs one graph on one set of resources."""

    graph: Graph
    resources: Resources
    store: Store
    observer: Observer
    batch: int | None = None
    """Batch size; None: chosen from the machine's memory."""
    results: dict[str, Result] = field(factory=dict)
    flips: list[int] = field(factory=list)
    _executors: Executors | None = None
    _known: dict[tuple[str, str | None], Protected] = field(factory=dict)
    _read: dict[str, list[Text]] = field(factory=dict)
    _others: dict[int, int | None] = field(factory=dict)

    def run(self) -> Output:
        """Runs every step that is not in the store.

        Raises:
            RecoverdslError: something cannot be had or does not fit; finished batches are kept.
        """
        for node in self.graph:
            if isinstance(node.step, KeepValidFlips):
                self._keep_valid_flips(node)
            elif node.stored:
                self.results[node.key] = self._result(node)
        return Output(self.results, self.flips)

    def _result(self, node: Node) -> Result:
        began = time.monotonic()
        entry = self.store.entry(node.digest)
        with entry.lock():
            parts = entry.parts() if entry.done else []
            state: State = "kept"
            if not entry.done:
                state = "resumed" if entry.begun else "computed"
                parts = self._compute(node, entry)
        self.observer.ended(node, state, time.monotonic() - began, entry.batch_size())
        return Result.of(parts)

    def _compute(self, node: Node, entry: Entry) -> list[Part]:
        step = node.step
        if isinstance(step, SelectFeatures):
            ranking = node.inputs.get("ranking")
            part = self._selected(step, self.results[ranking]) if ranking else self._given(step)
            entry.append(0, part)
            parts = [part]
        else:
            count = self._count(node)
            progress = self.observer.began(node, count)
            size = self._batch_size(node, count)

            def compute(batch: range) -> Part:
                def done(count: int) -> None:
                    progress(batch.start + count)

                return self._batch(node, batch, done)

            parts = in_batches(entry, count, size, compute, progress, self.batch)
        entry.finish(len(parts), {"key": node.key, "kind": node.kind, "step": canonical(step)})
        return parts

    # --- How many, and how many at once -----------------------------------------------------------

    def _count(self, node: Node) -> int:
        step = node.step
        if isinstance(step, MeanActivations):
            return len(self._texts(node.inputs["texts"]))
        if isinstance(step, RankFeatures) and step.by == "contrast":
            return len(self._texts(node.inputs["texts"])) + len(self._texts(node.inputs["against"]))
        if isinstance(step, RunBase | RunDefended | RankFeatures):
            return len(self.resources.examples)
        return len(self.flips)

    def _batch_size(self, node: Node, count: int) -> int:
        if not count:
            return 1
        if "texts" in node.inputs:
            texts = [self._texts(node.inputs[r]) for r in ("texts", "against") if r in node.inputs]
            longest = max(len(t.before) + len(t.looked_at) for text in texts for t in text)
        else:
            indices = self.flips if "flips" in node.inputs else range(len(self.resources.examples))
            longest = max(len(self.resources.prompts[index]) for index in indices)
            behavior = getattr(node.step, "behavior", None) or getattr(
                getattr(node.step, "recover", None), "behavior", None
            )
            longest += (behavior.generate or 0) if behavior else 0
        return self.batch or batch_size(self.resources.model.family, longest, count)

    def _batch(self, node: Node, batch: range, progress: Callable[[int], None]) -> Part:
        step = node.step
        if isinstance(step, RunBase):
            return observe(self.resources, step.behavior, list(batch), Intervention())
        if isinstance(step, RankFeatures):
            return self._effects(node, step, batch)
        protected = self._protected(node)
        if isinstance(step, MeanActivations):
            return self._sums(node, protected, batch)
        if isinstance(step, RunDefended):
            intervention = protected.intervention(step.defense)
            return observe(self.resources, step.behavior, list(batch), intervention)
        flips = self._flips(node, batch)
        if isinstance(step, Recover):
            return self.executors.recover(step, protected, flips, progress)
        if isinstance(step, RandomDirections):
            return self.executors.random_directions(step, protected, flips)
        if isinstance(step, Suffix):
            return self.executors.suffix(step, protected, flips, progress)
        found = self.results[node.inputs["found"]]
        here = slice(batch.start, batch.stop)
        part = Part(found.rows[here], {"delta": found.tensors["delta"][here]})
        if isinstance(step, SplitDelta):
            return self.executors.split_delta(step, protected, flips, part)
        assert isinstance(step, FindSmallestNorm)
        return self.executors.find_smallest_norm(step, protected, flips, part, progress)

    # --- Which features ---------------------------------------------------------------------------

    def _given(self, step: SelectFeatures) -> Part:
        kinds = [sae.invariance for sae in self.resources.autoencoders]
        chosen = [(sae, id) for sae, ids in enumerate(step.ids) for id in ids]
        rows = [
            {"sae": sae, "feature": id, "effect": 0.0, "encoder": kinds[sae]} for sae, id in chosen
        ]
        return Part(rows, {"ids": torch.tensor(chosen, dtype=torch.long).view(-1, 2)})

    def _effects(self, node: Node, step: RankFeatures, batch: range) -> Part:
        """A batch's effects, summed: one row of all features is small enough to keep."""
        saes = self.resources.autoencoders
        rows: list[Row] = [{"encoders": [sae.invariance for sae in saes]} for _ in batch]
        if step.by == "attribution":
            assert step.positions is not None
            indices = list(batch)
            goal = score_of(self.resources, step.score, indices)
            effects, finite_B = attribution(self.resources, goal, step.positions, indices)
            for row, finite in zip(rows, finite_B.tolist(), strict=True):
                row["left_out"] = not finite
            return Part(
                rows, {f"total {n}": effect[None].cpu() for n, effect in enumerate(effects)}
            )
        # First all texts of one side, then all of the other; a batch may hold both.
        more, less = (self._texts(node.inputs[role]) for role in ("texts", "against"))
        made: dict[str, Tensor] = {}
        for side, texts, start in (("texts", more, 0), ("against", less, len(more))):
            here = texts[max(0, batch.start - start) : max(0, batch.stop - start)]
            sums, count = ({sae.boundary: torch.zeros(sae.d_sae).double() for sae in saes}, 0)
            if here:
                sums, count = sum_over_texts(
                    self.resources, {sae.boundary: sae for sae in saes}, here
                )
            for number, sae in enumerate(saes):
                made[f"{side} {number}"] = sums[sae.boundary][None].cpu()
            made[f"{side} tokens"] = torch.tensor([count])
        return Part(rows, made)

    def _sums(self, node: Node, protected: Protected, batch: range) -> Part:
        texts = self._texts(node.inputs["texts"])[batch.start : batch.stop]
        sums, count = sum_over_texts(self.resources, protected.features, texts)
        tensors = {f"site {site}": total[None].cpu() for site, total in sums.items()}
        return Part([{} for _ in batch], {**tensors, "tokens": torch.tensor([count])})

    def _selected(self, step: SelectFeatures, ranking: Result) -> Part:
        """The features with the largest mean effect."""
        assert step.count is not None
        encoders = ranking.rows[0]["encoders"]
        left_out = sum(row.get("left_out", False) for row in ranking.rows)
        ranked = len(ranking.rows) - left_out
        effects = [self._mean_effects(ranking, n, max(1, ranked)) for n in range(len(encoders))]
        if not ranked or not all(effect_F.isfinite().all() for effect_F in effects):
            raise UnavailableError(
                "features cannot be ranked: their effects are no finite numbers",
                why="activations or gradients of the model overflow on these texts",
                help="take dtype = float32, or look for broken weights",
            )
        most = min(map(len, effects)) if step.each else sum(map(len, effects))
        if step.count > most:
            raise UnavailableError(
                f"top({step.count}) asks for more features than the {most} that there are"
            )
        chosen = [
            (sae, int(id))
            for sae, ids in enumerate(best(effects, step.count, step.each))
            for id in ids
        ]
        rows: list[Row] = [
            {
                "sae": sae, "feature": id, "effect": float(effects[sae][id]),
                "encoder": encoders[sae], "left_out": left_out,
            }
            for sae, id in chosen
        ]  # fmt: skip
        return Part(rows, {"ids": torch.tensor(chosen).view(-1, 2)})

    def _mean_effects(self, ranking: Result, sae: int, examples: int) -> Tensor:
        """The effect of each feature: (d_sae,)."""
        if f"total {sae}" in ranking.tensors:
            return ranking.tensors[f"total {sae}"].sum(0) / examples
        return self._mean(ranking, "texts", sae) - self._mean(ranking, "against", sae)

    @staticmethod
    def _mean(result: Result, side: str, sae: int) -> Tensor:
        tokens = int(result.tensors[f"{side} tokens"].sum())
        if not tokens:
            raise UnavailableError(
                "a contrast needs tokens on both sides",
                help="give both sets texts that are not empty",
            )
        return result.tensors[f"{side} {sae}"].sum(0) / tokens

    def _texts(self, key: str) -> list[Text]:
        """Texts of a data block, or the answers of a behavior behind their prompts."""
        if key not in self._read:
            node = self.graph[key]
            if isinstance(node.step, RunBase):
                answers = Answers.of(self.results[key].tensors, torch.device("cpu")).lists()
                pairs = zip(self.resources.prompts, answers, strict=True)
                self._read[key] = [Text(prompt, answer) for prompt, answer in pairs]
            else:
                assert node.block is not None
                self._read[key] = self.resources.texts(node.block)
        return self._read[key]

    def _protected(self, node: Node) -> Protected:
        """The selected features of each SAE, and their means where the defense needs them."""
        keys = (node.inputs["features"], node.inputs.get("means"))
        if keys not in self._known:
            ids = self.results[keys[0]].tensors["ids"]
            features = {}
            for number, sae in enumerate(self.resources.autoencoders):
                own = ids[ids[:, 0] == number, 1].tolist()
                if own:
                    features[sae.boundary] = self.resources.features(number, own)
            means = {}
            if keys[1] is not None:
                found = self.results[keys[1]].tensors
                tokens = int(found["tokens"].sum())
                for site in features:
                    mean_S = (found[f"site {site}"].sum(0) / max(1, tokens)).float()
                    means[site] = mean_S.to(self.resources.device)
            self._known[keys] = Protected(dict(sorted(features.items())), means)
        return self._known[keys]

    # --- Valid flips ------------------------------------------------------------------------------

    def _keep_valid_flips(self, node: Node) -> None:
        base, defended = (self.results[node.inputs[role]] for role in ("base", "defended"))
        self.flips = [
            index
            for index, (before, after) in enumerate(zip(base.rows, defended.rows, strict=True))
            if before["holds"] and after["removed"] and not (before["failed"] or after["failed"])
        ]

    def _flips(self, node: Node, batch: range) -> Batch:
        indices = [self.flips[at] for at in batch]
        if "base" not in node.inputs:
            return Batch(indices)
        answers = Answers.of(self.results[node.inputs["base"]].tensors, self.resources.device)
        others = [self._other(answers, at) for at in batch]
        rows = [
            index if other is None else other for index, other in zip(indices, others, strict=True)
        ]
        return Batch(
            indices,
            answers.take(torch.tensor(indices, device=self.resources.device)),
            answers.take(torch.tensor(rows, device=self.resources.device)),
            [at for at, other in enumerate(others) if other is None],
        )

    def _other(self, answers: Answers, at: int) -> int | None:
        """The next valid flip whose answer is unlike this one's, from its first word on.

        Fixed by the order of the data, whatever the batch.
        """
        if at not in self._others:
            decode, phrases = self.resources.model.decode, self.resources.judging.phrases
            own, texts = self.flips[at], answers.lists()
            turned = self.flips[at + 1 :] + self.flips[:at]
            self._others[at] = next(
                (
                    other
                    for other in turned
                    if texts[other][:1] != texts[own][:1]
                    and not base_like(decode(texts[other]), decode(texts[own]), phrases)
                ),
                None,
            )
        return self._others[at]

    @property
    def executors(self) -> Executors:
        if self._executors is None:
            self._executors = Executors(self.resources)
        return self._executors


def _joined(tensors: list[Tensor]) -> Tensor:
    """Batches behind each other; δ (B, L, P, D) of shorter prompts is filled with zeros on the left."""
    if tensors[0].dim() == 4:
        width = max(tensor.shape[2] for tensor in tensors)
        tensors = [torch.nn.functional.pad(t, (0, 0, width - t.shape[2], 0)) for t in tensors]
    return torch.cat(tensors)
