"""The controls of an audit: those that its spec names, and the unrelated targets that it tries by itself."""

from __future__ import annotations

import re

from recoverdsl.language.schema import AnswerOf, Attack, BehaviorOf, Control, LogProb, Spec
from recoverdsl.language.schema.forms import leaves, tokens_of
from recoverdsl.language.schema.metrics import says_of_recovery
from recoverdsl.language.schema.strongest import STRONGEST, strongest_of


def controls_of(spec: Spec) -> dict[str, Control]:
    """Return the controls of a spec and, for each attack whose recovery an expectation is about or its specificity, one with
    an unrelated target under the clamp, unless the spec has one or there is no such target.

    Its name is that of the attack and `unrelated`, which no block can have.
    """
    controls = dict(spec.controls)
    for name in recovering(spec):
        attack = spec.attacks[name]
        have = [c for c in controls.values() if c.of == name and c.on == "defended" and c.target]
        target = None if have else _target(spec, attack)
        if target is not None:
            controls[f"{name} unrelated"] = Control(of=name, target=target)
    return controls


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
    filled = any(re.search(r"\{\w+\}", text) for text in texts)
    return BehaviorOf(attack.maximize, "another_example") if filled else None
