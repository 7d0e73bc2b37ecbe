"""Runs a spec at every point of its sweeps, and gathers what came out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from recoverdsl.api import Audit, AuditAt, Run, Silent
from recoverdsl.audit.run import execute
from recoverdsl.errors import UsageError
from recoverdsl.language.schema.canonical import digest
from recoverdsl.measure.results import SpecIdentity
from recoverdsl.measure.sweeps import PointResult, SweepResult, to_frame, to_json
from recoverdsl.pinning.lockfile import to_text
from recoverdsl.report.sweep_page import render_sweep
from recoverdsl.store.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from recoverdsl.compiler.graph import Node
    from recoverdsl.engine.resources import Resources


@frozen
class SweepRun:
    """What a run of a spec with sweeps found out."""

    swept: SweepResult
    runs: tuple[Run, ...] = field(repr=False)
    """One for each point, in the order of `swept.points`."""
    text: str = field(repr=False)
    """The spec as run."""
    folder: Path | None = None

    @property
    def exit_code(self) -> int:
        """0 if every expectation holds at every point, 1 if one does not or is undefined."""
        return max((run.exit_code for run in self.runs), default=0)

    @property
    def table(self) -> pd.DataFrame:
        """One row per point, attack or control, limit and metric; see `measure.sweeps.to_frame`."""
        return to_frame(self.swept)

    def html(self) -> str:
        """The page of the sweep, self-contained."""
        return render_sweep(self.swept, spec=self.text)

    def _repr_html_(self) -> str:
        return self.html()


def run_sweep(audit: Audit, out: Path | None, *, observer: Any = None, **options: Any) -> SweepRun:
    """Runs an audit at each of its points; see `Audit.run_sweep`."""
    if not audit.points:
        raise UsageError("this spec has no sweep", help="call run()")
    # Whatever a point asks for that cannot run is told before anything is computed.
    once = _Once(observer or Silent())
    audit.hold(once.busy)
    audit.graph(options.get("device", "auto"))
    folder = RunFolder(out) if out is not None else None
    if folder is not None:
        folder.clear()
        folder.spec(audit.text)
        if audit.lock is not None:
            folder.lock(to_text(audit.lock))
    runs: list[Run] = []
    loaded: Resources | None = None
    for number, at in enumerate(audit.points, start=1):
        once.point(at, number, len(audit.points))
        place = folder.point(number).path if folder else None
        run, loaded = execute(at.audit, place, observer=once, sharing=loaded, **options)
        runs.append(run)
    swept = SweepResult(
        SpecIdentity(audit.path.name, digest(audit.spec), audit.spec.audit),
        tuple(
            PointResult(at.point.sweep, dict(at.point.values), f"points/{number:03}", run.result)
            for number, (at, run) in enumerate(zip(audit.points, runs, strict=True), start=1)
        ),
    )
    done = SweepRun(swept, tuple(runs), audit.text, out)
    if folder is not None:
        folder.report(done.html())
        folder.sweep(to_json(swept), done.table.to_csv(index=False))
    return done


class _Once:
    """Tells an observer of each step once, whatever number of points has it."""

    def __init__(self, observer: Any) -> None:
        self.observer = observer
        self.told: set[str] = set()

    def point(self, at: AuditAt, number: int, count: int) -> None:
        tell = getattr(self.observer, "point", None)
        if tell is not None:
            tell(f"point {number} of {count}: {at.point}")

    def busy(self, what: str) -> AbstractContextManager[None]:
        busy: AbstractContextManager[None] = self.observer.busy(what)
        return busy

    def began(self, node: Node, examples: int) -> Callable[[int], None]:
        progress: Callable[[int], None] = self.observer.began(node, examples)
        return progress

    def ended(self, node: Node, state: str, seconds: float, batch_size: int | None) -> None:
        if node.digest not in self.told:
            self.observer.ended(node, state, seconds, batch_size)
        self.told.add(node.digest)
