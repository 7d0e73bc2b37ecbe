"""The contract between a run and the steps that it executes, and the registry of executors.

A step is plain data; its executor knows how it is computed, batch by batch, and what its record is.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, Generic, TypeVar

from recoverdsl.compiler.graph import Node
from recoverdsl.compiler.steps import Step
from recoverdsl.engine import steps
from recoverdsl.engine.resources import Text
from recoverdsl.engine.steps.work import Work
from recoverdsl.store.records import Record

S = TypeVar("S", bound=Step)
R = TypeVar("R", bound=Record)
E = TypeVar("E", bound="type[Executor[Any, Any]]")

Progress = Callable[[int], None]
"""Called with the number of examples that are done."""


class Executor(ABC, Generic[S, R]):
    """Computes the steps of one kind."""

    record: ClassVar[type[Record]]
    """The class R of its record."""
    batched: ClassVar[bool] = True
    """Whether it is computed in batches of examples; else all at once."""

    def __init__(self, step: S, node: Node, work: Work) -> None:
        self.step, self.node, self.work = step, node, work

    @property
    def generated(self) -> int:
        """The most tokens that are generated for an example."""
        behavior = self.step.behavior
        return (behavior and behavior.generate) or 0

    @abstractmethod
    def count(self) -> int:
        """Return how many examples the step is over."""

    @abstractmethod
    def longest(self) -> int:
        """Return how many tokens the longest example has, including those that are generated."""

    @abstractmethod
    def compute(self, batch: range, progress: Progress) -> R:
        """Return the record of some of the examples."""


class ExampleExecutor(Executor[S, R]):
    """Computes a step over all examples."""

    def count(self) -> int:
        return len(self.work.resources.examples)

    def longest(self) -> int:
        return max(map(len, self.work.resources.prompts)) + self.generated


class FlipExecutor(Executor[S, R]):
    """Computes a step over the valid flips."""

    def count(self) -> int:
        return len(self.work.flips(self.node))

    def longest(self) -> int:
        prompts = self.work.resources.prompts
        return max(len(prompts[at]) for at in self.work.flips(self.node)) + self.generated


class SomeFlipsExecutor(Executor[S, R]):
    """Computes a step over some of the valid flips."""

    @property
    @abstractmethod
    def places(self) -> list[int]:
        """The places of the examples among the valid flips, ascending."""

    def count(self) -> int:
        return len(self.places)

    def longest(self) -> int:
        flips, prompts = self.work.flips(self.node), self.work.resources.prompts
        return max(len(prompts[flips[at]]) for at in self.places) + self.generated


class TextExecutor(Executor[S, R]):
    """Computes a step over texts."""

    @abstractmethod
    def texts(self) -> list[Text]:
        """Return the texts."""

    def count(self) -> int:
        return len(self.texts())

    def longest(self) -> int:
        return max(len(text.before) + len(text.read) for text in self.texts())


_EXECUTORS: dict[type[Step], type[Executor[Any, Any]]] = {}


def executes(kind: type[Step]) -> Callable[[E], E]:
    """Return a decorator that registers an executor for the steps of one kind."""

    def register(executor: E) -> E:
        _EXECUTORS[kind] = executor
        return executor

    return register


def executor_of(node: Node, work: Work) -> Executor[Any, Any] | None:
    """Return the executor of a node; None for a step that loads a resource or aggregates results."""
    _load()
    executor = _EXECUTORS.get(type(node.step))
    return None if executor is None else executor(node.step, node, work)


@cache
def _load() -> None:
    """Import the modules beside this one, so that each registers its executors."""
    for module in pkgutil.iter_modules(steps.__path__):
        importlib.import_module(f"{steps.__name__}.{module.name}")
