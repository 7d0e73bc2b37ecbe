"""The attacks of a spec taken together, which `expect recovery_rate(strongest)` names."""

from __future__ import annotations

from recoverdsl.language.schema.blocks import Attack, Spec
from recoverdsl.language.schema.budgets import suffix_of
from recoverdsl.language.schema.functions import JacobianSketch
from recoverdsl.language.schema.uses import behavior_of, clamp_of, tested

STRONGEST = "strongest"
"""The name by which expectations and results refer to the worst case over attacks; no attack and no
control may have it."""


def strongest_of(spec: Spec) -> tuple[str, ...]:
    """Return the attacks that `strongest` covers, in the order of the spec: only those that ask the
    same question.

    They test the first behavior that is tested, under the first clamp that is attacked for it. These are the attacks that hold the protected features in place, if there are any. Else they are
    those by a random sketch of the features' Jacobian, else those without a constraint, else those by a
    suffix. A δ that moves the protected features undoes the clamp itself, and says nothing of what is
    left beside them.
    """
    attacks = {
        name: attack
        for name, attack in spec.attacks.items()
        if behavior_of(spec, attack) in tested(spec)[:1]
    }
    clamps = {clamp_of(spec, attack) for attack in attacks.values()}
    first = next((name for name in spec.intervenes if name in clamps), None)
    attacks = {name: attack for name, attack in attacks.items() if clamp_of(spec, attack) == first}
    rank = max(map(_rank, attacks.values()), default=0)
    return tuple(name for name, attack in attacks.items() if _rank(attack) == rank)


def _rank(attack: Attack) -> int:
    if suffix_of(attack):
        return 0
    if attack.preserve is None:
        return 1
    return 2 if isinstance(attack.preserve, JacobianSketch) else 3
