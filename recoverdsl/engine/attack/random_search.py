"""A search without gradients, by which one that follows them is checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from attrs import evolve
from torch import Tensor

from recoverdsl.engine.attack.constraints import Constraint
from recoverdsl.engine.attack.geometry import normalized
from recoverdsl.engine.attack.problem import AttackProblem
from recoverdsl.engine.attack.search import Outcome

LONGER, SHORTER = 1.5, 1.5**-0.25
"""Factors of the step after a success and after a failure: it stays where a fifth of the steps succeed
(Rechenberg 1973)."""


@torch.no_grad()
def random_search(
    problem: AttackProblem,
    constraint: Constraint[Any],
    limit_B: Tensor,
    passes: Sequence[int],
    seeds: Sequence[int],
) -> Outcome:
    """Raise the score by random steps within the limit and the constraint, and return the best δ.

    A (1+1) evolution strategy: from the best δ so far, a step in a random direction is kept if the
    score is higher.

    Args:
        limit_B: largest ‖δ‖_F of each example, positive.
        passes: how many scores are read for each example, ≥ 1.
        seeds: one per example, so that the steps do not depend on the rest of the batch.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    best = problem.zero_BLQD
    score_B, reached_B = problem.score(best)
    length_B = limit_B.clone()
    spent = 1
    passes_B = torch.tensor(passes, device=limit_B.device)
    while True:
        rows = (~reached_B & (passes_B > spent)).nonzero().squeeze(1)
        if not len(rows):
            break
        live = problem.take(rows)
        noise = live.zero_BLQD
        for at, row in enumerate(rows.tolist()):
            where_LQ = live.where_BLQ[at]
            drawn_PD = torch.randn(int(where_LQ.sum()), noise.shape[-1], generator=generators[row])
            noise[at, where_LQ] = drawn_PD.to(noise)
        along = normalized(constraint.tangent(live, best[rows], live.place(noise), spent))
        step = along * length_B[rows][:, None, None, None]
        tried = constraint.admit(live, best[rows] + step, limit_B[rows])
        score, reached = live.score(tried)
        better = score > score_B[rows]
        won = rows[better]
        best[won], score_B[won], reached_B[won] = tried[better], score[better], reached[better]
        length_B[rows] *= torch.where(better, LONGER, SHORTER)
        length_B = length_B.minimum(2 * limit_B)
        spent += 1
    broken_B = ~score_B.isfinite()
    return evolve(
        Outcome.none(problem), delta_BLQD=problem.total(best), score_B=score_B,
        recovered_B=reached_B & ~broken_B, failed_B=broken_B,
    )  # fmt: skip
