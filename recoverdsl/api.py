"""The Python interface: `recoverdsl.load("claim.rec").run()`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from recoverdsl.compiler.compile import compile_spec
from recoverdsl.compiler.graph import Graph, Node, merged
from recoverdsl.errors import UnavailableError, UsageError
from recoverdsl.language import check_file, effective_text, spec_error
from recoverdsl.language.checker.points import Point
from recoverdsl.language.schema import Spec
from recoverdsl.pinning.beside import Beside, lock_of, locked_commits
from recoverdsl.pinning.lock import Lock
from recoverdsl.pinning.lockfile import lock_path, read_lock
from recoverdsl.report.revealed import Revealed
from recoverdsl.sources import Fetcher
from recoverdsl.sources.cache import Progress, cache_folder
from recoverdsl.sources.pins import pin, platform
from recoverdsl.store.run_folder import private
from recoverdsl.store.steps import Store

if TYPE_CHECKING:
    import pandas as pd

    from recoverdsl.audit.sweep import SweepRun
    from recoverdsl.engine.steps.runner import State
    from recoverdsl.measure.results import Result


def load(
    path: str | Path,
    *,
    set: Mapping[str, str] | None = None,
    allow_outside: bool = False,
    offline: bool = False,
    locked: bool = False,
) -> Audit:
    """Reads and checks a `.rec` file; nothing heavy is imported.

    Args:
        path: the spec.
        set: values that replace the spec's own, by path: `{"projected.steps": "50"}`.
        allow_outside: let the spec name paths outside its own folder.
        offline: never use the network.
        locked: hold the spec to the lock beside it, `SPEC.rec.lock`; see `docs/pinning.md`.

    Raises:
        SpecError: the spec is wrong; `diagnostics` holds every mistake.
        LockError: there is no lock, or something is not as it was locked; `differences` holds all.
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
        audit.beside.hold_to(lock, "named")
    return audit


class Silent:
    """An observer that shows nothing."""

    def busy(self, what: str) -> AbstractContextManager[None]:
        return nullcontext()

    def began(self, node: Node, examples: int) -> Callable[[int], None]:
        return lambda done: None

    def ended(self, node: Node, state: State, seconds: float, batch_size: int | None) -> None:
        pass


@frozen
class Audit:
    """A checked spec, ready to be planned, drawn and run."""

    path: Path
    text: str
    """The spec as it is run, with the values that `set` replaced written into it."""
    spec: Spec
    overrides: Mapping[str, str]
    """Values that replaced the text's own."""
    fetcher: Fetcher = field(repr=False)
    lock: Lock | None = field(default=None, repr=False)
    """What the spec is held to; None if it is not."""
    points: tuple[AuditAt, ...] = field(default=(), repr=False)
    """The spec at each point of its sweeps, as an audit of its own; none if it has no sweep."""

    @property
    def beside(self) -> Beside:
        """The spec with the lock beside it, whether or not it is held to that."""
        points = tuple((at.point.sweep, at.audit.spec) for at in self.points)
        return Beside(self.path, self.spec, self.overrides, self.fetcher, points)

    def hold(self, progress: Progress) -> None:
        """Fetches what is on the hub, and refuses what is not as it was locked; nothing without a lock.

        Raises:
            LockError: something is not as it was locked; `differences` holds all.
            UnavailableError: something cannot be had.
        """
        if self.lock is not None:
            fetcher = self.fetcher.with_progress(progress)
            evolve(self.beside, fetcher=fetcher).hold_to(self.lock, "fetched")

    def graph(self, device: str = "auto") -> Graph:
        """The steps of the spec with their digests. Local files are hashed, nothing is loaded.

        With sweeps it is that of all points together, with what they share in it once.
        """
        if self.points:
            return merged([(str(at.point), at.audit.graph(device)) for at in self.points])
        # Digests of large files are remembered there; only speed is lost where nothing can be written.
        with suppress(UnavailableError):
            private(cache_folder())
        return compile_spec(
            self.spec, lambda block: pin(block, self.fetcher), platform(device_of(device))
        )

    def store(self, root: Path | None = None) -> Store:
        """The store of step results, in the cache folder if no other is named."""
        return Store((root or cache_folder() / "store").absolute())

    def run(
        self,
        out: str | Path | None = None,
        *,
        device: str = "auto",
        store: Path | None = None,
        batch_size: int | None = None,
        observer: Any = None,
        reveal: bool = False,
    ) -> Run:
        """Runs the spec; steps whose results are in the store are not run again.

        The store holds what the model wrote, as token ids, in folders that only their owner may enter.

        Args:
            out: a folder for the result, the report and the tables; none is written if not given.
            device: `auto`, `cpu`, `cuda` or `cuda:1`.
            store: where step results are kept.
            batch_size: examples at once; chosen from the memory if not given.
            observer: is told how the run goes, see `recoverdsl.engine.steps.runner.Observer`.
            reveal: put prompts and completions into the result, the report and `texts.jsonl`. They
                are otherwise in no file of `out`, and may be harmful.

        Raises:
            UsageError: the spec has sweeps, which `run_sweep` runs.
            RecoverdslError: see `recoverdsl.errors` for the kinds.
        """
        if self.points:
            raise UsageError("this spec has a sweep", help="call run_sweep() in place of run()")
        from recoverdsl.audit.run import execute

        done, _ = execute(
            self, Path(out) if out is not None else None, device=device, store=store,
            batch_size=batch_size, observer=observer, reveal=reveal,
        )  # fmt: skip
        return done

    def run_sweep(self, out: str | Path | None = None, **options: Any) -> SweepRun:
        """Runs the spec at every point of its sweeps. What points share is loaded and computed once.

        Args:
            out: a folder for the table, the page and a run folder of each point, `points/001`.
            options: as `run` takes them.

        Raises:
            UsageError: the spec has no sweep.
            RecoverdslError: see `recoverdsl.errors` for the kinds.
        """
        from recoverdsl.audit.sweep import run_sweep

        return run_sweep(self, Path(out) if out is not None else None, **options)


@frozen
class AuditAt:
    """An audit at one point of a sweep."""

    point: Point
    audit: Audit


@frozen
class Run:
    """What a run found out."""

    result: Result
    examples: pd.DataFrame
    """One row per valid flip, attack and limit; the columns of `recoverdsl.measure.table`."""
    text: str = field(repr=False)
    """The spec as run."""
    states: Mapping[str, State] = field(repr=False)
    """Step to whether it was computed, resumed, or kept from an earlier run."""
    folder: Path | None = None
    texts: tuple[Revealed, ...] = field(default=(), repr=False)
    """Prompts and completions, if the run reveals them."""
    seconds: Mapping[str, Mapping[str, float]] = field(factory=dict, repr=False)
    """What an attack or control took for an example on this machine, at its largest limit: by kind and
    name."""

    @property
    def exit_code(self) -> int:
        """0 if every expectation holds, 1 if one does not or is undefined."""
        return 0 if self.result.verdict in ("holds", "not judged") else 1

    @property
    def metrics(self) -> pd.DataFrame:
        """One row per attack or control, limit and metric: value, low, high, n."""
        import pandas as pd

        rows = [
            {
                "kind": kind, "name": name, "limit": budget.limit, "metric": metric,
                "value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n,
            }
            for kind, outcomes in (("attack", self.result.attacks), ("control", self.result.controls))
            for name, outcome in outcomes.items()
            for budget in outcome.budgets
            for metric, estimate in (outcome.metrics if budget is outcome.budgets[-1] else budget.metrics).items()
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def html(self) -> str:
        """The report as a self-contained page."""
        from recoverdsl.report.html import render_html

        return render_html(self.result, self.examples, spec=self.text, texts=self.texts)

    def _repr_html_(self) -> str:
        """A notebook shows the verdict and its table."""
        from recoverdsl.report.html import render_fragment

        return render_fragment(self.result)


def device_of(device: str) -> str:
    """The device that `auto` stands for on this machine, or the one that is named."""
    if device != "auto":
        return device
    # Asking torch would cost seconds, and commands that only read want an answer at once.
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1")
    cards = any(Path("/dev").glob("nvidia[0-9]*"))
    return "cuda" if cards and not hidden and "+cpu" not in platform("auto")["torch"] else "cpu"
