"""The schema's expression forms: what is neither a literal nor a word, a reference or a call."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from attrs import field, frozen

from recoverdsl.language.schema.vocabulary import Ref, says


@frozen
class Site:
    """A point of the residual stream: `smollm2.layers[14].output`.

    The output of layer L and the input of layer L+1 are the same point.
    """

    model: Annotated[str, Ref("model")]
    layer: int
    side: Literal["input", "output"]


@frozen
class Position:
    """The meaning of a position word in a clamp and in a perturbation; None where it has none."""

    clamped: str | None
    perturbed: str | None


POSITIONS: dict[str, Position] = {
    "every_token": Position("every position of the prompt", "every position of the prompt, with one vector for each"),
    "first": Position("position 0", "position 0"),
    "last_token": Position("the last position of the prompt", "the last position of the prompt"),
    "target_tokens": Position(None, "the tokens of the target answer, with one vector for each, at absolute positions"),
    "generated": Position("every position after the prompt", None),
    "every_generated_token": Position(None, "every position after the prompt, with one vector that they share"),
}  # fmt: skip
"""The words for token positions."""


@frozen
class Positions:
    """Absolute token positions: `last_token`, `every_token except first`, `[every_token, generated]`."""

    include: tuple[str, ...]
    exclude: tuple[str, ...] = ()


@frozen
class Perturbation:
    """Where δ is added: `mid at last_token`. The place is an SAE, by its name, or a site."""

    place: Annotated[str, Ref("sae")] | Site
    positions: Positions


@frozen
class Limit:
    """The budget `norm <= 20`, or several, `norm <= [2, 5, 10, 20]`; ascending and positive.

    The norm is the Frobenius norm over all perturbed positions and sites of one example (C4).
    """

    norms: tuple[float, ...]


@frozen
class Rows:
    """Rows of a source from one to another, both of them included: `0..127`. They count from 0."""

    first: int
    last: int


@frozen
class Term:
    """One summand of a score: weight × quantity(token). `token` may hold `{column}` of the data."""

    weight: float
    quantity: Literal["logit", "logprob"]
    token: str


@frozen
class Score:
    """A weighted sum of logits or log-probabilities at one position.

    `logit(" {io}") - logit(" {s}") at last_token`
    """

    terms: tuple[Term, ...]
    positions: Positions


Operator = Literal["<", "<=", ">", ">="]
"""How a figure is compared with its bound."""


@frozen
class Comparison:
    """`score > 0`, `judge > 0.5`: a figure of the behavior and its bound."""

    left: str
    """`score` or `judge`."""
    operator: Operator
    right: float


@frozen
class Detector:
    """A yes-or-no detector of a generated text by its bare name: `refuses`, `opens_with_safety_cue`."""

    name: str


DETECTORS: dict[str, str] = {
    "refuses": "The text declines the request.",
    "opens_with_safety_cue": "The text begins with an apology or a warning.",
}
"""Name of a detector to what it says of a generated text."""


@frozen
class TextIs:
    """`text == "{answer}"`: the generated text is this one. `{column}` names a column of the data.

    White space at the beginning and at the end of both is left out; all that is between is compared
    exactly, upper and lower case included. A text that was cut off after `tokens` is compared as far
    as it was written.
    """

    text: str


@frozen
class TopToken:
    """`top_token == " {io}"`: this token alone is the most likely next one; a tie is not enough."""

    token: str


@frozen
class Rank:
    """`rank(" {io}") <= 3`: the place of a token among all tokens, by their logits; 1 is the most likely.

    Tokens with the same logit all take the last of their places, so that rank 1 is `top_token`.
    """

    token: str
    operator: Operator
    bound: int


@frozen
class Probability:
    """`probability(" {io}") >= 50%`: the probability that the model gives to a token."""

    token: str
    operator: Operator
    bound: float


@frozen
class MostLikely:
    """`most_likely("A", "B", "C", "D") == "{gold}"`: of these tokens, this one alone has the largest logit."""

    choices: tuple[str, ...]
    token: str


@frozen
class LogitComparison:
    """`logit(" {io}") > logit(" {s}")`: two sums of logits or log-probabilities, or one and a number."""

    terms: tuple[Term, ...]
    """The left side less the right one."""
    operator: Operator
    bound: float = 0.0


NextToken = TopToken | Rank | Probability | MostLikely | LogitComparison
"""A condition on the token that follows the prompt."""


@frozen
class Not:
    of: Predicate


@frozen
class And:
    parts: tuple[Predicate, ...]


@frozen
class Or:
    parts: tuple[Predicate, ...]


Predicate = Comparison | Detector | TextIs | NextToken | Not | And | Or
"""When a behavior is present: `top_token == " {io}"`, or `not refuses and not opens_with_safety_cue`."""


def leaves(predicate: Predicate) -> Iterator[Comparison | Detector | TextIs | NextToken]:
    """Yield the conditions that a predicate joins, in the order in which they are written."""
    match predicate:
        case Not(inner):
            yield from leaves(inner)
        case And(parts) | Or(parts):
            for part in parts:
                yield from leaves(part)
        case _:
            yield predicate


def names_a_column(text: str) -> bool:
    """Tell whether a token's text names a column, as `{io}` does; `{{io}}` is that word in braces."""
    return any(match[1] for match in re.finditer(r"\{\{|\}\}|\{(\w+)\}", text))


def tokens_of(leaf: object) -> tuple[str, ...]:
    """Return the texts of the tokens that a condition names, in the order in which they are written."""
    match leaf:
        case TopToken(token) | Rank(token) | Probability(token):
            return (token,)
        case MostLikely(choices, token):
            return (*choices, token)
        case LogitComparison(terms):
            return tuple(term.token for term in terms)
    return ()


@frozen
class SetTo:
    """`to = -5.0`: the clamped feature takes this value; 0 is ablation."""

    value: float


@frozen
class ScaleBy:
    """`to = 3 * activation`: the clamped feature takes a multiple of its own value."""

    factor: float


@frozen
class MeanWhen:
    """`to = 1.0 * mean_when(refusing)`: a multiple of the feature's mean over a data block."""

    factor: float
    data: Annotated[str, Ref("data")]


ClampValue = SetTo | ScaleBy | MeanWhen


@frozen
class LogProb:
    """`logprob(base_answer, tokens = 8)`: the log-probability of a text as the answer."""

    of: Literal["base_answer"]
    tokens: int | None = field(
        default=None,
        metadata=says(
            "Only the first tokens of the answer.", at_least=1, unit="tokens", later=True
        ),
    )


@frozen
class AnswerOf:
    """`base_answer of another_example`: an answer that the attack has no reason to reach."""

    of: Literal["another_example"]


@frozen
class BehaviorOf:
    """`names_the_recipient of another_example`: the behavior, with the columns that it names filled from another row."""

    behavior: Annotated[str, Ref("behavior")]
    of: Literal["another_example"]


Objective = Annotated[str, Ref("behavior")] | LogProb
"""The goal of an attack: the score of a behavior, by its name, or `logprob(base_answer)`."""


FORMS: dict[Any, str] = {
    Site: "a site, such as `model.layers[14].output`",
    Positions: "token positions, such as `last_token`",
    Perturbation: "a place and positions, such as `mid at last_token`",
    Limit: "a budget, such as `norm <= 20`",
    Rows: "rows from one to another, such as `0..127`",
    Score: 'a score, such as `logit(" {io}") at last_token`',
    Predicate: 'a condition, such as `top_token == " {io}"` or `score > 0`',
    ClampValue: "a number, `3 * activation` or `1.0 * mean_when(data)`",
    LogProb: "`logprob(base_answer)`",
    AnswerOf: "`base_answer of another_example`",
    BehaviorOf: "a behavior `of another_example`",
}
"""The annotations that ask for an expression form, each with what it asks for."""

# --- Words ------------------------------------------------------------------------------------


@frozen
class Word:
    """A word of the forms."""

    doc: str
    forms: tuple[object, ...]
    """Where it stands."""
    example: str
    """How it is written there."""


WORDS: dict[str, Word] = {
    "norm": Word("The norm of δ: Frobenius, over all perturbed positions and sites of one example.", (Limit,), "norm <= 20"),
    "top_token": Word(
        "The token that is the most likely one after the prompt; `{…}` names a column of the data.",
        (Predicate,), 'top_token == " {io}"',
    ),
    "text": Word(
        "The generated text, without the white space around it; `{…}` names a column of the data.",
        (Predicate,), 'text == "{answer}"',
    ),
    "score": Word("The behavior's own `score`.", (Predicate,), "score > 0"),
    "judge": Word("The figure of the behavior's own `judge`, from 0 to 1.", (Predicate,), "judge > 0.5"),
    "activation": Word("The clamped feature's own value, where the clamp acts.", (ClampValue,), "activation"),
    "base_answer": Word("The text that the model gives without the clamp.", (AnswerOf,), "base_answer of another_example"),
    "another_example": Word(
        "Another valid flip, whose answer or tokens are unlike the own ones.",
        (AnswerOf, BehaviorOf), "base_answer of another_example",
    ),
}  # fmt: skip
"""The words that are values in the forms, beside positions and detectors."""

CALLS: dict[str, Word] = {
    "logit": Word("The logit of a token; `{…}` names a column of the data.", (Score, Predicate), 'logit(" {io}")'),
    "logprob": Word(
        "The log-probability: of a token in a score or a condition, of the base answer in `maximize`.",
        (Score, Predicate, LogProb), "logprob(base_answer)",
    ),
    "rank": Word("The place of a token among all next tokens; 1 is the most likely.", (Predicate,), 'rank(" {io}") <= 3'),
    "probability": Word("The probability of a token as the next one, from 0 to 1.", (Predicate,), 'probability(" {io}") >= 50%'),
    "most_likely": Word(
        "The token with the largest logit among those that are listed.",
        (Predicate,), 'most_likely("A", "B", "C", "D") == "{gold}"',
    ),
    "mean_when": Word("The mean of the clamped feature over a data block.", (ClampValue,), "mean_when(data)"),
}  # fmt: skip
"""The calls of the forms."""

PLACES: dict[str, Word] = {
    "layers": Word("A decoder layer of a model, counted from 0.", (Site,), "smollm2.layers[14].output"),
    "input": Word("The residual stream before the layer.", (Site,), "smollm2.layers[14].input"),
    "output": Word("The residual stream after the layer.", (Site,), "smollm2.layers[14].output"),
}  # fmt: skip
"""The parts of a site's path."""
