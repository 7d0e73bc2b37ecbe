"""The Python interface: `recoverdsl.load("claim.rec").run()`."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from recoverdsl.compiler.compile import compile_spec, exactly
from recoverdsl.compiler.graph import Graph, Node, merged
from recoverdsl.compiler.steps import Measure, Recover, columns_behind
from recoverdsl.engine.cache import Progress, cache_folder
from recoverdsl.engine.pins import pin, platform
from recoverdsl.engine.sources import Fetcher
from recoverdsl.errors import UnavailableError, UsageError
from recoverdsl.language import check_file, effective_text, spec_error
from recoverdsl.language.canonical import digest
from recoverdsl.language.rules import limits_of
from recoverdsl.language.schema import Control, Spec
from recoverdsl.language.sweeps import Point
from recoverdsl.language.vocabulary import function_name
from recoverdsl.pinning.beside import Beside, lock_of, locked_commits
from recoverdsl.pinning.lock import Lock
from recoverdsl.pinning.lockfile import lock_path, read_lock, to_text
from recoverdsl.report.revealed import Revealed, to_lines
from recoverdsl.revealing import shown_ids, texts
from recoverdsl.store.run_folder import RunFolder, private
from recoverdsl.store.steps import Row, Store

if TYPE_CHECKING:
    import pandas as pd

    from recoverdsl.engine.resources import Resources
    from recoverdsl.engine.run import Output, State
    from recoverdsl.measure.results import Result
    from recoverdsl.sweeping import SweepRun


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
            self.spec, lambda block: pin(block, self.fetcher), platform(_device(device))
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
        sharing: Resources | None = None,
    ) -> Run:
        """Runs the spec; steps whose results are in the store are not run again.

        The store holds what the model wrote, as token ids, in folders that only their owner may enter.

        Args:
            out: a folder for the result, the report and the tables; none is written if not given.
            device: `auto`, `cpu`, `cuda` or `cuda:1`.
            store: where step results are kept.
            batch_size: examples at once; chosen from the memory if not given.
            observer: is told how the run goes, see `recoverdsl.engine.run.Observer`.
            reveal: put prompts and completions into the result, the report and `texts.jsonl`. They
                are otherwise in no file of `out`, and may be harmful.
            sharing: resources of another spec; what is loaded there and is the same here is used.

        Raises:
            UsageError: the spec has sweeps, which `run_sweep` runs.
            RecoverdslError: see `recoverdsl.errors` for the kinds.
        """
        if self.points:
            raise UsageError("this spec has a sweep", help="call run_sweep() in place of run()")
        import torch

        from recoverdsl.engine.resources import Resources
        from recoverdsl.engine.run import Runner

        name = _device(device)
        if name.partition(":")[0] not in ("cpu", "cuda"):
            raise UsageError(f"the device {name!r} is not supported", help="cpu, cuda or cuda:1")
        try:
            torch_device = torch.device(name)
            torch.empty(1, device=torch_device)
        except (RuntimeError, AssertionError) as error:
            raise UnavailableError(
                f"the device {name!r} cannot be used", why=str(error).splitlines()[0],
                help="take --device cpu, or leave it out",
            ) from error  # fmt: skip
        folder = RunFolder(Path(out)) if out is not None else None
        watcher = _Watcher(observer or Silent(), folder)
        fetcher = self.fetcher.with_progress(watcher.busy)
        self.hold(watcher.busy)
        graph = self.graph(device)
        if sharing is not None:
            resources = sharing.sharing(self.spec, watcher.busy)
        else:
            resources = Resources(self.spec, fetcher, torch_device, busy=watcher.busy)
        if folder is not None:
            folder.clear()
            folder.spec(self.text)
            if self.lock is not None:
                folder.lock(to_text(self.lock))
            folder.event(event="run", spec=digest(self.spec), revealed=reveal)
        kept = self.store(store)
        private(kept.root)
        output = Runner(graph, resources, kept, watcher, batch_size).run()
        ids = shown_ids(resources.examples)
        run = Run(
            *self._assemble(graph, output, watcher, name, ids, reveal),
            self.text,
            dict(watcher.states),
            folder.path if folder else None,
            self._texts(graph, output, resources, ids) if reveal else (),
            _seconds_per_example(graph, output),
            resources,
        )
        if folder is not None:
            _write(run, graph, output, folder, ids)
        return run

    def run_sweep(self, out: str | Path | None = None, **options: Any) -> SweepRun:
        """Runs the spec at every point of its sweeps. What points share is loaded and computed once.

        Args:
            out: a folder for the table, the page and a run folder of each point, `points/001`.
            options: as `run` takes them.

        Raises:
            UsageError: the spec has no sweep.
            RecoverdslError: see `recoverdsl.errors` for the kinds.
        """
        from recoverdsl.sweeping import run_sweep

        return run_sweep(self, Path(out) if out is not None else None, **options)

    @staticmethod
    def _texts(
        graph: Graph, output: Output, resources: Resources, ids: dict[str, str]
    ) -> tuple[Revealed, ...]:
        defended = next(iter(graph.keys_of("RunDefended")), None)
        return texts(resources, output, graph.keys_of("RunBase")[0], defended, tables(graph), ids)

    def _assemble(
        self,
        graph: Graph,
        output: Output,
        watcher: _Watcher,
        device: str,
        ids: dict[str, str],
        reveal: bool,
    ) -> tuple[Result, pd.DataFrame]:
        from recoverdsl.measure import results
        from recoverdsl.measure.summary import Planned, judge, summarize
        from recoverdsl.measure.table import to_frame

        spec = self.spec
        base = output.results[graph.keys_of("RunBase")[0]].rows
        defended = [row for key in graph.keys_of("RunDefended") for row in output.results[key].rows]
        frame = to_frame(
            {
                **row, "example": ids[row["example"]], "kind": kind, "name": name, "limit": limit,
                "score_base": base[index]["score"], "score_defended": defended[index]["score"],
            }
            for kind, name, limit, key in tables(graph)
            for index, example in zip(output.valid_flips, output.results[key].rows, strict=True)
            for row in (example["parts"] if kind == "part" else [example])
        )  # fmt: skip
        preserve = {
            name: function_name(attack.preserve) if attack.preserve else None
            for name, attack in spec.attacks.items()
        }
        summary = summarize(
            frame,
            spec.measures,
            attacks={
                name: Planned(limits_of(spec, attack), preserve[name])
                for name, attack in spec.attacks.items()
            },
            controls={
                name: Planned(
                    limits_of(spec, spec.attacks[control.of]), preserve[control.of], control.of,
                    _method(control),
                )
                for name, control in spec.controls.items()
            },
        )  # fmt: skip
        result = results.Result(
            spec=results.SpecIdentity(self.path.name, digest(spec), spec.audit),
            counts=results.Counts(
                examples=len(base),
                base_holds=sum(row["holds"] for row in base),
                valid_flips=len(output.valid_flips),
                failed=summary.failed + len(self._failed(base, defended)),
            ),
            attacks=summary.attacks,
            controls=summary.controls,
            attributions=summary.attributions,
            expectations=judge(spec.expects, summary.attacks, summary.controls),
            inputs=tuple(
                results.Input(name, kind, pin(block, self.fetcher))
                for kind, blocks in (
                    ("model", spec.models),
                    ("sae", spec.saes),
                    ("data", spec.data),
                )
                for name, block in blocks.items()
            ),
            intervals=summary.intervals,
            environment=self._environment(graph, output, device, watcher, ids, reveal),
        )
        return result, frame

    def _saes(self) -> tuple[str, ...]:
        """Names of the SAEs that are clamped, in the order of the spec."""
        intervenes = self.spec.intervenes.values()
        return next((self.spec.protects[i.protect].saes for i in intervenes), ())

    @staticmethod
    def _failed(base: list[Row], defended: list[Row]) -> dict[str, str]:
        """Examples that could not be run at all, with the reason."""
        return {row["example"]: row["failed"] for row in [*base, *defended] if row["failed"]}

    def _environment(
        self,
        graph: Graph,
        output: Output,
        device: str,
        watcher: _Watcher,
        ids: dict[str, str],
        reveal: bool,
    ) -> dict[str, Any]:
        import platform as machine

        import torch

        from recoverdsl import __version__

        return {
            "recoverdsl": __version__,
            "python": machine.python_version(),
            **graph.platform,
            "set": dict(self.overrides),
            "locked": self.lock is not None,
            "device": device,
            "revealed": reveal,
            "threads": torch.get_num_threads(),
            "dtype": {name: model.dtype for name, model in self.spec.models.items()},
            "failed": {
                ids[example]: why
                for example, why in self._failed(
                    output.results[graph.keys_of("RunBase")[0]].rows,
                    [r for key in graph.keys_of("RunDefended") for r in output.results[key].rows],
                ).items()
            },
            "features": {
                key: {
                    sae: {
                        "ids": [row["feature"] for row in rows if row["sae"] == number],
                        "effects": [round(r["effect"], 6) for r in rows if r["sae"] == number],
                        "encoder": next((r["encoder"] for r in rows if r["sae"] == number), None),
                        "left_out": max((r.get("left_out", 0) for r in rows), default=0),
                    }
                    for number, sae in enumerate(self._saes())
                }
                for key in graph.keys_of("SelectFeatures")
                for rows in [output.results[key].rows]
            },
            "batch_sizes": dict(watcher.batch_sizes),
            "steps": {node.key: node.digest for node in graph},
        }


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
    resources: Resources | None = field(default=None, repr=False)
    """What was loaded, for `sharing` with another run."""

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


def tables(graph: Graph) -> list[tuple[str, str, float | None, str]]:
    """Kind, name, limit and key of each step that makes rows of the example table."""
    found = []
    for role, key in (item for measure in graph.of(Measure) for item in measure.inputs.items()):
        if " " in role:
            kind, name, limit = role.split(" ")
            found.append((kind, name, None if limit == "none" else float(limit), key))
    return found


def _seconds_per_example(graph: Graph, output: Output) -> dict[str, dict[str, float]]:
    """What the search of each attack and control took, its texts written, at its largest limit."""
    took: dict[str, dict[str, float]] = {"attack": {}, "control": {}}
    for kind, name, _, key in tables(graph):
        if kind in took and output.valid_flips:
            seconds = output.results[key].seconds / len(output.valid_flips)
            took[kind][name] = float(f"{seconds:.3g}")
    return took


def recovery_of(step: object) -> Recover:
    """The attack that a step makes or starts from."""
    found = getattr(step, "recover", step)
    assert isinstance(found, Recover)
    return found


def _method(control: Control) -> str:
    if control.method:
        return control.method
    return "another_example" if control.on == "defended" else "another_example_undefended"


@frozen
class _Watcher:
    """Passes on what happens to an observer, and writes it to the run folder's events."""

    observer: Any
    folder: RunFolder | None
    states: dict[str, State] = field(factory=dict)
    batch_sizes: dict[str, int] = field(factory=dict)

    def busy(self, what: str) -> AbstractContextManager[None]:
        busy: AbstractContextManager[None] = self.observer.busy(what)
        return busy

    def began(self, node: Node, examples: int) -> Callable[[int], None]:
        if self.folder is not None:
            self.folder.event(event="began", step=node.key, digest=node.digest, examples=examples)
        progress: Callable[[int], None] = self.observer.began(node, examples)
        return progress

    def ended(self, node: Node, state: State, seconds: float, batch_size: int | None) -> None:
        self.states[node.key] = state
        if batch_size is not None:
            self.batch_sizes[node.key] = batch_size
        if self.folder is not None:
            self.folder.event(event="ended", step=node.key, state=state, seconds=round(seconds, 3))
        self.observer.ended(node, state, seconds, batch_size)


def _write(
    run: Run, graph: Graph, output: Output, folder: RunFolder, shown: Mapping[str, str]
) -> None:
    from recoverdsl.measure.results import to_json
    from recoverdsl.measure.table import write

    buffer = io.BytesIO()
    write(run.examples, buffer)
    folder.examples(buffer.getvalue())
    deltas, ids, places = {}, {}, {}
    for kind, name, limit, key in tables(graph):
        result = output.results[key]
        if not result.rows or limit is None:
            continue
        label = f"{name}/smallest" if kind.startswith("smallest") else f"{name}/{exactly(limit)}"
        tensors = {
            label if tensor == "delta" else f"{label}/{tensor.removeprefix('part ')}": value
            for tensor, value in result.tensors.items()
            if tensor == "delta" or tensor.startswith("part ")
        }
        for label, delta in tensors.items():
            deltas[label] = delta
            ids[label] = [shown[row["example"]] for row in result.rows]
            places[label] = {
                "boundaries": result.tensors["sites"][0].tolist(),
                "columns_behind_prompt": columns_behind(recovery_of(graph[key].step)),
            }
    folder.perturbations(deltas, ids, places)
    folder.environment(
        run.result.environment
        | {"inputs": {i.name: i.digest for i in run.result.inputs}}
        | {"seconds": {key: round(result.seconds, 1) for key, result in output.results.items()}}
        | {"seconds_per_example": run.seconds}
    )
    if run.texts:
        folder.texts(to_lines(run.texts))
    folder.report(run.html())
    folder.result(to_json(run.result))
    folder.event(event="done", verdict=run.result.verdict)


def _device(device: str) -> str:
    if device != "auto":
        return device
    # Asking torch would cost seconds, and commands that only read want an answer at once.
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1")
    cards = any(Path("/dev").glob("nvidia[0-9]*"))
    return "cuda" if cards and not hidden and "+cpu" not in platform("auto")["torch"] else "cpu"
