"""The limits of attacks at which an expectation is about recovery, as far as the spec alone tells."""

from __future__ import annotations

import math

from recoverdsl.language.schema import Spec
from recoverdsl.language.schema.budgets import limits_of, suffix_of
from recoverdsl.language.schema.metrics import says_of_recovery
from recoverdsl.language.schema.strongest import STRONGEST, strongest_of


def expected_limits(spec: Spec) -> list[tuple[str, float]]:
    """Return the attacks with a δ whose recovery an expectation is about, each with the limit that it
    is about, once each.

    An expectation of `strongest` is about every attack that it covers at that norm.
    """
    found: dict[tuple[str, float], None] = {}
    for e in spec.expects:
        if not says_of_recovery(e.metric, e.operator, e.value):
            continue
        names = strongest_of(spec) if e.subject == STRONGEST else (e.subject,)
        attacks = {name: spec.attacks[name] for name in names if name in spec.attacks}
        limits = {
            name: limits_of(spec, attack)
            for name, attack in attacks.items()
            if not suffix_of(attack)
        }
        largest = max((of[-1] for of in limits.values()), default=None)
        norm = largest if e.norm is None else e.norm
        if norm is not None:
            found |= {
                (name, limit): None
                for name, of in limits.items()
                for limit in of
                if math.isclose(limit, norm)
            }
    return list(found)
