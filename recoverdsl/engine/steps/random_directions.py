"""The control by random directions: δ of the attack's norm, without a search."""

from __future__ import annotations

import torch
from attrs import evolve
from torch import Tensor

from recoverdsl.compiler.steps import RandomDirections
from recoverdsl.engine.attack import search
from recoverdsl.engine.attack.constraints import constraint_of
from recoverdsl.engine.attack.problem_factory import ProblemFactory
from recoverdsl.engine.attack.seeds import seed_of
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.steps.evaluation import FlipBatch, Recoveries, evaluate
from recoverdsl.engine.steps.executor import FlipExecutor, Progress, executes
from recoverdsl.engine.steps.recovery import limits, problem_of
from recoverdsl.measure.rows import Recovery
from recoverdsl.store.records import chosen


@executes(RandomDirections)
class RandomDirectionsExecutor(FlipExecutor[RandomDirections, Recoveries]):
    """Draws δ in random directions."""

    record = Recoveries

    def compute(self, batch: range, progress: Progress) -> Recoveries:
        return random_directions(
            self.work.problems, self.step, self.work.protected(self.node),
            self.work.flip_batch(self.node, batch),
        )  # fmt: skip


def random_directions(
    problems: ProblemFactory, step: RandomDirections, protected: Protected, batch: FlipBatch
) -> Recoveries:
    """Return the best of several draws for each of some valid flips."""
    recover, resources = step.recover, problems.resources
    problem = problem_of(problems, recover, protected, batch)
    ids = [resources.examples[index].id for index in batch.indices]
    # Only a generated text shows whether the behavior is back, so each draw is evaluated in full.
    best: Recoveries | None = None
    for draw in range(step.draws):
        fixed: Tensor | None = None
        failed_B = torch.zeros(len(problem), dtype=torch.bool, device=resources.device)
        for number, stage in enumerate(recover.stages):
            now = problems.stage(problem, recover, number, fixed)
            outcome = search.random_direction(
                now, constraint_of(recover.preserve, now), limits(problem, stage.limit),
                [seed_of(step.seed, id, number) + draw for id in ids],
            )  # fmt: skip
            fixed, failed_B = outcome.delta_BLQD, failed_B | outcome.failed_B
        outcome = evolve(outcome, failed_B=failed_B)
        drawn = evaluate(resources, recover, now, protected, batch, outcome)
        best = drawn if best is None else _better(best, drawn)
    assert best is not None
    return best


def _better(a: Recoveries, b: Recoveries) -> Recoveries:
    """Return row by row the draw that recovered, or else the one with the higher score, failures
    last."""

    def rank(row: Recovery) -> tuple[bool, bool, float]:
        return (row.failed is None, row.recovered, row.score_recovered)

    second = [rank(y) > rank(x) for x, y in zip(a.rows, b.rows, strict=True)]
    return chosen(a, b, torch.tensor(second))
