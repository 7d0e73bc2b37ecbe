"""The step that splits δ into parts; each is replayed alone, and δ without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from attrs import evolve, frozen
from torch import Tensor

from recoverdsl.compiler.steps import SplitDelta, columns_after_prompt
from recoverdsl.engine.attack.delta_parts import split
from recoverdsl.engine.attack.problem_factory import ProblemFactory, stored_delta
from recoverdsl.engine.attack.search import outcome_of
from recoverdsl.engine.defense.autoencoders import Autoencoder
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.steps.evaluation import FlipBatch, Recoveries, evaluate
from recoverdsl.engine.steps.executor import FlipExecutor, Progress, executes
from recoverdsl.engine.steps.recovery import problem_of
from recoverdsl.engine.steps.table_record import Replay, TableRecord
from recoverdsl.measure.keys import PartKey
from recoverdsl.store.records import rows_of


@frozen(eq=False)
class DeltaPart:
    """One part of δ."""

    delta_BLPD: Tensor
    alone: Replay
    without: Replay
    """δ less this part."""


@frozen(eq=False)
class DeltaParts(TableRecord):
    """The parts of the δ of some valid flips, by their names: the record of a step."""

    sites_BL: Tensor
    parts: Mapping[str, DeltaPart]

    def replays(self) -> Iterator[tuple[PartKey | None, Replay]]:
        for name, part in self.parts.items():
            yield PartKey(name, "alone"), part.alone
            yield PartKey(name, "without"), part.without

    def deltas(self) -> Iterator[tuple[str | None, Tensor]]:
        for name, part in self.parts.items():
            yield name, part.delta_BLPD

    def boundaries(self) -> list[int]:
        return [int(site) for site in self.sites_BL[0]]


@executes(SplitDelta)
class SplitExecutor(FlipExecutor[SplitDelta, DeltaParts]):
    """Splits the δ that an attack found."""

    record = DeltaParts

    def compute(self, batch: range, progress: Progress) -> DeltaParts:
        found = self.work.output.record(self.node.inputs["found"], Recoveries)
        return split_delta(
            self.work.problems, self.step, self.work.protected(self.node),
            self.work.autoencoders(self.node),
            self.work.flip_batch(self.node, batch), rows_of(found, slice(batch.start, batch.stop)),
        )  # fmt: skip


def split_delta(
    problems: ProblemFactory,
    step: SplitDelta,
    protected: Protected,
    saes: Sequence[Autoencoder],
    batch: FlipBatch,
    found: Recoveries,
) -> DeltaParts:
    """Return each part of the δ of some valid flips, replayed alone, and δ without it."""
    recover, resources = step.recover, problems.resources
    problem = problem_of(problems, recover, protected, batch)
    total_BLQD = problems.columns(problem, recover, found.delta_BLPD)
    last = problems.stage(problem, recover, len(recover.stages) - 1, None)
    whole = evolve(last, bases={})
    failed_B = torch.tensor([row.failed is not None for row in found.rows])
    failed_B = failed_B.to(resources.device)

    def replay(delta_BLQD: Tensor) -> Replay:
        outcome = outcome_of(whole, delta_BLQD, failed_B)
        replayed = evaluate(resources, recover, whole, protected, batch, outcome)
        return Replay(replayed.rows, replayed.answers)

    after = columns_after_prompt(recover)
    parts = split(whole, saes, total_BLQD, step.parts)
    return DeltaParts(
        torch.tensor(problem.sites).expand(len(batch.indices), -1),
        {
            name: DeltaPart(
                stored_delta(problem, part, after), replay(part), replay(total_BLQD - part)
            )
            for name, part in parts.items()
        },
    )
