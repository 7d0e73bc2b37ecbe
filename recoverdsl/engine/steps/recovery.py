"""Steps that search a δ: within a limit, and of the least norm."""

from __future__ import annotations

import torch
from attrs import evolve
from torch import Tensor

from recoverdsl.compiler.steps import FindSmallestNorm, ReachAnswer, Recover, Stage
from recoverdsl.engine.attack import search
from recoverdsl.engine.attack.constraints import constraint_of
from recoverdsl.engine.attack.meter import Meter
from recoverdsl.engine.attack.optimizers import SteepestAscent, optimizer_of
from recoverdsl.engine.attack.problem import AttackProblem
from recoverdsl.engine.attack.problem_factory import ProblemFactory
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.steps.evaluation import FlipBatch, Recoveries, evaluate
from recoverdsl.engine.steps.executor import FlipExecutor, Progress, executes
from recoverdsl.measure.rows import Effort
from recoverdsl.store.records import rows_of


@executes(Recover)
class RecoverExecutor(FlipExecutor[Recover, Recoveries]):
    """Searches a δ within a limit."""

    record = Recoveries

    @property
    def generated(self) -> int:
        return self.step.behavior.generate or 0

    def compute(self, batch: range, progress: Progress) -> Recoveries:
        return recover(
            self.work.problems, self.step, self.work.protected(self.node),
            self.work.flip_batch(self.node, batch), progress,
        )  # fmt: skip


@executes(FindSmallestNorm)
class SmallestNormExecutor(FlipExecutor[FindSmallestNorm, Recoveries]):
    """Searches the least norm, from the δ that were found within a limit."""

    record = Recoveries

    @property
    def generated(self) -> int:
        return self.step.recover.behavior.generate or 0

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
) -> Recoveries:
    """Return the δ that an attack finds for some valid flips, stage by stage, with their figures."""
    problem = problem_of(problems, step, protected, batch)
    device = problems.resources.device
    meter = Meter.of(len(problem), device)
    fixed: Tensor | None = None
    steps_B = torch.zeros(len(problem), dtype=torch.long, device=device)
    failed_B = torch.zeros(len(problem), dtype=torch.bool, device=device)
    for number, stage in enumerate(step.stages):
        now = problems.stage(problem, step, number, fixed)
        last = number == len(step.stages) - 1
        outcome = search.recover(
            now, _attack(step, stage, now), limits(problem, stage.limit),
            progress=progress if last else lambda _: None, meter=meter,
        )  # fmt: skip
        fixed = outcome.delta_BLQD
        steps_B, failed_B = steps_B + outcome.steps_B, failed_B | outcome.failed_B
    outcome = evolve(outcome, steps_B=steps_B, failed_B=failed_B)
    efforts = [
        Effort(forward_passes=float(passes), gradient_steps=float(gradients))
        for passes, gradients in zip(
            meter.forward_passes_B.tolist(), meter.gradients_B.tolist(), strict=True
        )
    ]
    return evaluate(problems.resources, step, now, protected, batch, outcome, efforts=efforts)


def find_smallest_norm(
    problems: ProblemFactory,
    step: FindSmallestNorm,
    protected: Protected,
    batch: FlipBatch,
    found: Recoveries,
    progress: Progress = lambda done: None,
) -> Recoveries:
    """Return the δ of the least norm that recovers, from the δ that an attack found for some valid
    flips."""
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
    outcome = search.smallest_norm(problem, start, attack, step.within, progress)
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
        optimizer=lambda limit_B: optimizer_of(stage.optimizer, len(limit_B), limit_B.device),
        constraint=constraint_of(step.preserve, problem),
        steps=stage.steps,
        stop_when_recovered=step.stop == "recovered",
        forward_passes=step.forward_passes,
    )
