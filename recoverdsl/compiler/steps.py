"""The typed steps of a graph.

A step holds everything that decides its result, except its inputs from other steps; names of blocks are
left out, so renaming one changes no digest. Each class has a `version`: raise it when the meaning of its
result changes, and stored results of the old meaning are no longer used.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from attrs import field, frozen

from recoverdsl.language import schema
from recoverdsl.language.schema import Positions, Predicate, Score
from recoverdsl.language.schema.parts import Part


@frozen
class Step:
    """One step of a graph."""

    version: ClassVar[int]
    stored: ClassVar[bool] = True
    """Whether the store keeps its result. A step that is not stored is loaded when another step needs
    it, or is faster to compute than to read."""

    @property
    def behavior(self) -> Behavior | None:
        """What it observes of an example; None if it observes no behavior."""
        return None


LATER = {"later": True}
"""Metadata of a field that leaves no trace in the digest while it has its default."""

# --- Parts of steps -------------------------------------------------------------------------------


@frozen
class Judge:
    """A classifier of generated texts."""

    weights: str
    label: str
    with_prompt: bool


@frozen
class Behavior:
    """The observation of an example, and the condition under which the behavior is present."""

    holds: Predicate
    removed: Predicate | None = None
    """The condition under which the defense counts as having removed it; None: if it does not hold."""
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
    """The value that features are clamped to, when, and at which positions; a part of the steps that run
    under the clamp."""

    to: schema.SetTo | schema.ScaleBy | MultipleOfMean
    when: Literal["active", "always"]
    at: Positions


@frozen
class ReachBehavior:
    """The goal that a behavior holds, read from the next token."""

    behavior: Behavior
    example: Literal["own", "another"] = "own"
    """Whose values fill the columns that it names."""


@frozen
class ReachAnswer:
    """The goal that an answer of the undefended model is written."""

    example: Literal["own", "another"] = "own"
    """Whose answer it is."""
    tokens: int | None = None
    """How many tokens of the answer are the target; None: all."""


Goal = ReachBehavior | ReachAnswer
"""What δ is searched for."""


@frozen
class Place:
    """A site of δ and the positions there."""

    layer: int
    side: Literal["input", "output"]
    positions: Positions


@frozen
class Stage:
    """One stage of an attack: δ at some places, while that of earlier stages stays fixed."""

    places: tuple[Place, ...]
    optimizer: schema.Optimizer
    steps: int
    limit: float


# --- Loading --------------------------------------------------------------------------------------


@frozen
class LoadModel(Step):
    """The weights, in memory only."""

    version = 1
    stored = False
    weights: str
    """The pin of the weights: a digest of the file, or repository and revision."""
    dtype: str


@frozen
class LoadSae(Step):
    """The weights of an SAE, in memory only."""

    version = 1
    stored = False
    weights: str
    layer: int
    side: str


@frozen
class LoadData(Step):
    """The rows of a data block, in memory only."""

    version = 2
    stored = False
    rows: str
    """Digest of the rows' source."""
    prompt: str | None
    answer: str | None
    limit: int | None
    chat: bool
    part: Part | None = field(default=None, metadata={"later": True})
    """The rows of the source that it takes; None for all, up to the limit."""


# --- Without δ ------------------------------------------------------------------------------------


@frozen
class RankByAttribution(Step):
    """The effect of every feature of every SAE on a score, over the examples."""

    version = 1
    score: Score | Predicate
    """The score of a behavior, or the condition whose margin is its score."""
    positions: Positions


@frozen
class RankByContrast(Step):
    """The difference of every feature's mean activation between two sets of texts."""

    version = 1


@frozen
class SelectFeatures(Step):
    """Ids of the protected features: a list, or the first of a ranking. The model does not run."""

    version = 6
    ids: tuple[tuple[int, ...], ...] = ()
    """For a list, the ids of each SAE."""
    count: int | None = None
    """How many of a ranking; None for a list."""
    each: bool = False
    """Whether `count` are taken from each SAE."""


@frozen
class MeanActivations(Step):
    """The mean of each selected feature over texts."""

    version = 2


@frozen
class RunBase(Step):
    """The behavior of the unmodified model, per example."""

    version = 6
    behavior: Behavior


@frozen
class RunDefended(Step):
    """The behavior under the clamp, per example."""

    version = 5
    defense: Defense
    behavior: Behavior


@frozen
class ReadFeatures(Step):
    """The values of the protected features over the prompts, without and under the clamp."""

    version = 1
    defense: Defense


@frozen
class KeepValidFlips(Step):
    """Examples whose behavior holds in the base model and is removed in the defended one."""

    version = 2
    stored = False


@frozen
class ChooseTargets(Step):
    """Per valid flip, the row that fills another target, one that holds neither without nor under the
    clamp."""

    version = 1
    defense: Defense
    goal: ReachBehavior


@frozen
class MeasureTextEffects(Step):
    """What the clamp does to ordinary text: the next tokens, without and under it, and how far it moves
    the states."""

    version = 1
    defense: Defense
    texts: str
    """Digest of the texts."""
    count: int
    """How many of those that ship with the tool these are, ≥ 1."""


@frozen
class MeasureMoves(Step):
    """How far the clamp moves the states of the tested examples."""

    version = 1
    defense: Defense


# --- With δ ---------------------------------------------------------------------------------------


@frozen
class Recover(Step):
    """One attack at one limit, over the valid flips.

    As a control it has another goal than its behavior, or no defense.
    """

    version = 9
    defense: Defense | None
    behavior: Behavior
    """The behavior that is tested, over whose valid flips it runs."""
    goal: Goal
    stages: tuple[Stage, ...]
    preserve: schema.Preserve | None = None
    """The constraint that preserves the protected features, without the name of their block."""
    stop: Literal["recovered", "never"] = "recovered"
    forward_passes: int | None = None
    """How many may be spent on an example; None: as many as the steps take."""
    restarts: int = field(default=0, metadata=LATER)
    """How many more times an example that has not recovered is searched, from random starts."""

    @property
    def limit(self) -> float:
        """The limit of the last stage."""
        return self.stages[-1].limit


@frozen
class FromAttack(Step):
    """A step that starts from an attack."""

    recover: Recover
    """The attack, with its place, constraint and limits."""

    @property
    def behavior(self) -> Behavior:
        return self.recover.behavior


@frozen
class FindSmallestNorm(FromAttack):
    """The least norm that recovers, from the perturbations of a `Recover` step."""

    version = 6
    within: float
    steps: int
    """Steps of steepest ascent for each radius that is tried, and of the search from each random start;
    twice as many from the best δ."""
    starts: int
    """Random starts of each example."""


@frozen
class RandomDirections(FromAttack):
    """The control: δ of the attack's norm, in several random directions."""

    version = 9
    draws: int
    seed: int


@frozen
class TryHarder(FromAttack):
    """Other searches on some of the valid flips that an attack did not recover, for the checks of its
    strength; where a search of the least norm is given, on some whose least norm is beyond the attack's
    limit."""

    version = 2
    examples: int
    """How many flips at most."""
    seed: int


@frozen
class Suffix(Step):
    """An attack by tokens after the request instead of a δ: trained embeddings, or real tokens."""

    version = 5
    defense: Defense
    behavior: Behavior
    tokens: int
    steps: int
    optimizer: schema.Optimizer | None
    """For trained embeddings; None: real tokens, searched by greedy coordinate gradient."""
    candidates: int = 0
    top: int = 0
    keep: float = 0.0
    """Weight of the term that keeps the protected features."""
    target_tokens: int | None = None
    stop: Literal["recovered", "never"] = "recovered"
    forward_passes: int | None = None
    example: Literal["own", "another"] = field(default="own", metadata=LATER)
    """Whose answer is the target; another's for a control."""


@frozen
class TryHarderSuffix(Step):
    """Other searches on some of the valid flips that a suffix did not recover, for the checks of its
    strength."""

    version = 2
    suffix: Suffix
    examples: int
    """How many flips at most."""
    seed: int

    @property
    def behavior(self) -> Behavior:
        return self.suffix.behavior


@frozen
class ReachHarder(Step):
    """Stronger searches of a control's target, on every valid flip in which the attack reached its own target
    and the control did not."""

    version = 1
    search: Recover | Suffix
    """The control's search, at the limit that is compared."""

    @property
    def behavior(self) -> Behavior | None:
        return self.search.behavior


@frozen
class SplitDelta(FromAttack):
    """δ split into parts; each replayed alone, and δ without each of them."""

    version = 7
    parts: tuple[Literal["clamped", "other_features", "residual"] | int, ...]
    """A number k is the part of the k strongest other features."""


# --- Results --------------------------------------------------------------------------------------


@frozen
class Measure(Step):
    """Metrics with their intervals, from the tables of attacks and controls."""

    version = 1
    stored = False
    measures: dict[str, schema.Interval]


@frozen
class JudgeExpectations(Step):
    """The expectations compared with the metrics; never stored, since it is cheap."""

    version = 1
    stored = False
    expects: tuple[schema.Expectation, ...]


def columns_after_prompt(step: Recover) -> int:
    """Return how many columns after the prompt the δ of a step is kept with.

    The last generated token is never read by the model, so no δ can act there.
    """
    if isinstance(step.goal, ReachBehavior):
        return 0
    assert step.behavior.generate is not None
    return step.behavior.generate - 1


def recover_of(step: Step) -> Recover:
    """Return the attack that a step is or starts from.

    Raises:
        TypeError: it is not an attack with a δ, and starts from none.
    """
    match step:
        case Recover():
            return step
        case FromAttack():
            return step.recover
    raise TypeError(f"{type(step).__name__} has no attack")
