"""The observer of a run, which shows people its progress."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol

from recoverdsl.compiler.graph import Node

State = Literal["kept", "computed", "resumed"]
"""Where the result of a step is from: an earlier run, this one, or both in turn."""


class Observer(Protocol):
    """Follows a run."""

    def busy(self, what: str) -> AbstractContextManager[None]:
        """Return a context in which something of unknown length is done."""
        ...

    def point(self, what: str) -> None:
        """Take note that a point of a sweep begins."""
        ...

    def began(self, node: Node, examples: int) -> Callable[[int], None]:
        """Take note that a step begins, and return a function that takes the number of examples done."""
        ...

    def ended(self, node: Node, state: State, seconds: float, batch_size: int | None) -> None:
        """Take note that a step has ended.

        Args:
            seconds: how long it took in this run.
            batch_size: examples at once; None for a step without batches.
        """
        ...


class Silent:
    """An observer that shows nothing."""

    def busy(self, what: str) -> AbstractContextManager[None]:
        return nullcontext()

    def point(self, what: str) -> None:
        pass

    def began(self, node: Node, examples: int) -> Callable[[int], None]:
        return lambda done: None

    def ended(self, node: Node, state: State, seconds: float, batch_size: int | None) -> None:
        pass
