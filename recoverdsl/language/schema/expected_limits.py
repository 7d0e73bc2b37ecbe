"""The limits of attacks at which an expectation is about recovery, as far as the spec alone tells."""

from __future__ import annotations

import math

from attrs import frozen

from recoverdsl.language.schema import Expectation, Spec
from recoverdsl.language.schema.budgets import limits_of
from recoverdsl.language.schema.metrics import says_of_recovery
from recoverdsl.language.schema.strongest import STRONGEST, strongest_of


@frozen
class ExpectedLimit:
    """An attack at a limit that an expectation is about."""

    attack: str
    limit: float | None
    """Largest norm; None of a suffix, which has none."""
    least: bool = False
    """Whether the expectation is about the least norm, and names this one."""


def limits_of_expectation(spec: Spec, expectation: Expectation) -> tuple[ExpectedLimit, ...]:
    """Return the attacks on which an expectation about recovery rests, at the limit that it is about; none
    if it is about something else.

    One of `strongest` rests on every attack that it covers at that norm. One of a smallest norm is about
    every attack that searches for one, at the norm that it names.
    """
    e = expectation
    if not says_of_recovery(e.metric, e.operator, e.value):
        return ()
    names = strongest_of(spec) if e.subject == STRONGEST else (e.subject,)
    attacks = {name: spec.attacks[name] for name in names if name in spec.attacks}
    limits: dict[str, tuple[float | None, ...]] = {
        name: limits_of(spec, attack) or (None,) for name, attack in attacks.items()
    }
    if e.metric == "smallest_norm":
        last = {name: of[-1] for name, of in limits.items() if attacks[name].find}
        return tuple(ExpectedLimit(name, min(e.value, to), True) for name, to in last.items() if to)
    norm = (
        max((at[-1] for at in limits.values() if at[-1]), default=None)
        if e.norm is None
        else e.norm
    )
    return tuple(
        ExpectedLimit(name, limit)
        for name, of in limits.items()
        for limit in of
        if limit is norm or (limit and norm and math.isclose(limit, norm))
    )


def expected_limits(spec: Spec) -> list[ExpectedLimit]:
    """Return the limits on which the expectations about recovery rest, once each."""
    return list(dict.fromkeys(at for e in spec.expects for at in limits_of_expectation(spec, e)))
