"""Steps that observe the behavior, without and with the clamp, and keep the valid flips."""

from __future__ import annotations

from recoverdsl.compiler.steps import KeepValidFlips, RunBase, RunDefended
from recoverdsl.engine.behavior.observation import Observations, observe
from recoverdsl.engine.defense.intervention import Intervention
from recoverdsl.engine.steps.executor import ExampleExecutor, Progress, executes
from recoverdsl.engine.steps.output import ValidFlips


@executes(RunBase)
class BaseExecutor(ExampleExecutor[RunBase, Observations]):
    """Runs the unmodified model."""

    record = Observations

    def compute(self, batch: range, progress: Progress) -> Observations:
        return observe(self.work.resources, self.step.behavior, list(batch), Intervention())


@executes(RunDefended)
class DefendedExecutor(ExampleExecutor[RunDefended, Observations]):
    """Runs the clamped model."""

    record = Observations

    def compute(self, batch: range, progress: Progress) -> Observations:
        intervention = self.work.protected(self.node).intervention(self.step.defense)
        return observe(self.work.resources, self.step.behavior, list(batch), intervention)


@executes(KeepValidFlips)
class FlipsExecutor(ExampleExecutor[KeepValidFlips, ValidFlips]):
    """Keeps the examples whose behavior holds without the clamp and is removed by it."""

    record = ValidFlips

    def compute(self, batch: range, progress: Progress) -> ValidFlips:
        base, defended = (
            self.work.output.record(self.node.inputs[role], Observations).rows
            for role in ("base", "defended")
        )
        flips = (
            index
            for index, (before, after) in enumerate(zip(base, defended, strict=True))
            if before.holds and after.removed and not (before.failed or after.failed)
        )
        return ValidFlips(tuple(flips))
