"""The contract of the records that make rows of the example table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from attrs import frozen
from torch import Tensor

from recoverdsl.engine.behavior.generation import Answers
from recoverdsl.measure.keys import PartKey
from recoverdsl.measure.rows import Recovery


@frozen(eq=False)
class Replay:
    """An attack, or a part of its δ, under the clamp."""

    rows: tuple[Recovery, ...]
    answers: Answers | None
    """The generated texts; None if none are."""
    suffix_ids_BN: Tensor | None = None
    """The tokens of a suffix of real tokens."""
    draw: int | None = None
    """The number of the random draw; None where nothing is drawn."""


class TableRecord(ABC):
    """The record of a step that makes rows of the example table, one for each valid flip and replay.

    Of several random draws, each is a replay."""

    @abstractmethod
    def replays(self) -> Iterator[tuple[PartKey | None, Replay]]:
        """Yield what was replayed, and with which outcome: None for the whole of an attack."""

    def deltas(self) -> Iterator[tuple[str | None, Tensor]]:
        """Yield each δ (B, L, P, D) and the name of its part, None for a whole one; none by default."""
        return iter(())

    def boundaries(self) -> list[int]:
        """Return the boundaries of the L sites of δ; none by default."""
        return []
