"""The record of the step that chooses the targets of a control."""

from __future__ import annotations

from attrs import frozen

from recoverdsl.measure.rows import WithoutDelta


@frozen(kw_only=True)
class ChosenTarget:
    """The target of a control in one valid flip, and its figures there without δ."""

    row: int | None = None
    """Index of the example whose values fill it; None if there is none."""
    missing: str | None = None
    """Why there is none; None if there is one."""
    without: WithoutDelta | None = None
    """Its score and target token there."""


@frozen
class ChosenTargets:
    """The target of every valid flip: the record of a step."""

    rows: tuple[ChosenTarget, ...]
