"""The controls of an audit: those that its spec names, and the unrelated targets that it tries by itself."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from recoverdsl.language.schema import AnswerOf, Attack, BehaviorOf, Control, LogProb, Spec
from recoverdsl.language.schema.budgets import limits_of
from recoverdsl.language.schema.expected_limits import ExpectedLimit, expected_limits
from recoverdsl.language.schema.forms import leaves, names_a_column, tokens_of
from recoverdsl.language.schema.metrics import says_of_recovery
from recoverdsl.language.schema.strongest import STRONGEST, strongest_of

UNCLAMPED = "unclamped"


def controls_of(spec: Spec) -> dict[str, Control]:
    """Return the controls of a spec and those with an unrelated target that it tries by itself.

    Each attack whose recovery an expectation is about, or its specificity, has one under the clamp: its own
    target with the values of another example, unless it has no such values. A control of the spec with some
    other target takes nothing away from it, since that target may be harder to reach. Where an expectation
    is about the recovery of an attack with a δ, the same is tried without the clamp too. What the spec
    itself has is not added.

    Their names are that of the attack and `unrelated`, and that of the control under the clamp and
    `unclamped`, which no block can have.
    """
    controls = dict(spec.controls)
    for name in recovering(spec):
        target = _target(spec, spec.attacks[name])
        tried = [c for c in controls.values() if c.of == name and c.on == "defended"]
        if target is not None and all(control.target != target for control in tried):
            controls[f"{name} unrelated"] = Control(of=name, target=target)
    for name in dict.fromkeys(at.attack for at in expected_limits(spec) if _is_tried(at)):
        rival = rival_of(controls, name)
        if rival is not None and unclamped_of(controls, rival) is None:
            controls[f"{rival} {UNCLAMPED}"] = evolve(controls[rival], on="undefended")
    return controls


def rival_of(controls: Mapping[str, Control], attack: str) -> str | None:
    """Return the control of an attack under the clamp whose target is least related to its own; None
    without one. A target of another example is less related than another behavior of the same one."""
    own = [
        name for name, c in controls.items() if c.of == attack and c.on == "defended" and c.target
    ]
    return min(own, key=lambda name: isinstance(controls[name].target, str), default=None)


def unclamped_of(controls: Mapping[str, Control], rival: str) -> str | None:
    """Return the control that is the same as another without the clamp; None without one."""
    same = evolve(controls[rival], on="undefended")
    return next((name for name, control in controls.items() if control == same), None)


def limits_of_control(spec: Spec, name: str) -> tuple[float, ...]:
    """Return the limits that a control runs with: those of its attack, or, if it is tried without the clamp
    although the spec does not have it, those of them that an expectation is about."""
    control = controls_of(spec)[name]
    limits = limits_of(spec, spec.attacks[control.of])
    if name in spec.controls or control.on == "defended":
        return limits
    expected = {(at.attack, at.limit) for at in expected_limits(spec) if _is_tried(at)}
    return tuple(limit for limit in limits if (control.of, limit) in expected)


def _is_tried(at: ExpectedLimit) -> bool:
    """Tell whether the unrelated target is tried without the clamp too where an expectation is about an
    attack."""
    return at.limit is not None and not at.least


def recovering(spec: Spec) -> list[str]:
    """Return the attacks whose recovery or specificity an expectation is about, those of `strongest` among them."""
    subjects = [
        e.subject
        for e in spec.expects
        if e.metric == "specificity" or says_of_recovery(e.metric, e.operator, e.value)
    ]
    names = {name for at in subjects for name in (strongest_of(spec) if at == STRONGEST else [at])}
    return [name for name in spec.attacks if name in names]


def _target(spec: Spec, attack: Attack) -> AnswerOf | BehaviorOf | None:
    """Return the attack's own target with the values of another example; None if it has none."""
    if isinstance(attack.maximize, LogProb):
        return AnswerOf("another_example")
    behavior = spec.behaviors[attack.maximize]
    terms = [term.token for term in behavior.score.terms] if behavior.score else []
    texts = [*terms, *(token for leaf in leaves(behavior.holds) for token in tokens_of(leaf))]
    filled = any(map(names_a_column, texts))
    return BehaviorOf(attack.maximize, "another_example") if filled else None
