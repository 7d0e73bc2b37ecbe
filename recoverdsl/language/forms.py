"""The schema's expression forms: what is neither a literal nor a word, a reference or a call."""

from __future__ import annotations

from typing import Annotated, Literal

from attrs import field, frozen

from recoverdsl.language.vocabulary import Ref, says


@frozen
class Site:
    """A point of the residual stream: `smollm2.layers[14].output`.

    The output of layer L and the input of layer L+1 are the same point.
    """

    model: Annotated[str, Ref("model")]
    layer: int
    side: Literal["input", "output"]


PositionWord = Literal[
    "every_token", "first", "last_token", "target_tokens", "generated", "every_generated_token"
]


@frozen
class Positions:
    """Absolute token positions: `last_token`, `every_token except first`, `[every_token, generated]`.

    | word | in a clamp | in a perturbation |
    |---|---|---|
    | `every_token` | every position of the prompt | the same; one vector for each |
    | `first` | position 0 | the same |
    | `last_token` | the last position of the prompt | the same |
    | `generated` | every position after the prompt | not allowed: one of the next two is meant |
    | `target_tokens` | not allowed: `generated` is meant | one vector for each token of the target answer, at absolute positions |
    | `every_generated_token` | not allowed: `generated` is meant | one vector, shared by all generated positions |
    """

    include: tuple[PositionWord, ...]
    exclude: tuple[PositionWord, ...] = ()


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


@frozen
class Comparison:
    """`score > 0`, `judge > 0.5`. `left` is `score`, `judge` or the name of a detector's figure."""

    left: str
    operator: Literal["<", "<=", ">", ">="]
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
class Not:
    of: Predicate


@frozen
class And:
    parts: tuple[Predicate, ...]


@frozen
class Or:
    parts: tuple[Predicate, ...]


Predicate = Comparison | Detector | Not | And | Or
"""When a behavior is present: `score > 0`, or `not refuses and not opens_with_safety_cue`."""


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


Objective = Annotated[str, Ref("behavior")] | LogProb
"""What an attack raises: the score of a behavior, by its name, or `logprob(base_answer)`."""

WORDS: dict[str, str] = {
    "norm": "The norm of δ, over all perturbed positions and sites of one example.",
    "score": "The score of this behavior.",
    "judge": "The probability that this behavior's classifier gives its label.",
    "activation": "The feature's own value.",
    "base_answer": "What the model answers without the clamp.",
    "another_example": "An example whose answer the attack has no reason to reach.",
}
"""Bare words that mean something inside the forms, beside the words of positions and detectors."""

CALLS: dict[str, str] = {
    "logit": "The logit of one token.",
    "logprob": "The log-probability of one token, or of an answer.",
    "mean_when": "A feature's mean over a data block.",
}
"""What the forms write as a call."""

PLACES: dict[str, str] = {
    "layers": "The model's layers, from 0.",
    "input": "The residual stream before a layer.",
    "output": "The residual stream behind a layer.",
}
"""The parts of a site: `model.layers[14].output`."""
