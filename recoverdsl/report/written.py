"""The facts at the head of a page: the model, the clamp and the attacks of a spec, as it writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import attrs
from attrs import frozen

from recoverdsl.compiler.attacks import STEPS
from recoverdsl.language import check
from recoverdsl.language.schema import (
    Attack,
    Intervene,
    MeanWhen,
    Positions,
    ScaleBy,
    SetTo,
    Spec,
    function_name,
)
from recoverdsl.language.schema.budgets import limits_of, suffix_of
from recoverdsl.language.schema.functions import SourceCall
from recoverdsl.report.words import clean_line, enumerated, figure, norm, plural


@frozen
class Fact:
    """One line of the facts."""

    term: str
    """`model`, `SAE`, `clamp`, `date`, or `attack NAME`."""
    says: str


def spec_of(text: str) -> Spec | None:
    """Return the spec that a text writes; None without one."""
    return check(text).spec if text else None


def facts(spec: Spec | None, date: str = "") -> list[Fact]:
    """List the models, the SAEs, the clamps and the attacks of a spec, and the date of the run."""
    found = [*_tested(spec), *_tried(spec)] if spec else []
    if date:
        found.append(Fact("date", date))
    return [Fact(clean_line(fact.term), clean_line(fact.says)) for fact in found]


def positions(at: Positions) -> str:
    """Return token positions in words."""
    include, exclude = (
        enumerated([word.replace("_", " ") for word in words]) for words in (at.include, at.exclude)
    )
    return f"{include} except the {exclude}" if at.exclude else include


def _tested(spec: Spec) -> Iterator[Fact]:
    for name, model in spec.models.items():
        yield Fact("model", f"{name}, from {_source(model.source)}")
    for name, sae in spec.saes.items():
        at = f"{sae.reads.side} of layer {sae.reads.layer}"
        yield Fact("SAE", f"{name}, at the {at}, from {_source(sae.source)}")
    for name, intervene in spec.intervenes.items():
        alone = len(spec.intervenes) == 1
        yield Fact("clamp" if alone else f"clamp {name}", _clamp(intervene))


def _tried(spec: Spec) -> Iterator[Fact]:
    for name, attack in spec.attacks.items():
        yield Fact(f"attack {name}", "; ".join(_effort(spec, attack)))


def _effort(spec: Spec, attack: Attack) -> Iterator[str]:
    limits = limits_of(spec, attack)
    if limits:
        yield f"norm at most {enumerated(map(norm, limits), 'or')}"
    elif suffix_of(attack):
        yield "a suffix, which has no norm"
    else:
        yield "no limit on the norm"
    budget = spec.budgets.get(attack.budget or "")
    own = [attack.steps or (budget.steps if budget else None) or STEPS]
    steps = [stage.steps for stage in attack.stages] or own
    of = "gcg"
    if attack.token_suffix is None:
        optimizers = {function_name(stage.optimizer or attack.optimizer) for stage in attack.stages}
        of = enumerated(sorted(optimizers or {function_name(attack.optimizer)}))
    yield f"at most {enumerated(map(str, steps), 'and then')} {'step' if steps == [1] else 'steps'} of {of}"
    passes = attack.forward_passes or (budget.forward_passes if budget else None)
    if passes:
        yield f"at most {passes} forward passes"
    if not suffix_of(attack):
        yield plural(attack.restarts, "restart") if attack.restarts else "no restarts"
        if attack.preserve is not None:
            yield f"constraint: {function_name(attack.preserve)}"


def _clamp(intervene: Intervene) -> str:
    match intervene.to:
        case SetTo(value):
            to = f"set to {figure(value)}"
        case ScaleBy(factor):
            to = f"multiplied by {figure(factor)}"
        case MeanWhen(factor, data):
            times = "" if factor == 1 else f"{figure(factor)} times "
            to = f"set to {times}their mean over {data}"
    when = " where active" if intervene.when == "active" else ""
    return f"the features of {intervene.protect} {to}{when}, at {positions(intervene.at)}"


def _source(source: SourceCall) -> str:
    """Return a source as a spec writes it, without the options that it leaves out."""
    fields = [
        field for field in attrs.fields(type(source)) if getattr(source, field.name) is not None
    ]
    values = [json.dumps(getattr(source, field.name), ensure_ascii=False) for field in fields]
    return f"{function_name(source)}({', '.join(values)})"
