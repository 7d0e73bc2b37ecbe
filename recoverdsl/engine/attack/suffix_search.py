"""The search of a suffix, the baseline of δ: tokens after the user's request, under the same clamp, with
the same goal and judged by the same figures.

A soft suffix is trained embeddings, a token suffix real tokens (`gcg.py`). An example that is done
leaves the batch.

The weight `keep` penalizes the drift of the protected features. The term has its gradient here; in the
code published with the paper it is detached and has no effect, so the two are not comparable.

Letters: B example, N token of the suffix, A token of the target, S protected feature, D residual
width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from attrs import frozen
from torch import Tensor

from recoverdsl.engine.attack.optimizers import Optimizer
from recoverdsl.engine.attack.suffix_problem import SuffixProblem

Progress = Callable[[int], None]


class SuffixKind(Protocol):
    """A kind of suffix: its representation, and how it is improved."""

    def states(self, problem: SuffixProblem, suffix: Tensor) -> Tensor:
        """Return boundary 0 of the suffixes, (B, N, D)."""
        ...

    def improve(
        self, problem: SuffixProblem, suffix: Tensor, total_B: Tensor, gradient_BND: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the next suffixes, and the forward passes spent on each example, (B,)."""
        ...

    def take(self, rows: Tensor) -> None:
        """Keep these rows of the batch only."""
        ...


@frozen(eq=False)
class SoftSuffix:
    """Trained embeddings, (B, N, D)."""

    optimizer: Optimizer

    def states(self, problem: SuffixProblem, suffix: Tensor) -> Tensor:
        return suffix

    def improve(
        self, problem: SuffixProblem, suffix: Tensor, total_B: Tensor, gradient_BND: Tensor
    ) -> tuple[Tensor, Tensor]:
        # Optimizers take δ at several sites (B, L, Q, D); this is one.
        moved_BND = self.optimizer.move(suffix[:, None], total_B, gradient_BND[:, None])[:, 0]
        return moved_BND, torch.zeros(len(suffix), dtype=torch.long, device=suffix.device)

    def take(self, rows: Tensor) -> None:
        self.optimizer.take(rows)


@frozen(eq=False)
class SuffixOutcome:
    """The result of a search, per example."""

    suffix: Tensor
    """Embeddings (B, N, D) or ids (B, N); the initial ones where the search failed."""
    score_B: Tensor
    reached_B: Tensor
    steps_B: Tensor
    failed_B: Tensor
    """True where the objective or its gradient was not a finite number."""
    passes_B: Tensor
    """Forward passes spent."""


def search(
    problem: SuffixProblem,
    kind: SuffixKind,
    start: Tensor,
    steps: int,
    stop_when_reached: bool = True,
    progress: Callable[[int], None] = lambda done: None,
    forward_passes: int | None = None,
) -> SuffixOutcome:
    """Maximize the objective over suffixes, and return what was found.

    Args:
        start: the suffixes to begin with, as `kind` represents them.
        progress: called after each step with the number of examples that are done.
        forward_passes: how many may be spent on each example: no step is taken that would exceed it
            if it cost as many as the step before.
    """
    count, device = len(problem), start.device
    best, suffix = start.clone(), start
    score_B = torch.full((count,), torch.nan, device=device)
    reached_B, failed_B = torch.zeros(2, count, dtype=torch.bool, device=device)
    steps_B, passes_B = torch.zeros(2, count, dtype=torch.long, device=device)
    rows, live = torch.arange(count, device=device), problem
    spent_B = passes_B.clone()
    for step in range(steps + 1):
        states = kind.states(live, suffix).detach().requires_grad_(True)
        with torch.enable_grad():
            now = live.objective(states)
            (gradient,) = torch.autograd.grad(now.total_B.sum(), states)
        total = now.total_B.detach()
        broken = ~(total.isfinite() & gradient.flatten(1).isfinite().all(1))
        back = now.reached_B & ~broken
        best[rows[~broken]] = suffix[~broken]
        best[rows[broken]] = start[rows[broken]]
        score_B[rows], reached_B[rows], failed_B[rows] = now.score_B.detach(), back, broken
        steps_B[rows] = step
        passes_B[rows] += 1

        stay = ~broken & ~back if stop_when_reached else ~broken
        if forward_passes is not None:
            stay = stay & (2 * passes_B - spent_B <= forward_passes)[rows]
            spent_B = passes_B.clone()
        progress(count - int(stay.sum()))
        if step == steps or not stay.any():
            break
        if not stay.all():
            kept = stay.nonzero().squeeze(1)
            rows, live, suffix = rows[kept], live.take(kept), suffix[kept]
            total, gradient = total[kept], gradient[kept]
            kind.take(kept)
        suffix, tried = kind.improve(live, suffix, total, gradient)
        passes_B[rows] += tried
    return SuffixOutcome(best, score_B, reached_B, steps_B, failed_B, passes_B)


def soft_start(problem: SuffixProblem, seeds: Sequence[int]) -> Tensor:
    """Return the plain tokens' embeddings (B, N, D), with noise of a hundredth of their size.

    Args:
        seeds: one per example, so that its noise does not depend on the rest of the batch.
    """
    states_BND = problem.states_of(problem.plain_BN)
    noise_BND = torch.stack(
        [torch.randn(states_BND.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )  # fmt: skip
    size_B11 = states_BND.square().mean((1, 2), keepdim=True).sqrt()
    return states_BND + 0.01 * size_B11 * noise_BND.to(states_BND)
