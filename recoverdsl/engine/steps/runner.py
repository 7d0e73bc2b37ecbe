"""The runner of a graph: it takes finished steps from the store, and computes and stores the others."""

from __future__ import annotations

import time
from typing import Any

from attrs import field, frozen

from recoverdsl.compiler.graph import Graph, Node
from recoverdsl.engine.model.batch_size import batch_size
from recoverdsl.engine.resources import Resources
from recoverdsl.engine.steps.batches import in_batches
from recoverdsl.engine.steps.executor import Executor, executor_of
from recoverdsl.engine.steps.observer import Observer, State
from recoverdsl.engine.steps.output import Output, StepResult
from recoverdsl.engine.steps.work import Work
from recoverdsl.language.schema.canonical import canonical
from recoverdsl.store.records import joined
from recoverdsl.store.steps import Entry, Part, Store


@frozen
class Runner:
    """Runs one graph on one set of resources."""

    graph: Graph
    resources: Resources
    store: Store
    observer: Observer
    requested_batch_size: int | None = None
    """Examples at once, in place of as many as fit into the machine's memory."""
    work: Work = field(init=False)

    @work.default
    def _new_work(self) -> Work:
        return Work(self.resources, Output(self.graph))

    def run(self) -> Output:
        """Run every step that is not in the store, and return the results of all of them.

        Raises:
            RecoverdslError: something is missing or does not fit; finished batches are kept.
        """
        results = self.work.output.results
        for node in self.graph:
            executor = executor_of(node, self.work)
            if executor is None:
                continue
            if node.stored:
                results[node.key] = self._result(node, executor)
            else:
                record = executor.compute(range(executor.count()), lambda done: None)
                results[node.key] = StepResult(record)
        return self.work.output

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
            size = self.requested_batch_size or batch_size(family, executor.longest(), count)

        def compute(batch: range) -> Part[Any]:
            record = executor.compute(batch, lambda done: progress(batch.start + done))
            return Part(len(batch), record)

        return in_batches(
            entry, executor.record, count, size, compute, progress, self.requested_batch_size
        )
