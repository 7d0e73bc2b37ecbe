"""The budgets of attacks, as far as the spec alone tells."""

from __future__ import annotations

import math
from typing import Literal

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


def suffix_of(attack: Attack) -> Literal["soft_suffix", "token_suffix"] | None:
    """Return which kind of suffix an attack searches; None if it perturbs the residual stream."""
    if attack.soft_suffix is not None:
        return "soft_suffix"
    return "token_suffix" if attack.token_suffix is not None else None
