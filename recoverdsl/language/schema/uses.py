"""The uses of behaviors, as far as the spec alone tells: which are tested, which are only ranked by."""

from __future__ import annotations

from collections.abc import Iterator

from recoverdsl.language.schema import (
    Attack,
    Attribution,
    BehaviorOf,
    Contrast,
    Control,
    LogProb,
    Spec,
    Top,
)


def behavior_of(spec: Spec, attack: Attack) -> str | None:
    """Return the behavior that an attack tests: the one that it maximizes, or whose base answer.

    None if the spec has no such behavior.
    """
    if isinstance(attack.maximize, LogProb):
        return next((name for name, b in spec.behaviors.items() if b.generate), None)
    return attack.maximize if attack.maximize in spec.behaviors else None


def clamp_of(spec: Spec, attack: Attack) -> str | None:
    """Return the clamp that an attack is under: the one that it names, or else the only one.

    None if it names none of several, or there is none.
    """
    if attack.under is not None:
        return attack.under if attack.under in spec.intervenes else None
    return next(iter(spec.intervenes)) if len(spec.intervenes) == 1 else None


def tested(spec: Spec) -> list[str]:
    """Return the behaviors of which base, defended and valid flips are computed, in order.

    Those that the attacks test; in a spec without attacks, those that nothing ranks by, or else the
    first.
    """
    maximized = {
        attack.maximize for attack in spec.attacks.values() if isinstance(attack.maximize, str)
    }
    answered = any(isinstance(attack.maximize, LogProb) for attack in spec.attacks.values())
    found = [
        name
        for name, behavior in spec.behaviors.items()
        if name in maximized or (answered and behavior.generate)
    ]
    if not found:
        ranking = set(ranked_by(spec))
        found = [name for name in spec.behaviors if name not in ranking]
    return found or list(spec.behaviors)[:1]


def used(spec: Spec) -> list[str]:
    """Return the behaviors that are tested, or that something else reads, in order."""
    targets = {target_of(control) for control in spec.controls.values()}
    names = {*tested(spec), *ranked_by(spec), *targets}
    return [name for name in spec.behaviors if name in names]


def target_of(control: Control) -> str | None:
    """Return the behavior that a control has as its target, if it has one."""
    target = control.target
    return (
        target.behavior
        if isinstance(target, BehaviorOf)
        else target
        if isinstance(target, str)
        else None
    )


def ranked_by(spec: Spec) -> Iterator[str]:
    """Yield the behaviors by which features are ranked."""
    for protect in spec.protects.values():
        by = protect.select.by if isinstance(protect.select, Top) else None
        name = by.behavior if isinstance(by, Attribution) else None
        if isinstance(by, Contrast):
            name = by.against
        if name in spec.behaviors:
            yield str(name)
