"""Steps that search a δ: within a limit, and of the least norm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import evolve
from torch import Tensor

from recoverdsl.compiler.steps import FindSmallestNorm, ReachAnswer, Recover, Stage
from recoverdsl.engine.attack import search
from recoverdsl.engine.attack.constraints import constraint_of
from recoverdsl.engine.attack.fast_minimum_norm import least_of_basins
from recoverdsl.engine.attack.meter import Meter
from recoverdsl.engine.attack.optimizers import SteepestAscent, optimizer_of
from recoverdsl.engine.attack.problem import AttackProblem
from recoverdsl.engine.attack.problem_factory import ProblemFactory
from recoverdsl.engine.attack.seeds import seed_of
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.steps.evaluation import FlipBatch, Recoveries, evaluate
from recoverdsl.engine.steps.executor import FlipExecutor, Progress, executes
from recoverdsl.measure.rows import Effort
from recoverdsl.store.records import rows_of

DRAWS = 8
"""Random δ of which the one with the highest score is where a search of the least norm starts."""


@executes(Recover)
class RecoverExecutor(FlipExecutor[Recover, Recoveries]):
    """Searches a δ within a limit."""

    record = Recoveries

    def compute(self, batch: range, progress: Progress) -> Recoveries:
        return recover(
            self.work.problems, self.step, self.work.protected(self.node),
            self.work.flip_batch(self.node, batch), progress,
        )  # fmt: skip


@executes(FindSmallestNorm)
class SmallestNormExecutor(FlipExecutor[FindSmallestNorm, Recoveries]):
    """Searches the least norm, from the δ that were found within a limit."""

    record = Recoveries

    def compute(self, batch: range, progress: Progress) -> Recoveries:
        found = self.work.output.record(self.node.inputs["found"], Recoveries)
        return find_smallest_norm(
            self.work.problems, self.step, self.work.protected(self.node),
            self.work.flip_batch(self.node, batch), rows_of(found, slice(batch.start, batch.stop)), progress,
        )  # fmt: skip


def recover(
    problems: ProblemFactory,
    step: Recover,
    protected: Protected,
    batch: FlipBatch,
    progress: Progress = lambda done: None,
    limit_B: Tensor | None = None,
) -> Recoveries:
    """Return the δ that an attack finds for some valid flips, stage by stage, with their figures.

    Args:
        limit_B: each example's limit in every stage; those of the step if not given.
    """
    problem = problem_of(problems, step, protected, batch)
    meter = Meter.of(len(problem), problems.resources.device)
    outcome = _in_stages(
        problems,
        step,
        problem,
        meter,
        limit_B,
        progress=(lambda _: None) if step.restarts else progress,
    )
    for restart in range(1, step.restarts + 1):
        rows = _unrecovered(step, outcome, meter, restart)
        progress(len(problem) - len(rows))
        if not len(rows):
            break
        ids = [problems.resources.examples[batch.indices[row]].id for row in rows.tolist()]
        starts = [_starts(restart, ids, number) for number in range(len(step.stages))]
        again = _in_stages(
            problems, step, problem.take(rows), meter.take(rows),
            None if limit_B is None else limit_B[rows], starts,
        )  # fmt: skip
        outcome = outcome.improved(rows, again)
    progress(len(problem))
    now = problems.stage(problem, step, len(step.stages) - 1, None)
    efforts = [
        Effort(forward_passes=float(passes), gradient_steps=float(gradients))
        for passes, gradients in zip(
            meter.forward_passes_B.tolist(), meter.gradients_B.tolist(), strict=True
        )
    ]
    return evaluate(problems.resources, step, now, protected, batch, outcome, efforts=efforts)


def _in_stages(
    problems: ProblemFactory,
    step: Recover,
    problem: AttackProblem,
    meter: Meter,
    limit_B: Tensor | None = None,
    starts: Sequence[list[int]] = (),
    progress: Progress = lambda done: None,
) -> search.Outcome:
    """Return what one search through all stages finds.

    Args:
        starts: for each stage, the seeds of the examples' random starts; without them every stage
            starts at δ = 0.
    """
    device = problem.family.device
    fixed: Tensor | None = None
    steps_B = torch.zeros(len(problem), dtype=torch.long, device=device)
    failed_B = torch.zeros(len(problem), dtype=torch.bool, device=device)
    for number, stage in enumerate(step.stages):
        now = problems.stage(problem, step, number, fixed)
        last = number == len(step.stages) - 1
        attack = _attack(step, stage, now)
        within_B = limits(problem, stage.limit) if limit_B is None else limit_B
        start = None
        if starts:
            start = search.random_start(now, attack.constraint, within_B, starts[number], meter)
        outcome = search.recover(
            now, attack, within_B, start, progress=progress if last else lambda _: None, meter=meter
        )
        fixed = outcome.delta_BLQD
        steps_B, failed_B = steps_B + outcome.steps_B, failed_B | outcome.failed_B
    return evolve(outcome, steps_B=steps_B, failed_B=failed_B)


def _unrecovered(step: Recover, outcome: search.Outcome, meter: Meter, starts: int) -> Tensor:
    """Return the examples (R,) that have not recovered after some starts, and whose passes allow
    another, if its first step costs what theirs did on average."""
    open_B = ~outcome.recovered_B
    if step.forward_passes is not None:
        spent_B = meter.forward_passes_B
        open_B &= spent_B + spent_B / (outcome.steps_B + starts) <= step.forward_passes
    return open_B.nonzero().squeeze(1)


def _starts(restart: int, examples: list[str], stage: int) -> list[int]:
    """Return the seed of each example's random start, unlike those of its random directions."""
    return [seed_of(restart, f"start of {example}", stage) for example in examples]


def find_smallest_norm(
    problems: ProblemFactory,
    step: FindSmallestNorm,
    protected: Protected,
    batch: FlipBatch,
    found: Recoveries,
    progress: Progress = lambda done: None,
) -> Recoveries:
    """Return the δ of the least norm that recovers, from the δ that an attack found for some valid
    flips: the least that bisection finds, and then FMN from that δ and from random starts."""
    problem = problem_of(problems, step.recover, protected, batch)
    device, rows = problems.resources.device, found.rows
    start = search.Outcome(
        delta_BLQD=problems.columns(problem, step.recover, found.delta_BLPD),
        score_B=torch.tensor([row.score_recovered for row in rows], device=device),
        recovered_B=torch.tensor([row.reached for row in rows], device=device),
        steps_B=torch.tensor([row.steps for row in rows], device=device),
        failed_B=torch.tensor([row.failed is not None for row in rows], device=device),
    )
    # Long steps first turn δ into the best direction, short ones then settle there.
    attack = search.Attack(
        optimizer=lambda radius_B: SteepestAscent(radius_B, lambda t: max(0.1, 1 - t / step.steps)),
        constraint=constraint_of(step.recover.preserve, problem),
        steps=step.steps,
    )
    progress(int((~start.recovered_B).sum()))
    outcome = search.smallest_norm(problem, start, attack, step.within)
    ids = [row.example for row in rows]
    outcome = least_of_basins(
        problem, attack.constraint, outcome, limits(problem, step.recover.limit), step.steps,
        [
            [[seed_of(start * DRAWS + draw, f"least norm of {id}") for id in ids] for draw in range(DRAWS)]
            for start in range(step.starts)
        ],
    )  # fmt: skip
    progress(len(problem))
    return evaluate(
        problems.resources, step.recover, problem, protected, batch, outcome, write_texts=False
    )


def problem_of(
    problems: ProblemFactory, step: Recover, protected: Protected, batch: FlipBatch
) -> AttackProblem:
    """Return the problem of a step's first stage for some valid flips."""
    targets = None
    if isinstance(step.goal, ReachAnswer):
        targets = batch.bases if step.goal.example == "own" else batch.others
        targets = targets and targets.first(step.goal.tokens)
    return problems.problem(step, protected, batch.indices, targets, batch.filled)


def limits(problem: AttackProblem, limit: float) -> Tensor:
    """Return the same limit for each example, (B,)."""
    return torch.full((len(problem),), limit, device=problem.family.device)


def _attack(step: Recover, stage: Stage, problem: AttackProblem) -> search.Attack:
    return search.Attack(
        optimizer=lambda limit_B: optimizer_of(stage.optimizer, limit_B, stage.steps),
        constraint=constraint_of(step.preserve, problem),
        steps=stage.steps,
        stop_when_recovered=step.stop == "recovered",
        forward_passes=step.forward_passes,
    )
