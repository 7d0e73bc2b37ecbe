"""The run of a spec at every point of its sweeps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, evolve, field

from recoverdsl.audit.artifacts import begin
from recoverdsl.audit.claim import Claim
from recoverdsl.audit.records import Run, RunOptions, SweepRun
from recoverdsl.audit.run import execute
from recoverdsl.language.schema.canonical import digest
from recoverdsl.measure.results import SpecIdentity
from recoverdsl.measure.sweeps import PointResult, SweepResult, to_json
from recoverdsl.store.run_folder import RunFolder

if TYPE_CHECKING:
    from recoverdsl.compiler.graph import Node
    from recoverdsl.engine.resources import Resources
    from recoverdsl.engine.steps.observer import Observer, State


def execute_sweep(claim: Claim, out: Path | None, options: RunOptions) -> SweepRun:
    """Run a claim at each of its points, and return the results; see
    `recoverdsl.api.Audit.run_sweep`."""
    once = _Once(options.observer)
    claim.hold(once.busy)
    # A point that cannot run is an error here, before anything is computed.
    claim.graph(options.device)
    folder = RunFolder(out) if out is not None else None
    if folder is not None:
        begin(claim, folder)
    runs: list[Run] = []
    loaded: Resources | None = None
    for number, at in enumerate(claim.points, start=1):
        once.point(f"point {number} of {len(claim.points)}: {at.point}")
        place = folder.point(number).path if folder else None
        run, loaded = execute(at.audit, place, evolve(options, observer=once), loaded)
        runs.append(run)
    swept = SweepResult(
        SpecIdentity(claim.path.name, digest(claim.spec), claim.spec.audit),
        tuple(
            PointResult(at.point.sweep, dict(at.point.values), f"points/{number:03}", run.result)
            for number, (at, run) in enumerate(zip(claim.points, runs, strict=True), start=1)
        ),
    )
    done = SweepRun(swept, tuple(runs), claim.text, out)
    if folder is not None:
        folder.report(done.html())
        folder.sweep(to_json(swept), done.table.to_csv(index=False))
    return done


@define
class _Once:
    """An observer that passes each step on to another once, however many points have it."""

    observer: Observer
    digests: set[str] = field(factory=set)

    def point(self, what: str) -> None:
        self.observer.point(what)

    def busy(self, what: str) -> AbstractContextManager[None]:
        return self.observer.busy(what)

    def began(self, node: Node, examples: int) -> Callable[[int], None]:
        return self.observer.began(node, examples)

    def ended(self, node: Node, state: State, seconds: float, batch_size: int | None) -> None:
        if node.digest not in self.digests:
            self.observer.ended(node, state, seconds, batch_size)
        self.digests.add(node.digest)
