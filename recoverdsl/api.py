"""The Python interface: `recoverdsl.load("claim.rec").run()`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import evolve, field, frozen

from recoverdsl.audit.claim import Claim, ClaimAt
from recoverdsl.audit.records import Run, RunOptions, SweepRun
from recoverdsl.engine.steps.observer import Observer, Silent
from recoverdsl.errors import UsageError
from recoverdsl.language import check_file, effective_text, spec_error
from recoverdsl.pinning.lockfile import lock_path, read_lock
from recoverdsl.pinning.spec_with_lock import lock_of, locked_commits
from recoverdsl.sources.fetcher import Fetcher

__all__ = ["Audit", "AuditAt", "Run", "SweepRun", "load"]


def load(
    path: str | Path,
    *,
    set: Mapping[str, str] | None = None,
    allow_outside: bool = False,
    offline: bool = False,
    locked: bool = False,
) -> Audit:
    """Read and check a `.rec` file, and return it ready to run; nothing heavy is imported.

    Args:
        path: the spec.
        set: values that replace the spec's own, by path: `{"projected.steps": "50"}`.
        allow_outside: let the spec name paths outside its own folder.
        offline: never use the network.
        locked: hold the spec to the lock beside it, `SPEC.rec.lock`; see `docs/pinning.md`.

    Raises:
        SpecError: the spec is wrong; `diagnostics` holds every mistake.
        UsageError: the spec cannot be read.
        LockError: there is no lock, or a source differs from it; `differences` holds all that do.
    """
    path = Path(path)
    overrides = dict(set or {})
    checked = check_file(path, overrides=overrides)
    if checked.spec is None:
        raise spec_error(checked.errors)
    lock = read_lock(lock_path(path)) if locked else None
    specs = [checked.spec, *(at.spec for at in checked.points)]
    fetcher = Fetcher(
        path.parent, allow_outside=allow_outside, offline=offline,
        commits=locked_commits(lock, specs) if lock else {},
    )  # fmt: skip
    text = effective_text(checked, overrides)
    audit = Audit(path, text, checked.spec, overrides, fetcher, lock)
    points = (
        AuditAt(
            at.point,
            evolve(
                audit,
                spec=at.spec,
                text=effective_text(checked, overrides, at),
                lock=lock and lock_of(lock, at.spec),
            ),
        )
        for at in checked.points
    )
    audit = evolve(audit, points=tuple(points))
    if lock is not None:
        audit.spec_with_lock.hold_to(lock, "named")
    return audit


@frozen
class Audit(Claim):
    """A checked spec, ready to be planned, drawn and run."""

    points: tuple[AuditAt, ...] = field(default=(), repr=False)
    """The spec at each point of its sweeps, as an audit of its own; none if it has no sweep."""

    def run(
        self,
        out: str | Path | None = None,
        *,
        device: str = "auto",
        store: Path | None = None,
        batch_size: int | None = None,
        observer: Observer | None = None,
        reveal: bool = False,
    ) -> Run:
        """Run the spec, and return its results; steps whose results are in the store are not run again.

        The store holds what the model wrote, as token ids, in folders that only their owner may enter.

        Args:
            out: a folder for the result, the report and the tables; none is written if not given.
            device: `auto`, `cpu`, `cuda` or `cuda:1`.
            store: where step results are kept.
            batch_size: examples at once; chosen from the memory if not given.
            observer: follows the run; nothing is shown if not given.
            reveal: put prompts and completions into the result, the report and `texts.jsonl`. They
                are otherwise in no file of `out`, and may be harmful.

        Raises:
            UsageError: the spec has sweeps, which `run_sweep` runs.
            RecoverdslError: see `recoverdsl.errors` for the kinds.
        """
        if self.points:
            raise UsageError("this spec has a sweep", help="call run_sweep() in place of run()")
        # Late, since it imports torch.
        from recoverdsl.audit.run import execute

        options = RunOptions(device, store, batch_size, observer or Silent(), reveal)
        run, _ = execute(self, Path(out) if out is not None else None, options)
        return run

    def run_sweep(
        self,
        out: str | Path | None = None,
        *,
        device: str = "auto",
        store: Path | None = None,
        batch_size: int | None = None,
        observer: Observer | None = None,
        reveal: bool = False,
    ) -> SweepRun:
        """Run the spec at every point of its sweeps, and return the results.

        Resources and steps that points share are loaded and computed once.

        Args:
            out: a folder for the table, the page and a run folder of each point, `points/001`.
            device: see `run`, as for the rest.

        Raises:
            UsageError: the spec has no sweep.
            RecoverdslError: see `recoverdsl.errors` for the kinds.
        """
        if not self.points:
            raise UsageError("this spec has no sweep", help="call run()")
        # Late, since it imports torch.
        from recoverdsl.audit.sweep import execute_sweep

        options = RunOptions(device, store, batch_size, observer or Silent(), reveal)
        return execute_sweep(self, Path(out) if out is not None else None, options)


@frozen
class AuditAt(ClaimAt):
    """An audit at one point of a sweep."""

    audit: Audit
