"""The state moved back onto the protected features' values after δ."""

from __future__ import annotations

from typing import ClassVar

import torch
from attrs import frozen
from torch import Tensor

from recoverdsl.engine.attack.constraints.constraint import Constraint, require_room
from recoverdsl.engine.attack.geometry import norm
from recoverdsl.engine.attack.meter import UNCOUNTED, Meter
from recoverdsl.engine.attack.problem import AttackProblem
from recoverdsl.language import schema


@frozen(eq=False)
class ByConstruction(Constraint[schema.ByConstruction]):
    """The problem itself moves the state back onto the protected features' values.

    The free δ is searched; its correction follows from it, and both together must be within the
    limit. The total is not proportional to the free part, which is therefore scaled down step by step.
    """

    corrects = True
    ROUNDS: ClassVar[int] = 8

    @classmethod
    def build(cls, config: schema.ByConstruction, problem: AttackProblem) -> ByConstruction:
        require_room(problem.bases.values())
        return cls()

    def admit(
        self,
        problem: AttackProblem,
        delta_BLQD: Tensor,
        limit_B: Tensor,
        meter: Meter = UNCOUNTED,
    ) -> Tensor:
        delta_BLQD = problem.place(delta_BLQD)
        rows = torch.arange(len(problem), device=delta_BLQD.device)
        live = problem
        for round in range(self.ROUNDS + 1):
            size_B = norm(live.added(delta_BLQD[rows], meter))
            over_B = size_B > limit_B[rows]
            if not over_B.any():
                return delta_BLQD
            if not over_B.all():
                live, meter = live.take(over_B), meter.take(over_B)
                rows, size_B = rows[over_B], size_B[over_B]
            # A little less each round: proportional scaling alone may approach the limit without end.
            scale_B = limit_B[rows] / size_B * (1 - 0.002 * 2**round)
            delta_BLQD = delta_BLQD.index_copy(
                0, rows, delta_BLQD[rows] * scale_B[:, None, None, None]
            )
        return delta_BLQD.index_fill(0, rows, 0.0)
