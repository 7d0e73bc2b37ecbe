"""An observer of runs that records what it observes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from attrs import define, field


@define
class RecordingObserver:
    """An observer that records what a run loads and computes."""

    loaded: Counter[str] = field(factory=Counter)
    steps: Counter[tuple[str, str]] = field(factory=Counter)
    points: list[str] = field(factory=list)

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        self.loaded[what] += 1
        yield

    def point(self, what: str) -> None:
        self.points.append(what)

    def began(self, node: Any, examples: int) -> Callable[[int], None]:
        return lambda done: None

    def ended(self, node: Any, state: str, seconds: float, batch_size: int | None) -> None:
        self.steps[node.kind, state] += 1
