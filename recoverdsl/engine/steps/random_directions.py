"""The control by random directions: δ of the attack's norm, without a search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from attrs import evolve, frozen
from torch import Tensor

from recoverdsl.compiler.steps import RandomDirections
from recoverdsl.engine.attack import search
from recoverdsl.engine.attack.constraints import constraint_of
from recoverdsl.engine.attack.problem import AttackProblem
from recoverdsl.engine.attack.problem_factory import ProblemFactory
from recoverdsl.engine.attack.seeds import seed_of
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.steps.evaluation import FlipBatch, Recoveries, evaluate
from recoverdsl.engine.steps.executor import FlipExecutor, Progress, executes
from recoverdsl.engine.steps.recovery import limits, problem_of
from recoverdsl.engine.steps.table_record import Replay, TableRecord
from recoverdsl.measure.keys import PartKey


@frozen(eq=False)
class RandomDraws(TableRecord):
    """The random directions of some valid flips: the record of a step."""

    draws: Mapping[int, Replay]
    """By the number of the draw, from 0."""
    delta_BLPD: Tensor
    """δ of draw 0; that of the others follows from the seed."""
    sites_BL: Tensor

    def replays(self) -> Iterator[tuple[PartKey | None, Replay]]:
        for replay in self.draws.values():
            yield None, replay

    def deltas(self) -> Iterator[tuple[str | None, Tensor]]:
        yield None, self.delta_BLPD

    def boundaries(self) -> list[int]:
        return [int(site) for site in self.sites_BL[0]]


@executes(RandomDirections)
class RandomDirectionsExecutor(FlipExecutor[RandomDirections, RandomDraws]):
    """Draws δ in random directions."""

    record = RandomDraws

    def compute(self, batch: range, progress: Progress) -> RandomDraws:
        return random_directions(
            self.work.problems, self.step, self.work.protected(self.node),
            self.work.flip_batch(self.node, batch),
        )  # fmt: skip


def random_directions(
    problems: ProblemFactory, step: RandomDirections, protected: Protected, batch: FlipBatch
) -> RandomDraws:
    """Return every draw for each of some valid flips, and the δ of the first."""
    problem = problem_of(problems, step.recover, protected, batch)
    drawn = {
        draw: _draw(problems, step, problem, protected, batch, draw) for draw in range(step.draws)
    }
    return RandomDraws(
        draws={draw: Replay(found.rows, found.answers, draw=draw) for draw, found in drawn.items()},
        delta_BLPD=drawn[0].delta_BLPD,
        sites_BL=drawn[0].sites_BL,
    )


def _draw(
    problems: ProblemFactory,
    step: RandomDirections,
    problem: AttackProblem,
    protected: Protected,
    batch: FlipBatch,
    draw: int,
) -> Recoveries:
    """Return one draw of each flip, stage by stage.

    Only a generated text shows whether the behavior is back, so each draw is evaluated in full.
    """
    recover, resources = step.recover, problems.resources
    ids = [resources.examples[index].id for index in batch.indices]
    fixed: Tensor | None = None
    failed_B = torch.zeros(len(problem), dtype=torch.bool, device=resources.device)
    for number, stage in enumerate(recover.stages):
        now = problems.stage(problem, recover, number, fixed)
        outcome = search.random_direction(
            now, constraint_of(recover.preserve, now), limits(problem, stage.limit),
            [seed_of(step.seed, id, number) + draw for id in ids],
        )  # fmt: skip
        fixed, failed_B = outcome.delta_BLQD, failed_B | outcome.failed_B
    return evaluate(resources, recover, now, protected, batch, evolve(outcome, failed_B=failed_B))
