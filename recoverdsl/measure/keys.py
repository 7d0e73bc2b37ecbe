"""The keys of a run's tables of examples, and of the parts of a δ."""

from __future__ import annotations

import math
from typing import Literal

from attrs import frozen

from recoverdsl.measure.columns import column

RowKind = Literal[
    "attack", "control", "unconstrained_control", "smallest_norm", "smallest_norm_control", "part"
]


@frozen
class TableKey:
    """One table of examples: an attack, control or search at one limit."""

    kind: RowKind = column(
        "`attack`, `control`, `unconstrained_control` (random directions without the attack's constraint), "
        "`smallest_norm` or `smallest_norm_control` (a search), or `part` of a δ."
    )
    name: str = column("Name of the attack or control.")
    limit: float | None = column(
        "Largest norm that δ might have; null if there was no limit.", unit="residual stream"
    )

    def __str__(self) -> str:
        return f"{self.kind} {self.name} {'none' if self.limit is None else limit_text(self.limit)}"


@frozen
class PartKey:
    """A part of δ, replayed alone, or δ without it."""

    part: str = column("Which part of δ; null where δ is whole.")
    how: Literal["alone", "without"] = column(
        "`alone` or `without`: whether the part was replayed alone, or δ without it."
    )


@frozen
class Budget:
    """An attack at a limit."""

    attack: str
    """Name of the attack."""
    limit: float | None
    """Largest norm; None if there is no limit."""
    least: bool = False
    """Whether it is about the search of the least norm, which is to be no larger than the limit."""

    def __str__(self) -> str:
        limit = "none" if self.limit is None else limit_text(self.limit)
        return f"{self.attack} {limit}{' least' if self.least else ''}"


def same_limit(one: float | None, other: float | None) -> bool:
    """Tell whether two limits are the same, up to rounding."""
    return one is other if one is None or other is None else math.isclose(one, other)


def limit_text(limit: float) -> str:
    """Return a limit as short text that reads back as the same number."""
    return repr(float(limit)).removesuffix(".0")
