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
    RandomDirections,
    Recover,
    RunBase,
    RunDefended,
    SelectFeatures,
)
from recoverdsl.engine.batches import batch_size, in_batches
from recoverdsl.engine.executors import Executors
from recoverdsl.engine.resources import Resources
from recoverdsl.engine.saes import Features
from recoverdsl.errors import UnavailableError
from recoverdsl.language.canonical import canonical
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

    @classmethod
    def of(cls, parts: Sequence[Part]) -> Result:
        names = parts[0].tensors if parts else ()
        return cls(
            [row for part in parts for row in part.rows],
            {name: _joined([part.tensors[name] for part in parts]) for name in names},
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
    _features: dict[tuple[int, ...], Features] = field(factory=dict)

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
        result = Result.of(parts)
        if isinstance(node.step, SelectFeatures) and node.step.ids is None:
            return self._selected(node.step, result)
        return result

    def _compute(self, node: Node, entry: Entry) -> list[Part]:
        step = node.step
        if isinstance(step, SelectFeatures) and step.ids is not None:
            part = self._given(step.ids)
            entry.append(0, part)
            parts = [part]
        else:
            indices = self._indices(step)
            progress = self.observer.began(node, len(indices))
            size = self._batch_size(indices)

            def compute(batch: range) -> Part:
                def done(count: int) -> None:
                    progress(batch.start + count)

                return self._batch(node, [indices[at] for at in batch], batch, done)

            parts = in_batches(entry, len(indices), size, compute, progress, self.batch)
        entry.finish(len(parts), {"key": node.key, "kind": node.kind, "step": canonical(step)})
        return parts

    def _indices(self, step: object) -> list[int]:
        if isinstance(step, RunBase | RunDefended | SelectFeatures):
            return list(range(len(self.resources.examples)))
        return self.flips

    def _batch_size(self, indices: list[int]) -> int:
        if not indices:
            return 1
        longest = max(len(self.resources.prompts[index]) for index in indices)
        return self.batch or batch_size(self.resources.model.family, longest, len(indices))

    def _batch(
        self, node: Node, indices: list[int], batch: range, progress: Callable[[int], None]
    ) -> Part:
        step, executors = node.step, self.executors
        if isinstance(step, RunBase):
            return executors.run_base(step, indices)
        if isinstance(step, SelectFeatures):
            return self._effects(step, indices)
        features = self._features_of(node)
        if isinstance(step, RunDefended):
            return executors.run_defended(step, features, indices)
        if isinstance(step, Recover):
            return executors.recover(step, features, indices, progress)
        if isinstance(step, RandomDirections):
            return executors.random_directions(step, features, indices)
        assert isinstance(step, FindSmallestNorm)
        found = self.results[node.inputs["found"]]
        here = slice(batch.start, batch.stop)
        part = Part(found.rows[here], {"delta": found.tensors["delta"][here]})
        return executors.find_smallest_norm(step, features, indices, part, progress)

    def _given(self, ids: tuple[int, ...]) -> Part:
        encoder = self.resources.autoencoder.invariance
        rows = [{"feature": id, "effect": 0.0, "encoder": encoder} for id in ids]
        return Part(rows, {"ids": torch.tensor(ids), "effects": torch.zeros(len(ids))})

    def _effects(self, step: SelectFeatures, indices: list[int]) -> Part:
        """A batch's effects, summed: one row of all features is small enough to keep."""
        part = self.executors.attribution(step, indices)
        total_1F = part.tensors["effect"].cpu().double().sum(0, keepdim=True)
        encoder = self.resources.autoencoder.invariance
        return Part([{**row, "encoder": encoder} for row in part.rows], {"total": total_1F})

    def _selected(self, step: SelectFeatures, result: Result) -> Result:
        """The features with the largest mean effect."""
        assert step.count is not None
        mean_F = result.tensors["total"].sum(0) / len(result.rows)
        if step.count > len(mean_F):
            raise UnavailableError(
                f"top({step.count}) asks for more features than the SAE's {len(mean_F)}"
            )
        best = mean_F.topk(step.count)
        encoder = result.rows[0]["encoder"]
        rows = [
            {"feature": int(id), "effect": float(effect), "encoder": encoder}
            for id, effect in zip(best.indices, best.values, strict=True)
        ]
        return Result(rows, {"ids": best.indices, "effects": best.values})

    def _keep_valid_flips(self, node: Node) -> None:
        base, defended = (self.results[node.inputs[role]] for role in ("base", "defended"))
        self.flips = [
            index
            for index, (before, after) in enumerate(zip(base.rows, defended.rows, strict=True))
            if before["holds"] and not after["holds"] and not (before["failed"] or after["failed"])
        ]

    def _features_of(self, node: Node) -> Features:
        ids = tuple(self.results[node.inputs["features"]].tensors["ids"].tolist())
        if ids not in self._features:
            self._features[ids] = self.resources.features(list(ids))
        return self._features[ids]

    @property
    def executors(self) -> Executors:
        if self._executors is None:
            self._executors = Executors(self.resources)
        return self._executors


def _joined(tensors: list[Tensor]) -> Tensor:
    """Batches behind each other; δ of shorter prompts is filled with zeros on the left."""
    if tensors[0].dim() == 3:
        width = max(tensor.shape[1] for tensor in tensors)
        tensors = [torch.nn.functional.pad(t, (0, 0, width - t.shape[1], 0)) for t in tensors]
    return torch.cat(tensors)
