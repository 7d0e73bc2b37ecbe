"""The typed steps of a graph.

A step holds everything that decides its result, except what it takes from other steps; names of
blocks are left out, so renaming one changes no digest. Each class has a `version`: raise it when the
meaning of its result changes, and stored results of the old meaning are no longer used.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from attrs import frozen

from recoverdsl.language import schema
from recoverdsl.language.schema import Positions, Predicate, Score


@frozen
class LoadModel:
    """The weights, in memory only."""

    version: ClassVar[int] = 1
    weights: str
    """What pins them: a digest of the file, or repository and revision."""
    dtype: str


@frozen
class LoadSae:
    version: ClassVar[int] = 1
    weights: str
    layer: int
    side: str


@frozen
class LoadData:
    version: ClassVar[int] = 1
    rows: str
    """Digest of the rows' source."""
    prompt: str
    limit: int | None
    chat: bool


@frozen
class SelectFeatures:
    """Ids of the protected features. A list needs no model; a ranking runs it with gradients."""

    version: ClassVar[int] = 2
    count: int | None
    ids: tuple[int, ...] | None
    score: Score | None
    positions: Positions | None


@frozen
class RunBase:
    """The behavior of the unmodified model, per example."""

    version: ClassVar[int] = 1
    score: Score
    holds: Predicate


@frozen
class Defense:
    """What is clamped to what, and where; a part of the steps that run under it."""

    to: schema.SetTo | schema.ScaleBy
    when: Literal["active", "always"]
    at: Positions


@frozen
class RunDefended:
    """The behavior under the clamp, per example."""

    version: ClassVar[int] = 1
    defense: Defense
    score: Score
    holds: Predicate


@frozen
class KeepValidFlips:
    """Examples whose behavior holds in the base model and not in the defended one."""

    version: ClassVar[int] = 1


@frozen
class Disturbance:
    """Where δ acts and what it must leave alone."""

    positions: Positions
    preserve: Literal["nothing", "orthogonal"]


@frozen
class Recover:
    """One attack at one limit, over the valid flips."""

    version: ClassVar[int] = 1
    defense: Defense
    score: Score
    holds: Predicate
    disturbance: Disturbance
    optimizer: schema.Adam | schema.Gradient
    steps: int
    limit: float
    stop: Literal["recovered", "never"]


@frozen
class FindSmallestNorm:
    """The least norm that recovers, from the perturbations of a `Recover` step."""

    version: ClassVar[int] = 1
    recover: Recover
    within: float
    steps: int
    """Steps of steepest ascent for each radius that is tried."""


@frozen
class RandomDirections:
    """The control: δ of the same norm, in a random direction."""

    version: ClassVar[int] = 1
    defense: Defense
    score: Score
    holds: Predicate
    disturbance: Disturbance
    limit: float
    draws: int
    seed: int


@frozen
class Measure:
    """Metrics with their intervals, from the tables of attacks and controls."""

    version: ClassVar[int] = 1
    measures: dict[str, schema.Interval]


@frozen
class Judge:
    """Expectations against the metrics, and the report; cheap, so it is never stored."""

    version: ClassVar[int] = 1
    expects: tuple[schema.Expectation, ...]


Step = (
    LoadModel
    | LoadSae
    | LoadData
    | SelectFeatures
    | RunBase
    | RunDefended
    | KeepValidFlips
    | Recover
    | FindSmallestNorm
    | RandomDirections
    | Measure
    | Judge
)

IN_MEMORY = (LoadModel, LoadSae, LoadData, KeepValidFlips, Measure, Judge)
"""Steps that keep nothing in the store: loaded when another step needs them, or quicker made than read."""
