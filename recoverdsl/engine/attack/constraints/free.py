"""No constraint."""

from __future__ import annotations

from attrs import frozen
from torch import Tensor

from recoverdsl.engine.attack.constraints.constraint import Constraint
from recoverdsl.engine.attack.geometry import into_ball
from recoverdsl.engine.attack.meter import UNCOUNTED, Meter
from recoverdsl.engine.attack.problem import AttackProblem


@frozen(eq=False)
class Free(Constraint[None]):
    """No constraint but the norm."""

    @classmethod
    def build(cls, config: None, problem: AttackProblem) -> Free:
        return cls()

    def admit(
        self,
        problem: AttackProblem,
        delta_BLQD: Tensor,
        limit_B: Tensor,
        meter: Meter = UNCOUNTED,
    ) -> Tensor:
        return into_ball(problem.place(delta_BLQD), limit_B)
