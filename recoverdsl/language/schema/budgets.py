"""The budgets of attacks, as far as the spec alone tells."""

from __future__ import annotations

import math

import attrs

from recoverdsl.language.schema import Attack, Spec


def limits_of(spec: Spec, attack: Attack) -> tuple[float, ...]:
    """Return the budgets that an attack runs with: its own, or those of its budget block.

    Stages have one between them, the norm of what they may spend at positions of their own: the
    root of the sum of the squares of their limits, to 10 digits. A suffix has none.
    """
    if suffix_of(attack):
        return ()
    if attack.stages:
        return (float(f"{math.hypot(*(max(stage.limit.norms) for stage in attack.stages)):.10g}"),)
    if attack.limit:
        return attack.limit.norms
    budget = spec.budgets.get(attack.budget) if attack.budget else None
    return budget.limit.norms if budget and budget.limit else ()


def suffix_of(attack: Attack) -> str | None:
    """Return the option that makes an attack search a suffix; None if it perturbs the residual stream."""
    options = (f for f in attrs.fields(Attack) if f.metadata["replaces_delta"])
    return next((f.name for f in options if getattr(attack, f.name) is not None), None)
