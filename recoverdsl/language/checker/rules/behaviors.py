"""Rules of behaviors: what a condition reads has to be there."""

from __future__ import annotations

from collections.abc import Iterator

from recoverdsl.language import schema
from recoverdsl.language.checker.rules.meaning import GENERATE, Meaning
from recoverdsl.language.checker.rules.sources import check_source
from recoverdsl.language.schema.uses import used


def check_behavior(meaning: Meaning, path: str, behavior: schema.Behavior) -> None:
    """Report conditions on what a behavior does not have."""
    for key, predicate in (("holds", behavior.holds), ("removed", behavior.removed)):
        if predicate:
            _condition(meaning, path, key, set(_reads(predicate)), behavior)
    if behavior.generate is None:
        for key, given in (("phrases", behavior.phrases), ("judge", behavior.judge)):
            if given is not None:
                message = f"`{key}` is for a text that this behavior does not generate"
                meaning.lacks("REC408", message, f"{path}.{key}", path, help=GENERATE)
    if behavior.judge:
        check_source(meaning, path, behavior.judge.source, None, "judge")


def check_uses(meaning: Meaning) -> None:
    """Warn of behaviors that nothing reads, and of features that nothing clamps. Nobody can tell in a spec of
    which a part is not read."""
    spec = meaning.spec
    swept = {value for sweep in spec.sweeps.values() for axis in sweep.axes.values() for value in axis if isinstance(value, str)}  # fmt: skip
    for name in spec.behaviors:
        if name not in (*used(spec), *swept):
            meaning.add(
                "REC421", f"nothing uses the behavior `{name}`", f"behavior.{name}",
                help=f"write an attack with `maximize = {name}`, or remove it",
            )  # fmt: skip
    clamped = {clamp.protect for clamp in spec.intervenes.values()}
    for name in spec.protects:
        # A spec without any clamp is not finished.
        if spec.intervenes and name not in (*clamped, *swept):
            meaning.add(
                "REC423", f"no clamp sets the features `{name}`", f"protect.{name}",
                help=f"write an `intervene` block with `set = {name}`, or remove it",
            )  # fmt: skip


def _condition(
    meaning: Meaning, block: str, key: str, reads: set[str], behavior: schema.Behavior
) -> None:
    path = f"{block}.{key}"
    if "score" in reads and behavior.score is None:
        message = f"`{key}` compares a score that this behavior does not have"
        meaning.lacks("REC407", message, path, block, help="add `score = …`")
    if "judge" in reads and behavior.judge is None:
        message = f"`{key}` compares a judge that this behavior does not have"
        help = 'add `judge = classifier(…, label = "…")`'
        meaning.lacks("REC413", message, path, block, help=help)
    if reads & {*schema.DETECTORS, "text"} and behavior.generate is None:
        message = f"`{key}` judges a text that this behavior does not generate"
        meaning.lacks("REC408", message, path, block, help=GENERATE)


def _reads(predicate: schema.Predicate) -> Iterator[str]:
    """Return what a condition reads of a behavior: `score`, `judge`, `text`, or the names of detectors."""
    for leaf in schema.leaves(predicate):
        match leaf:
            case schema.Comparison(name) | schema.Detector(name):
                yield name
            case schema.TextIs():
                yield "text"
