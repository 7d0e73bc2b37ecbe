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

# --- Parts of steps -------------------------------------------------------------------------------


@frozen
class Judge:
    """A classifier of generated texts."""

    weights: str
    label: str
    with_prompt: bool


@frozen
class Behavior:
    """What is observed of an example, and when the behavior is there."""

    holds: Predicate
    removed: Predicate | None = None
    """When the defense counts as having removed it; None: when it does not hold."""
    score: Score | None = None
    generate: int | None = None
    """How many tokens are generated at most; None: no text is judged."""
    phrases: str | None = None
    """Digest of the detectors' phrase lists."""
    judge: Judge | None = None


@frozen
class MultipleOfMean:
    """Each feature is set to a multiple of its mean over texts."""

    factor: float


@frozen
class Defense:
    """What is clamped to what, and where; a part of the steps that run under it."""

    to: schema.SetTo | schema.ScaleBy | MultipleOfMean
    when: Literal["active", "always"]
    at: Positions


@frozen
class Place:
    """A site of δ and the positions there."""

    layer: int
    side: Literal["input", "output"]
    positions: Positions


@frozen
class Stage:
    """δ at some places, found in one go; earlier stages stay fixed."""

    places: tuple[Place, ...]
    optimizer: schema.Adam | schema.Gradient
    steps: int
    limit: float


Preserve = Literal["nothing", "orthogonal", "jacobian", "jacobian_sketch", "by_construction"]


# --- Loading --------------------------------------------------------------------------------------


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
    version: ClassVar[int] = 2
    rows: str
    """Digest of the rows' source."""
    prompt: str | None
    answer: str | None
    limit: int | None
    chat: bool


# --- Without δ ------------------------------------------------------------------------------------


@frozen
class RankFeatures:
    """The effect of every feature of every SAE, by which some are selected."""

    version: ClassVar[int] = 1
    by: Literal["attribution", "contrast"]
    score: Score | None = None
    """For attribution."""
    positions: Positions | None = None
    """For attribution."""


@frozen
class SelectFeatures:
    """Ids of the protected features: a list, or the first of a ranking. Needs no run of the model."""

    version: ClassVar[int] = 5
    ids: tuple[tuple[int, ...], ...] = ()
    """For a list, the ids of each SAE."""
    count: int | None = None
    """How many of a ranking; None for a list."""
    each: bool = False
    """Whether `count` are taken from each SAE."""


@frozen
class MeanActivations:
    """The mean of each selected feature over texts."""

    version: ClassVar[int] = 1


@frozen
class RunBase:
    """The behavior of the unmodified model, per example."""

    version: ClassVar[int] = 3
    behavior: Behavior


@frozen
class RunDefended:
    """The behavior under the clamp, per example."""

    version: ClassVar[int] = 2
    defense: Defense
    behavior: Behavior


@frozen
class KeepValidFlips:
    """Examples whose behavior holds in the base model and is removed in the defended one."""

    version: ClassVar[int] = 2


# --- With δ ---------------------------------------------------------------------------------------


@frozen
class Recover:
    """One attack at one limit, over the valid flips.

    As a control it has another goal, the answer of another example, or no defense.
    """

    version: ClassVar[int] = 7
    defense: Defense | None
    behavior: Behavior
    stages: tuple[Stage, ...]
    preserve: Preserve = "nothing"
    probes: int = 0
    """For `jacobian_sketch`."""
    goal: Literal["score", "own_answer", "another_answer"] = "score"
    target_tokens: int | None = None
    """How many tokens of the answer are the target; None: all."""
    stop: Literal["recovered", "never"] = "recovered"
    forward_passes: int | None = None
    """What may be spent on an example; None: as much as the steps take."""

    @property
    def limit(self) -> float:
        """The limit of the last stage."""
        return self.stages[-1].limit


@frozen
class FindSmallestNorm:
    """The least norm that recovers, from the perturbations of a `Recover` step."""

    version: ClassVar[int] = 5
    recover: Recover
    within: float
    steps: int
    """Steps of steepest ascent for each radius that is tried."""


@frozen
class RandomDirections:
    """The control: δ of the same norm, in a random direction."""

    version: ClassVar[int] = 7
    recover: Recover
    """The attack whose place, constraint and limits it has."""
    draws: int
    seed: int


@frozen
class Suffix:
    """An attack by tokens behind the request instead of a δ: trained embeddings, or real tokens."""

    version: ClassVar[int] = 3
    defense: Defense
    behavior: Behavior
    tokens: int
    steps: int
    optimizer: schema.Adam | schema.Gradient | None
    """For trained embeddings; None: real tokens, searched by greedy coordinate gradient."""
    candidates: int = 0
    top: int = 0
    keep: float = 0.0
    """Weight of the term that keeps the protected features."""
    target_tokens: int | None = None
    stop: Literal["recovered", "never"] = "recovered"
    forward_passes: int | None = None


@frozen
class SplitDelta:
    """δ split into parts; each replayed alone, and each taken away."""

    version: ClassVar[int] = 5
    recover: Recover
    parts: tuple[Literal["clamped", "other_features", "residual"] | int, ...]
    """A number is that of the strongest other features."""


# --- Results --------------------------------------------------------------------------------------


@frozen
class Measure:
    """Metrics with their intervals, from the tables of attacks and controls."""

    version: ClassVar[int] = 1
    measures: dict[str, schema.Interval]


@frozen
class JudgeExpectations:
    """Expectations against the metrics, and the report; cheap, so it is never stored."""

    version: ClassVar[int] = 1
    expects: tuple[schema.Expectation, ...]


def columns_behind(step: Recover) -> int:
    """How many columns behind the prompt the δ of a step is kept with.

    The last generated token is never read by the model, so no δ can act there.
    """
    if step.goal == "score":
        return 0
    assert step.behavior.generate is not None
    return step.behavior.generate - 1


Step = (
    LoadModel
    | LoadSae
    | LoadData
    | RankFeatures
    | SelectFeatures
    | MeanActivations
    | RunBase
    | RunDefended
    | KeepValidFlips
    | Recover
    | FindSmallestNorm
    | RandomDirections
    | Suffix
    | SplitDelta
    | Measure
    | JudgeExpectations
)

IN_MEMORY = (LoadModel, LoadSae, LoadData, KeepValidFlips, Measure, JudgeExpectations)
"""Steps that keep nothing in the store: loaded when another step needs them, or quicker made than read."""
