"""Runs an audit: resources, steps, and what is left in its folder."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from attrs import field, frozen

from recoverdsl import __version__
from recoverdsl.api import Audit, Run, Silent, device_of
from recoverdsl.audit.result import assemble, seconds_per_example, tables, write
from recoverdsl.audit.texts import shown_ids, texts
from recoverdsl.compiler.graph import Graph, Node
from recoverdsl.engine.resources import Resources
from recoverdsl.engine.steps.runner import Output, Runner, State
from recoverdsl.errors import UnavailableError, UsageError
from recoverdsl.language.schema.canonical import digest
from recoverdsl.pinning.lockfile import to_text
from recoverdsl.report.revealed import Revealed
from recoverdsl.store.run_folder import RunFolder, private

if TYPE_CHECKING:
    from collections.abc import Mapping


def execute(
    audit: Audit,
    out: Path | None = None,
    *,
    device: str = "auto",
    store: Path | None = None,
    batch_size: int | None = None,
    observer: Any = None,
    reveal: bool = False,
    sharing: Resources | None = None,
) -> tuple[Run, Resources]:
    """Runs one audit without sweeps; see `Audit.run`.

    Args:
        sharing: resources of another audit; what is loaded there and is the same here is used.

    Returns:
        What was found, and what was loaded for it.
    """
    name = device_of(device)
    torch_device = _usable(name)
    folder = RunFolder(out) if out is not None else None
    watcher = _Watcher(observer or Silent(), folder)
    fetcher = audit.fetcher.with_progress(watcher.busy)
    audit.hold(watcher.busy)
    graph = audit.graph(device)
    if sharing is not None:
        resources = sharing.sharing(audit.spec, watcher.busy)
    else:
        resources = Resources(audit.spec, fetcher, torch_device, busy=watcher.busy)
    if folder is not None:
        folder.clear()
        folder.spec(audit.text)
        if audit.lock is not None:
            folder.lock(to_text(audit.lock))
        folder.event(event="run", spec=digest(audit.spec), revealed=reveal)
    kept = audit.store(store)
    private(kept.root)
    output = Runner(graph, resources, kept, watcher, batch_size).run()
    ids = shown_ids(resources.examples)
    environment = {
        "recoverdsl": __version__,
        "python": platform.python_version(),
        **graph.platform,
        "set": dict(audit.overrides),
        "locked": audit.lock is not None,
        "device": name,
        "revealed": reveal,
        "threads": torch.get_num_threads(),
        "dtype": {name: model.dtype for name, model in audit.spec.models.items()},
        "batch_sizes": dict(watcher.batch_sizes),
    }
    run = Run(
        *assemble(audit, graph, output, ids, environment),
        audit.text,
        dict(watcher.states),
        folder.path if folder else None,
        _texts(graph, output, resources, ids) if reveal else (),
        seconds_per_example(graph, output),
    )
    if folder is not None:
        write(run, graph, output, folder, ids)
    return run, resources


def _usable(name: str) -> torch.device:
    if name.partition(":")[0] not in ("cpu", "cuda"):
        raise UsageError(f"the device {name!r} is not supported", help="cpu, cuda or cuda:1")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UnavailableError(
            f"the device {name!r} cannot be used", why=str(error).splitlines()[0],
            help="take --device cpu, or leave it out",
        ) from error  # fmt: skip
    return device


def _texts(
    graph: Graph, output: Output, resources: Resources, ids: Mapping[str, str]
) -> tuple[Revealed, ...]:
    defended = next(iter(graph.keys_of("RunDefended")), None)
    return texts(resources, output, graph.keys_of("RunBase")[0], defended, tables(graph), dict(ids))


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
