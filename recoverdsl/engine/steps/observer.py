"""The observer of a run: what shows people how far it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol

from recoverdsl.compiler.graph import Node

State = Literal["kept", "computed", "resumed"]
"""Where the result of a step is from: an earlier run, this one, or first the one and then the other."""


class Observer(Protocol):
    """Follows a run."""

    def busy(self, what: str) -> AbstractContextManager[None]:
        """Returns a context in which something of unknown length is done."""
        ...

    def point(self, what: str) -> None:
        """Notes that a point of a sweep begins."""
        ...

    def began(self, node: Node, examples: int) -> Callable[[int], None]:
        """Notes that a step begins; returns what takes the number of examples done."""
        ...

    def ended(self, node: Node, state: State, seconds: float, batch_size: int | None) -> None:
        """Notes that a step has ended."""
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
