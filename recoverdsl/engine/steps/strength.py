"""The step that tries harder where an attack failed, so that a weak attack is not mistaken for a clamp that
holds.

After Pintor et al., "Indicators of attack failure" (arXiv 2106.09947), and Carlini et al., "On
evaluating adversarial robustness" (arXiv 1902.06705).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from attrs import evolve, frozen
from torch import Tensor

from recoverdsl.compiler.steps import FindSmallestNorm, Recover, TryHarder, TryHarderSuffix
from recoverdsl.engine.attack.constraints import constraint_of
from recoverdsl.engine.attack.geometry import norm
from recoverdsl.engine.attack.problem import AttackProblem
from recoverdsl.engine.attack.problem_factory import ProblemFactory
from recoverdsl.engine.attack.random_search import random_search
from recoverdsl.engine.attack.search import Outcome, outcome_of
from recoverdsl.engine.attack.seeds import seed_of
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.steps.evaluation import FlipBatch, Recoveries, evaluate
from recoverdsl.engine.steps.executor import Progress, SomeFlipsExecutor, executes
from recoverdsl.engine.steps.recovery import limits, problem_of, recover
from recoverdsl.engine.steps.suffix import Suffixes
from recoverdsl.language import schema
from recoverdsl.measure.rows import Recovery
from recoverdsl.measure.strength import BelowClamp, StrengthRow, Tried
from recoverdsl.store.records import Record

NO_MORE = 1 + 1e-4
"""Factor by which a least norm may be above a limit that it is not beyond."""

LEAST_STEPS = 50
"""Steps of momentum ascent where the attack takes fewer: its own may be what is too few."""

NO_LIMIT = 10.0
"""The length of a δ, in lengths of the residual stream, that no longer limits a search: the stream's
direction is then that of δ."""


@frozen(eq=False)
class StrengthRecord:
    """The searches on the examples that an attack did not recover: the record of a step."""

    rows: tuple[StrengthRow, ...]
    failures: int
    """How many examples the attack did not recover, of which these are a sample."""


S = TypeVar("S", TryHarder, TryHarderSuffix)
R = TypeVar("R", bound=Record)


class FailureExecutor(SomeFlipsExecutor[S, R]):
    """Computes a step over some of the valid flips that an attack did not recover."""

    @property
    def places(self) -> list[int]:
        """The places of the examples: a sample that no other example changes."""
        missed = self.missed
        drawn = sorted(missed, key=lambda at: seed_of(self.step.seed, missed[at]))
        return sorted(drawn[: self.step.examples])

    @property
    def missed(self) -> dict[int, str]:
        """The places of all examples that the attack did not recover, with their ids."""
        found = self.work.output.results[self.node.inputs["found"]].record
        if found is None:
            return {}
        assert isinstance(found, (Recoveries, Suffixes))
        return {at: row.example for at, row in enumerate(found.rows) if not self.recovered(row)}

    def recovered(self, row: Recovery) -> bool:
        """Return whether an example needs no other search."""
        return row.recovered


@executes(TryHarder)
class TryHarderExecutor(FailureExecutor[TryHarder, StrengthRecord]):
    """Tries harder on some of the valid flips that an attack did not recover."""

    record = StrengthRecord

    def recovered(self, row: Recovery) -> bool:
        """Return whether δ recovers; where a search of the least norm is checked, within the limit."""
        within = NO_MORE * self.step.recover.limit if self._of_least_norm else math.inf
        return bool(row.recovered and row.delta and row.delta.norm <= within)

    @property
    def _of_least_norm(self) -> bool:
        """Whether what is checked is a search of the least norm, and not the attack at a limit."""
        found = self.node.inputs["found"]
        return isinstance(self.work.output.graph[found].step, FindSmallestNorm)

    def compute(self, batch: range, progress: Progress) -> StrengthRecord:
        places = [self.places[at] for at in batch]
        protected, flips = self.work.protected(self.node), self.work.flip_batch(self.node, places)
        if self._of_least_norm:
            rows = recover(self.work.problems, self.step.recover, protected, flips).rows
        else:
            found = self.work.output.record(self.node.inputs["found"], Recoveries)
            rows = tuple(found.rows[at] for at in places)
        made = try_harder(self.work.problems, self.step, protected, flips, rows)
        return StrengthRecord(made, len(self.missed))


def try_harder(
    problems: ProblemFactory,
    step: TryHarder,
    protected: Protected,
    batch: FlipBatch,
    found: Sequence[Recovery],
) -> tuple[StrengthRow, ...]:
    """Return other searches for some valid flips that an attack did not recover.

    Args:
        found: the attack's own rows of these examples.
    """
    attack = step.recover
    free = evolve(attack, preserve=None)

    def tried(recoveries: Recoveries) -> list[Tried]:
        return [tried_of(row) for row in recoveries.rows]

    def searched(recover_step: Recover, limit_B: Tensor | None = None) -> list[Tried]:
        return tried(recover(problems, recover_step, protected, batch, limit_B=limit_B))

    problem = problem_of(problems, attack, protected, batch)
    plain = problem_of(problems, free, protected, batch)
    undefended = problem_of(problems, evolve(free, defense=None), protected, batch)
    undo, state_norm_B = _undoing(problems, free, plain, undefended)
    within = recover(problems, by_apgd(attack), protected, batch)
    unconstrained = recover(problems, by_apgd(free), protected, batch)
    columns = zip(
        map(tried_of, found),
        _start(problems, attack, problem),
        searched(longer(attack)),
        tried(within),
        tried(_unguided(problems, step, protected, batch, found)),
        searched(by_apgd(attack), NO_LIMIT * state_norm_B),
        tried(evaluate(problems.resources, free, plain, protected, batch, outcome_of(plain, undo))),
        state_norm_B.tolist(),
        tried(unconstrained),
        _below_clamp(problems, free, protected, (plain, undefended), (within, unconstrained)),
        strict=True,
    )
    return tuple(
            StrengthRow(
                example=row.example, attack=own, start=start, gradient=gradient, longer=more, apgd=apgd,
                unguided=unguided, unlimited=unlimited, undo=undone, state_norm=state_norm,
                unconstrained=freed, below_clamp=below,
            )
            for row, (own, (start, gradient), more, apgd, unguided, unlimited, undone, state_norm, freed, below)
            in zip(found, columns, strict=True)
    )  # fmt: skip


def tried_of(row: Recovery) -> Tried:
    """Return the outcome of a search; without a δ its norm is NaN."""
    size = row.delta.norm if row.delta else float("nan")
    return Tried(row.recovered, row.score_recovered, size)


def longer(attack: Recover) -> Recover:
    """Return the attack with twice the steps and passes."""
    stages = tuple(evolve(stage, steps=2 * stage.steps) for stage in attack.stages)
    passes = attack.forward_passes
    return evolve(attack, stages=stages, forward_passes=passes and 2 * passes)


def by_apgd(attack: Recover) -> Recover:
    """Return the attack by momentum ascent."""
    stages = tuple(
        evolve(stage, optimizer=schema.Apgd(), steps=max(stage.steps, LEAST_STEPS))
        for stage in attack.stages
    )
    return evolve(attack, stages=stages, forward_passes=None)


def _start(
    problems: ProblemFactory, attack: Recover, problem: AttackProblem
) -> Iterator[tuple[float, float]]:
    """Yield each example's score at δ = 0, and the length of its gradient along what the constraint
    allows."""
    now = problems.stage(problem, attack, 0, None)
    delta = now.zero_BLQD.requires_grad_(True)
    with torch.enable_grad():
        score_B, _ = now.score(delta)
        (gradient,) = torch.autograd.grad(score_B.sum(), delta)
    allowed = constraint_of(attack.preserve, now).tangent(now, delta.detach(), gradient, 0)
    length_B = norm(allowed).where(gradient.flatten(1).isfinite().all(1), torch.nan)
    yield from zip(score_B.tolist(), length_B.tolist(), strict=True)


def _undoing(
    problems: ProblemFactory, free: Recover, plain: AttackProblem, undefended: AttackProblem
) -> tuple[Tensor, Tensor]:
    """Return the δ (B, L, Q, D) that gives back what the clamp changed where δ acts last, and the norm
    (B,) of the defended state there."""
    where_BLQ = _acts(problems, free, plain)
    last = _last(where_BLQ)
    site = plain.sites[last]
    undo = plain.zero_BLQD
    where_BQ1 = where_BLQ[:, last, :, None]
    undo[:, last] = (undefended.h_def[site] - plain.h_def[site]) * where_BQ1
    return undo, (plain.h_def[site] * where_BQ1).flatten(1).norm(dim=1)


def _acts(problems: ProblemFactory, free: Recover, plain: AttackProblem) -> Tensor:
    """Return where δ acts in some stage, (B, L, Q)."""
    stages = [problems.stage(plain, free, n, None).where_BLQ for n in range(len(free.stages))]
    return torch.stack(stages).any(0)


def _last(where_BLQ: Tensor) -> int:
    """Return the last site at which δ acts, as a place among the sites."""
    return int(where_BLQ.any(2).any(0).nonzero().max())


@torch.no_grad()
def _below_clamp(
    problems: ProblemFactory,
    free: Recover,
    protected: Protected,
    of: tuple[AttackProblem, AttackProblem],
    searches: Sequence[Recoveries],
) -> list[BelowClamp | None]:
    """Return what the clamp and the δ of some searches change at the first clamped site, if δ acts below it.

    Args:
        of: the problem without a constraint, and without the clamp.
    """
    plain, undefended = of
    where_BLQ, clamped = _acts(problems, free, plain), min(protected.features)
    if clamped <= plain.sites[_last(where_BLQ)]:
        return [None] * len(plain)
    base_BQD, where_BQ1 = undefended.h_def[clamped], where_BLQ.any(1)[..., None]

    def moved(h_BQD: Tensor) -> Tensor:
        moved_B: Tensor = ((h_BQD - base_BQD) * where_BQ1).flatten(1).norm(dim=1)
        return moved_B

    # Before the first clamp the model with δ is the undefended one with δ.
    by_delta_B = torch.stack(
        [
            moved(undefended.states(problems.columns(undefended, free, made.delta_BLPD))[clamped])
            for made in searches
        ]
    ).amax(0)
    by_clamp_B = moved(plain.h_def[clamped])
    return [
        BelowClamp(*both) for both in zip(by_clamp_B.tolist(), by_delta_B.tolist(), strict=True)
    ]


def _unguided(
    problems: ProblemFactory,
    step: TryHarder,
    protected: Protected,
    batch: FlipBatch,
    found: Sequence[Recovery],
) -> Recoveries:
    """Return what random search finds, stage by stage, with as many passes as the attack took."""
    attack = step.recover
    problem = problem_of(problems, attack, protected, batch)
    fixed: Tensor | None = None
    outcome = Outcome.none(problem)
    for number, stage in enumerate(attack.stages):
        now = problems.stage(problem, attack, number, fixed)
        share = stage.steps / sum(stage.steps for stage in attack.stages)
        outcome = random_search(
            now, constraint_of(attack.preserve, now), limits(problem, stage.limit),
            [max(1, round(share * row.effort.forward_passes)) if row.effort else 1 for row in found],
            [seed_of(step.seed, f"random search {row.example}", number) for row in found],
        )  # fmt: skip
        fixed = outcome.delta_BLQD
    return evaluate(problems.resources, attack, now, protected, batch, outcome)
