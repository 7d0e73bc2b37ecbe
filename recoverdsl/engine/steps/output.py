"""The output of a run of a graph: the record of each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from attrs import field, frozen

from recoverdsl.compiler.graph import Graph
from recoverdsl.compiler.steps import KeepValidFlips
from recoverdsl.engine.steps.table_record import TableRecord
from recoverdsl.store.records import Record

R = TypeVar("R")


@frozen(eq=False)
class StepResult:
    """The result of a step, its batches joined."""

    record: Record | None
    """None if the step had no examples."""
    seconds: float = 0.0
    """How long its batches took when they were computed."""


@frozen
class ValidFlips:
    """The valid flips: the record of a step."""

    indices: tuple[int, ...]
    """Indices of the examples, ascending, whose behavior the clamp removed."""


@frozen(eq=False)
class Output:
    """The steps of a graph that have run, each with its result."""

    graph: Graph
    results: dict[str, StepResult] = field(factory=dict)
    """Key of a step to its result."""

    def record(self, key: str, kind: type[R]) -> R:
        """Return the record of a step that has run."""
        found = self.results[key].record
        assert isinstance(found, kind), f"{key} has no {kind.__name__}"
        return found

    def table(self, key: str) -> TableRecord | None:
        """Return the record of a step that makes rows of the example table; None if there are no valid
        flips."""
        found = self.results[key].record
        assert found is None or isinstance(found, TableRecord), f"{key} makes no rows"
        return found

    def flips(self, key: str | None) -> Sequence[int]:
        """Return the indices of the valid flips that a step keeps or is over; none without a step."""
        if key is None:
            return ()
        node = self.graph[key]
        kept = key if isinstance(node.step, KeepValidFlips) else node.inputs["flips"]
        return self.record(kept, ValidFlips).indices
