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
| `Site`, `Positions`, `Perturbation`, `Limit`, `Score`, `Predicate`, `ClampValue`, `Target` | the expression forms of `forms.py` |
"""

from recoverdsl.language.schema.blocks import (
    KINDS,
    PLURALS,
    STATEMENTS,
    Attack,
    Attribute,
    Behavior,
    Budget,
    Control,
    Data,
    Expectation,
    Intervene,
    Model,
    Param,
    Protect,
    Sae,
    Spec,
    Stage,
    Sweep,
)
from recoverdsl.language.schema.forms import (
    CALLS,
    DETECTORS,
    FORMS,
    PLACES,
    POSITIONS,
    WORDS,
    And,
    AnswerOf,
    BehaviorOf,
    ClampValue,
    Comparison,
    Detector,
    Limit,
    LogitComparison,
    LogProb,
    MeanWhen,
    MostLikely,
    NextToken,
    Not,
    Objective,
    Operator,
    Or,
    Perturbation,
    Position,
    Positions,
    Predicate,
    Probability,
    Rank,
    Rows,
    ScaleBy,
    Score,
    SetTo,
    Site,
    Term,
    TextIs,
    TopToken,
    Word,
    leaves,
    tokens_of,
)
from recoverdsl.language.schema.functions import (
    Adam,
    Apgd,
    Attribution,
    Bootstrap,
    ByConstruction,
    Classifier,
    Contrast,
    DataSource,
    Features,
    File,
    Folder,
    Gcg,
    Gradient,
    Greedy,
    HuggingFace,
    Interval,
    Jacobian,
    JacobianSketch,
    ModelSource,
    Optimizer,
    Orthogonal,
    Preserve,
    PyPI,
    Release,
    RestOf,
    SaeSource,
    SmallestNorm,
    Template,
    Top,
    Wilson,
)
from recoverdsl.language.schema.metrics import METRICS, Metric
from recoverdsl.language.schema.vocabulary import (
    BLOCKS,
    FUNCTIONS,
    Ref,
    block,
    function,
    function_name,
    says,
)

__all__ = ["BLOCKS", "CALLS", "DETECTORS", "FORMS", "FUNCTIONS", "KINDS", "METRICS", "PLACES", "PLURALS", "POSITIONS", "STATEMENTS", "WORDS", "Adam", "And", "AnswerOf", "Apgd", "Attack", "Attribute", "Attribution", "Behavior", "BehaviorOf", "Bootstrap", "Budget", "ByConstruction", "ClampValue", "Classifier", "Comparison", "Contrast", "Control", "Data", "DataSource", "Detector", "Expectation", "Features", "File", "Folder", "Gcg", "Gradient", "Greedy", "HuggingFace", "Interval", "Intervene", "Jacobian", "JacobianSketch", "Limit", "LogProb", "LogitComparison", "MeanWhen", "Metric", "Model", "ModelSource", "MostLikely", "NextToken", "Not", "Objective", "Operator", "Optimizer", "Or", "Orthogonal", "Param", "Perturbation", "Position", "Positions", "Predicate", "Preserve", "Probability", "Protect", "PyPI", "Rank", "Ref", "Release", "RestOf", "Rows", "Sae", "SaeSource", "ScaleBy", "Score", "SetTo", "Site", "SmallestNorm", "Spec", "Stage", "Sweep", "Template", "Term", "TextIs", "Top", "TopToken", "Wilson", "Word", "block", "function", "function_name", "leaves", "says", "tokens_of"]  # fmt: skip
