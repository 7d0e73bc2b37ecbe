"""Suffix attacks, the baselines of δ: tokens behind the user's request, under the same clamp, with the
same goal and judged by the same figures.

A soft suffix is trained embeddings, a token suffix real tokens (`gcg.py`). An example that is done
leaves the batch.

The weight `keep` asks for protected features that stay where the defense put them. The term has its
gradient; in the code published with the paper it is detached and steers nothing, so the two do not
compare.

Letters: B example, N token of the suffix, A token of the target, S protected feature, D residual
width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from attrs import frozen
from torch import Tensor

from recoverdsl.compiler.steps import Suffix
from recoverdsl.engine.attack.gcg import Gcg, Writing
from recoverdsl.engine.attack.search import Adam, Optimizer, SteepestAscent
from recoverdsl.engine.attack.suffix_problem import SuffixProblem, from_last_token, suffix_problem
from recoverdsl.engine.behavior.generation import Answers, generate
from recoverdsl.engine.behavior.observation import NOT_A_NUMBER, judge
from recoverdsl.engine.defense.autoencoders import Features
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.resources import Resources
from recoverdsl.language import schema
from recoverdsl.measure.features import Monitored, example_figures
from recoverdsl.store.steps import Part, Row

Progress = Callable[[int], None]

FIGURES = (
    "activation_drift", "decode_drift", "drift", "clamp_floor_violation", "reactivated_fraction",
)  # fmt: skip
"""Figures of `example_figures` that a suffix has. Without a δ it has no norm and no violation."""


def attack(
    resources: Resources,
    step: Suffix,
    protected: Protected,
    indices: list[int],
    bases: Answers,
    seeds: Sequence[int],
    progress: Progress = lambda done: None,
) -> Part:
    """Finds a suffix for each example, and lets the model write with it.

    Args:
        bases: what the undefended model answered.
        seeds: one per example, so that its suffix does not depend on the rest of the batch.

    Raises:
        UnavailableError: a prompt is too long with its suffix and the answer behind it, or none of
            the tokenizer's tokens can be a suffix.
    """
    writing = Writing.of(resources.model)
    around = [resources.around[index] for index in indices]
    soft = step.optimizer is not None
    plain = [writing.plain[0] if soft else writing.start(a, step.tokens) for a in around]
    problem = suffix_problem(resources, step, protected, indices, bases, plain)
    kind: Kind
    if step.optimizer is not None:
        kind, start = Soft(_optimizer(step.optimizer, problem)), soft_start(problem, seeds)
    else:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        kind = Gcg(writing, around, generators, step.candidates, step.top)
        start = problem.plain_BN
    found = search(
        problem, kind, start, step.steps, step.stop == "recovered", progress, step.forward_passes
    )
    states_BND = kind.states(problem, found.suffix)

    z_rec = problem.features_with(states_BND)
    figures = moved(problem.features, problem.z_def, z_rec, problem.goal.mask_BA)
    prompts, intervention = problem.prompts, problem.under(states_BND)
    if not soft:
        prompts, intervention = problem.with_ids(found.suffix), problem.intervention
    assert step.behavior.generate is not None
    answers = generate(
        problem.family, prompts, intervention,
        tokens=step.behavior.generate, ends=resources.model.ends,
    )  # fmt: skip
    # The last token of an answer that was cut is never read by the model.
    read = (answers.ids_BN[:, :-1], answers.mask_BN[:, :-1])
    alone = resources.tokens(indices).followed_by(*read)
    written = moved(
        problem.features,
        from_last_token(problem.family, alone, problem.intervention, problem.features),
        from_last_token(problem.family, prompts.followed_by(*read), intervention, problem.features),
        torch.nn.functional.pad(read[1], (1, 0), value=True),
    )
    said = judge(resources, step.behavior, indices, answers, bases)
    rows: list[Row] = []
    for at, index in enumerate(indices):
        rows.append(
            {name: said[at][name] for name in said[at] if name not in ("score", "holds", "removed")}
            | {
                "example": resources.examples[index].id,
                "category": resources.examples[index].category,
                "recovered": said[at]["holds"],
                "reached": bool(found.reached_B[at]),
                "score_recovered": float(found.score_B[at]),
                "steps": int(found.steps_B[at]),
                "forward_passes": float(found.passes_B[at]),
                "gradient_steps": float(found.steps_B[at] + 1),
                "norm": None,
                "relative_norm": None,
                "violation": None,
                "zero_reactivation": bool(
                    figures["reactivated_count"][at] == 0 and written["reactivated_count"][at] == 0
                ),
                **{name: float(figures[name][at]) for name in FIGURES},
                "generated_drift": float(written["drift"][at]),
                "generated_clamp_floor_violation": float(written["clamp_floor_violation"][at]),
                "failed": NOT_A_NUMBER if found.failed_B[at] else said[at]["failed"],
            }
        )
    suffix = "suffix" if soft else "suffix_ids"
    return Part(rows, {suffix: found.suffix, **answers.tensors()})


def moved(
    features: Mapping[int, Features],
    z_def: Mapping[int, Tensor],
    z_rec: Mapping[int, Tensor],
    where_BA: Tensor,
) -> dict[str, Tensor]:
    """Figures of how far a suffix moves protected features, the prompt's last token and the answer's
    tokens each compared with the same without a suffix."""
    return example_figures(
        [Monitored(z_def[site], z_rec[site], at.W_dec_SD) for site, at in features.items()],
        [],
        where_BA,
    )


def _optimizer(chosen: schema.Adam | schema.Gradient, problem: SuffixProblem) -> Optimizer:
    if isinstance(chosen, schema.Adam):
        return Adam(chosen.lr)
    return SteepestAscent(torch.full((len(problem),), chosen.lr, device=problem.family.device))


# --- The search -----------------------------------------------------------------------------------


class Kind(Protocol):
    """What a suffix is made of, and how it is improved."""

    def states(self, problem: SuffixProblem, suffix: Tensor) -> Tensor:
        """Boundary 0 of the suffixes, (B, N, D)."""
        ...

    def improve(
        self, problem: SuffixProblem, suffix: Tensor, total_B: Tensor, gradient_BND: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Other suffixes, and the forward passes that each example has cost, (B,)."""
        ...

    def take(self, rows: Tensor) -> None:
        """Goes on with these rows of the batch."""
        ...


@frozen(eq=False)
class Soft:
    """Trained embeddings, (B, N, D)."""

    optimizer: Optimizer

    def states(self, problem: SuffixProblem, suffix: Tensor) -> Tensor:
        return suffix

    def improve(
        self, problem: SuffixProblem, suffix: Tensor, total_B: Tensor, gradient_BND: Tensor
    ) -> tuple[Tensor, Tensor]:
        # Optimizers know δ at several sites; this is one.
        moved_BND = suffix + self.optimizer.step(gradient_BND[:, None])[:, 0]
        return moved_BND, torch.zeros(len(suffix), dtype=torch.long, device=suffix.device)

    def take(self, rows: Tensor) -> None:
        self.optimizer.take(rows)


@frozen(eq=False)
class Found:
    """What a search found, per example."""

    suffix: Tensor
    """Embeddings (B, N, D) or ids (B, N); as they were at first where the search failed."""
    score_B: Tensor
    reached_B: Tensor
    steps_B: Tensor
    failed_B: Tensor
    """True where the objective or its gradient stopped being a number."""
    passes_B: Tensor
    """Forward passes."""


def search(
    problem: SuffixProblem,
    kind: Kind,
    start: Tensor,
    steps: int,
    stop_when_reached: bool = True,
    progress: Callable[[int], None] = lambda done: None,
    forward_passes: int | None = None,
) -> Found:
    """Maximizes the objective over suffixes, from `start` on.

    Args:
        progress: called after each step with the number of examples that are done.
        forward_passes: what may be spent on each example: no step is taken that would exceed it at
            the cost of the one before.
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
    return Found(best, score_B, reached_B, steps_B, failed_B, passes_B)


def soft_start(problem: SuffixProblem, seeds: Sequence[int]) -> Tensor:
    """The plain tokens' embeddings (B, N, D), with noise of a hundredth of their size.

    Args:
        seeds: one per example, so that its noise does not depend on the rest of the batch.
    """
    states_BND = problem.states_of(problem.plain_BN)
    noise_BND = torch.stack(
        [torch.randn(states_BND.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )  # fmt: skip
    size_B11 = states_BND.square().mean((1, 2), keepdim=True).sqrt()
    return states_BND + 0.01 * size_B11 * noise_BND.to(states_BND)
