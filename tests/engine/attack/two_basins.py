"""A planted problem with two basins: the gradient at δ = 0 leads to the one that is farther away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

from recoverdsl.engine.attack.problem import AttackProblem
from recoverdsl.engine.behavior.conditions import Condition
from recoverdsl.engine.behavior.objectives import Objective, ScoreGoal
from recoverdsl.engine.defense.intervention import Intervention
from recoverdsl.engine.model.families import Family
from recoverdsl.engine.model.forward import NO_PREFIX, Tokens
from recoverdsl.language.schema import Comparison

EXAMPLES, WIDTH = 8, 6
"""Few dimensions, so that a random direction may point to either basin."""


class Pass(nn.Module):
    def forward(self, h_BQD: Tensor, **_: Any) -> Tensor:
        return h_BQD


class TwoSlopes(nn.Module):
    """The logit of token 0 is the larger of two functions that are linear in the state:
    x₀/`near` − 1 and 1.2·(x₁/`least` − 1). At 0 the first is larger, so that its gradient is
    followed, although it is positive only from x₀ = near on; the second is from x₁ = least on."""

    def __init__(self, near: float, least: float) -> None:
        super().__init__()
        self.near, self.least = near, least
        self.weight = nn.Parameter(torch.zeros(2, WIDTH), requires_grad=False)

    def forward(self, h_BD: Tensor) -> Tensor:
        first, second = h_BD[..., 0] / self.near - 1, 1.2 * (h_BD[..., 1] / self.least - 1)
        return torch.stack([first.maximum(second), torch.zeros_like(first)], dim=-1)


@frozen(eq=False)
class Planted(Family):
    def positional(self, h_BQD: Tensor, positions_BQ: Tensor) -> Mapping[str, Any]:
        return {}

    def logits(self, h_BD: Tensor, tokens_BK: Tensor | None = None) -> Tensor:
        logits_BV: Tensor = self.head(h_BD)
        return logits_BV if tokens_BK is None else logits_BV.gather(1, tokens_BK)


@frozen(eq=False)
class TwoBasins:
    problem: AttackProblem
    near_B: Tensor
    """Least norm in the basin that the gradient at 0 leads to."""
    least_B: Tensor
    """Least norm of all, in the other one."""


def two_basins(near: float = 10.0, least: float = 4.0) -> TwoBasins:
    head = TwoSlopes(near, least)
    family = Planted(
        model=head,
        layers=nn.ModuleList([Pass()]),
        final_norm=nn.Identity(),
        head=head,
        max_positions=64,
    )
    tokens_BK = torch.tensor([0, 1]).expand(EXAMPLES, 2)
    objective = Objective(torch.tensor([1.0, -1.0]), tokens_BK, torch.zeros(2, dtype=torch.bool))
    # The states differ a little, in a direction that neither slope reads, so that examples differ.
    h_BQD = torch.zeros(EXAMPLES, 1, WIDTH)
    h_BQD[:, 0, 2] = torch.linspace(0, 1, EXAMPLES)
    problem = AttackProblem(
        family=family, sites=(0,), first=0, prefix=NO_PREFIX, intervention=Intervention(), features={},
        tokens=Tokens(torch.zeros(EXAMPLES, 1, dtype=torch.long), torch.ones(EXAMPLES, 1, dtype=torch.bool)),
        h_def={0: h_BQD}, where_BLQ=torch.ones(EXAMPLES, 1, 1, dtype=torch.bool),
        goal=ScoreGoal(objective, Condition(Comparison("score", ">", 0.0)), 0),
    )  # fmt: skip
    return TwoBasins(problem, torch.full((EXAMPLES,), near), torch.full((EXAMPLES,), least))
