"""The rows of a run: one record per example of a step, with every column declared once."""

from __future__ import annotations

from attrs import frozen

from recoverdsl.measure.columns import column, figure
from recoverdsl.measure.features import DeltaFigures, FeatureFigures
from recoverdsl.measure.keys import PartKey, TableKey
from recoverdsl.measure.texts import TextFigures

NOT_A_NUMBER = "a score, logit or gradient was not a finite number"
"""The reason that an example failed if a figure of it overflowed."""

_RANK = "Rank of the target token among all next tokens, 1 the most likely,"


@frozen(kw_only=True)
class WrittenText:
    """The figures of a text that the model wrote, which are kept in place of the text."""

    figures: TextFigures
    judge: float | None = column(
        "Probability that the spec's classifier gives, in [0, 1].", default=None
    )


@frozen(kw_only=True)
class TargetPlace:
    """The place of the behavior's target among all tokens that may follow the prompt."""

    rank: int
    """1 is the most likely."""
    probability: float
    """In [0, 1]."""


@frozen
class SpellingShares:
    """The probability of the tokens that a behavior names as the next one, and of other spellings of them:
    with and without a space before, with another first letter."""

    named: float
    """Of all the tokens that it names together, in [0, 1]."""
    other: float
    """Of all their other spellings that are one token, together."""


@frozen(kw_only=True)
class Observation:
    """The behavior of one example, without δ."""

    example: str
    category: str | None
    holds: bool
    """Whether the behavior is present."""
    removed: bool
    """Whether a defense counts as having removed it."""
    score: float | None = None
    target: TargetPlace | None = None
    """None where the behavior has no single target token."""
    spelling: SpellingShares | None = None
    """None where a text is judged, or a logit was not a finite number."""
    text: WrittenText | None = None
    answer_tokens: int | None = None
    """Tokens of the text."""
    failed: str | None = None
    """The reason that it has no figures; None if it has."""


@frozen(kw_only=True)
class Effort:
    """The cost of a search for one example."""

    forward_passes: float = figure()
    gradient_steps: float = figure()


@frozen(kw_only=True)
class GeneratedFigures:
    """The drift of the protected features on the text that was generated."""

    generated_drift: float = figure()
    generated_clamp_floor_violation: float = figure()


@frozen(kw_only=True)
class Recovery:
    """The outcome of an attack, a control or a search on one example."""

    example: str = column("Which example.")
    category: str | None = column("Category of the example, where the data has one.")
    recovered: bool = column("Whether the behavior is back under the clamp.")
    score_recovered: float = column("Score under the clamp with δ.")
    rank_recovered: int | None = column(
        f"{_RANK} under the clamp with δ; for a control with another target, of that one.",
        default=None,
    )
    probability_recovered: float | None = column(
        "Probability of the same token there, in [0, 1].", default=None
    )
    reached: bool = column(
        "Whether the attack's own goal was reached: the behavior's score, or every token of the target the most likely one."
    )
    steps: int = column("Optimization steps spent on the example.")
    effort: Effort | None = None
    """None where nothing is searched."""
    delta: DeltaFigures | None = None
    """None for a suffix, which has no δ."""
    features: FeatureFigures
    zero_reactivation: bool = column(
        "Whether no protected feature is above zero that was not so when defended, on the target and in the generated text."
    )
    generated: GeneratedFigures | None = None
    """None where no text is written, or no feature is monitored."""
    text: WrittenText | None = None
    """None where no text is written."""
    answer_tokens: int | None = column("Tokens of the generated text.", default=None)
    failed: str | None = column("Why the example has no figures; null if it has.", default=None)


@frozen(kw_only=True)
class WithoutDelta:
    """The score and the target token of a row's goal without δ."""

    score_base: float | None = column(
        "Score without the clamp; null if the behavior has none. For a control with another behavior as its target, of that one.",
        default=None,
    )
    score_defended: float | None = column("Score under the clamp.", default=None)
    rank_base: int | None = column(
        f"{_RANK} without the clamp; null if the behavior has no single target token.", default=None
    )
    rank_defended: int | None = column("Rank of the target token under the clamp.", default=None)
    probability_base: float | None = column(
        "Probability of the target token without the clamp, in [0, 1].", default=None
    )
    probability_defended: float | None = column(
        "Probability of the target token under the clamp, in [0, 1].", default=None
    )

    @classmethod
    def of(
        cls,
        scores: tuple[float | None, float | None],
        base: TargetPlace | None,
        defended: TargetPlace | None,
    ) -> WithoutDelta:
        """Return the figures from the scores without and with the clamp, and the places there."""
        return cls(
            score_base=scores[0],
            score_defended=scores[1],
            rank_base=base.rank if base else None,
            rank_defended=defended.rank if defended else None,
            probability_base=base.probability if base else None,
            probability_defended=defended.probability if defended else None,
        )


@frozen(kw_only=True)
class ExampleRow:
    """A row of `examples.parquet`: one per valid flip, kind, name and limit, and per random draw.

    In a `smallest_norm` row `norm` is the least norm that was found to reach the attack's own goal (see
    the column `reached`), and `limit` the largest that was tried; `recovered` is false if none did.
    """

    key: TableKey
    part: PartKey | None = None
    """None where δ is whole."""
    draw: int | None = column(
        "Number of the random draw, from 0; null where nothing is drawn.", default=None
    )
    without: WithoutDelta
    recovery: Recovery
