"""Runs a graph: takes from the store what is there, computes the rest, keeps it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from attrs import field, frozen

from recoverdsl.compiler.graph import Graph, Node
from recoverdsl.compiler.steps import KeepValidFlips
from recoverdsl.engine.model.batch_size import batch_size
from recoverdsl.engine.resources import Resources
from recoverdsl.engine.steps.batches import in_batches
from recoverdsl.engine.steps.executor import Executor, executor_of
from recoverdsl.engine.steps.observer import Observer, State
from recoverdsl.engine.steps.work import StepResult, ValidFlips, Work
from recoverdsl.language.canonical import canonical
from recoverdsl.store.records import joined
from recoverdsl.store.steps import Entry, Part, Store

R = TypeVar("R")


@frozen(eq=False)
class Output:
    """What a run of a graph left: the result of each step by its key."""

    graph: Graph
    results: Mapping[str, StepResult]

    @property
    def valid_flips(self) -> Sequence[int]:
        """Indices of the examples whose behavior the clamp removed."""
        keys = self.graph.keys_of(KeepValidFlips)
        return self.record(keys[0], ValidFlips).indices if keys else ()

    def record(self, key: str, kind: type[R]) -> R:
        """Return the record of a step."""
        found = self.results[key].record
        assert isinstance(found, kind), f"{key} has no {kind.__name__}"
        return found


@frozen
class Runner:
    """Runs one graph on one set of resources."""

    graph: Graph
    resources: Resources
    store: Store
    observer: Observer
    asked_batch_size: int | None = None
    """None: chosen from the machine's memory."""
    work: Work = field(init=False)

    @work.default
    def _new(self) -> Work:
        return Work(self.graph, self.resources)

    def run(self) -> Output:
        """Run every step that is not in the store, and return what all of them left.

        Raises:
            RecoverdslError: something is missing or does not fit; finished batches are kept.
        """
        for node in self.graph:
            executor = executor_of(node, self.work)
            if executor is None:
                continue
            if node.stored:
                self.work.results[node.key] = self._result(node, executor)
            else:
                record = executor.compute(range(executor.count()), lambda done: None)
                self.work.results[node.key] = StepResult(record)
        return Output(self.graph, self.work.results)

    def _result(self, node: Node, executor: Executor[Any, Any]) -> StepResult:
        began = time.monotonic()
        entry = self.store.entry(node.digest)
        with entry.lock():
            parts: list[Part[Any]] = entry.parts(executor.record) if entry.done else []
            state: State = "kept"
            if not entry.done:
                state = "resumed" if entry.begun else "computed"
                parts = self._compute(node, executor, entry)
        self.observer.ended(node, state, time.monotonic() - began, entry.batch_size())
        records = [part.record for part in parts]
        return StepResult(joined(records) if records else None, sum(p.seconds for p in parts))

    def _compute(self, node: Node, executor: Executor[Any, Any], entry: Entry) -> list[Part[Any]]:
        count = executor.count()
        parts: list[Part[Any]]
        if executor.batched:
            parts = self._in_batches(node, executor, entry, count)
        else:
            part = Part(count, executor.compute(range(count), lambda done: None))
            entry.append(0, part)
            parts = [part]
        entry.finish(len(parts), {"key": node.key, "kind": node.kind, "step": canonical(node.step)})
        return parts

    def _in_batches(
        self, node: Node, executor: Executor[Any, Any], entry: Entry, count: int
    ) -> list[Part[Any]]:
        progress = self.observer.began(node, count)
        size = 1
        if count:
            family = self.resources.model.family
            size = self.asked_batch_size or batch_size(family, executor.longest(), count)

        def compute(batch: range) -> Part[Any]:
            record = executor.compute(batch, lambda done: progress(batch.start + done))
            return Part(len(batch), record)

        return in_batches(
            entry, executor.record, count, size, compute, progress, self.asked_batch_size
        )
