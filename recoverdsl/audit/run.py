"""The run of an audit: its resources, its steps, and the files of its folder."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import torch
from attrs import field, frozen

from recoverdsl.audit.artifacts import begin, seconds_per_example, write
from recoverdsl.audit.claim import Claim, device_of
from recoverdsl.audit.held_out import seen_prompts
from recoverdsl.audit.records import Run, RunOptions
from recoverdsl.audit.result import assemble
from recoverdsl.audit.texts import shown_ids, texts
from recoverdsl.compiler.graph import Node
from recoverdsl.engine.resources import Resources
from recoverdsl.engine.steps.observer import Observer, State
from recoverdsl.engine.steps.runner import Runner
from recoverdsl.errors import UnavailableError, UsageError
from recoverdsl.language.schema.canonical import digest
from recoverdsl.store.run_folder import RunFolder, private
from recoverdsl.version import __version__


def execute(
    claim: Claim,
    out: Path | None,
    options: RunOptions,
    loaded: Resources | None = None,
) -> tuple[Run, Resources]:
    """Run a claim without sweeps; see `recoverdsl.api.Audit.run`.

    Args:
        out: a folder for the results; none is written if None.
        loaded: resources of another claim, of which those that are the same here are used again.

    Returns:
        The results, and the resources that were loaded for them.
    """
    name = device_of(options.device)
    torch_device = _usable(name)
    folder = RunFolder(out) if out is not None else None
    watcher = _Watcher(options.observer, folder)
    fetcher = claim.fetcher.with_progress(watcher.busy)
    claim.hold(watcher.busy)
    graph = claim.graph(options.device)
    if loaded is not None:
        resources = loaded.for_spec(claim.spec, watcher.busy)
    else:
        resources = Resources(claim.spec, fetcher, torch_device, busy=watcher.busy)
    if folder is not None:
        begin(claim, folder)
        folder.event(event="run", spec=digest(claim.spec), revealed=options.reveal)
    store = claim.store(options.store)
    private(store.root)
    output = Runner(graph, resources, store, watcher, options.batch_size).run()
    ids = shown_ids(resources.examples)
    environment = {
        "recoverdsl": __version__,
        "python": platform.python_version(),
        **graph.platform,
        "set": dict(claim.overrides),
        "locked": claim.lock is not None,
        "device": name,
        "revealed": options.reveal,
        "threads": torch.get_num_threads(),
        "dtype": {name: model.dtype for name, model in claim.spec.models.items()},
        "batch_sizes": dict(watcher.batch_sizes),
        "ranking_prompts": seen_prompts(resources),
    }
    run = Run(
        *assemble(claim, output, ids, environment),
        claim.text,
        dict(watcher.states),
        folder.path if folder else None,
        texts(resources, output, ids) if options.reveal else (),
        seconds_per_example(output),
        datetime.now(UTC).date().isoformat(),
    )
    if folder is not None:
        write(run, output, folder, ids)
    return run, resources


def _usable(name: str) -> torch.device:
    """Return a device of this machine by its name.

    Raises:
        UsageError: it is of a kind that is not supported.
        UnavailableError: this machine does not have it.
    """
    if name.partition(":")[0] not in ("cpu", "cuda"):
        raise UsageError(f"the device {name!r} is not supported", help="take cpu, cuda or cuda:1")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UnavailableError(
            f"the device {name!r} cannot be used", why=str(error).splitlines()[0],
            help="take --device cpu, or leave it out",
        ) from error  # fmt: skip
    return device


@frozen
class _Watcher:
    """An observer that also writes to the run folder's events, and notes states and batch sizes."""

    observer: Observer
    folder: RunFolder | None
    states: dict[str, State] = field(factory=dict)
    batch_sizes: dict[str, int] = field(factory=dict)

    def busy(self, what: str) -> AbstractContextManager[None]:
        return self.observer.busy(what)

    def point(self, what: str) -> None:
        self.observer.point(what)

    def began(self, node: Node, examples: int) -> Callable[[int], None]:
        if self.folder is not None:
            self.folder.event(event="began", step=node.key, digest=node.digest, examples=examples)
        return self.observer.began(node, examples)

    def ended(self, node: Node, state: State, seconds: float, batch_size: int | None) -> None:
        self.states[node.key] = state
        if batch_size is not None:
            self.batch_sizes[node.key] = batch_size
        if self.folder is not None:
            self.folder.event(event="ended", step=node.key, state=state, seconds=round(seconds, 3))
        self.observer.ended(node, state, seconds, batch_size)
