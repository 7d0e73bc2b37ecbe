"""A checked spec: its lock, its graph and its store, without running it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from attrs import evolve, field, frozen

from recoverdsl.compiler.compile import compile_spec
from recoverdsl.compiler.graph import Graph, merged
from recoverdsl.errors import UnavailableError
from recoverdsl.language.checker.points import Point
from recoverdsl.language.schema import Spec
from recoverdsl.pinning.lock import Lock
from recoverdsl.pinning.spec_with_lock import SpecWithLock
from recoverdsl.pinning.versions import platform
from recoverdsl.sources.cache import Progress, cache_folder
from recoverdsl.sources.fetcher import Fetcher
from recoverdsl.sources.registry import source_of
from recoverdsl.store.run_folder import private
from recoverdsl.store.steps import Store


@frozen
class Claim:
    """A checked spec, ready to be planned and drawn."""

    path: Path
    text: str
    """The spec as it runs, with the values that `set` replaced written into it."""
    spec: Spec
    overrides: Mapping[str, str]
    """Values that replaced the text's own."""
    fetcher: Fetcher = field(repr=False)
    lock: Lock | None = field(default=None, repr=False)
    """The lock that the spec is held to; None if it is held to none."""
    points: tuple[ClaimAt, ...] = field(default=(), repr=False)
    """The spec at each point of its sweeps, as a claim of its own; none if it has no sweep."""

    @property
    def spec_with_lock(self) -> SpecWithLock:
        """The spec with the lock next to it, whether or not it is held to that."""
        points = tuple((at.point.sweep, at.audit.spec) for at in self.points)
        return SpecWithLock(self.path, self.spec, self.overrides, self.fetcher, points)

    def hold(self, progress: Progress) -> None:
        """Fetch the sources that are on the hub, and refuse any that differ from the lock; do
        nothing without one.

        Args:
            progress: shows what is being fetched.

        Raises:
            LockError: a source differs from the lock; `differences` holds all that do.
            UnavailableError: something cannot be fetched or read.
        """
        if self.lock is not None:
            fetcher = self.fetcher.with_progress(progress)
            evolve(self.spec_with_lock, fetcher=fetcher).hold_to(self.lock, "fetched")

    def graph(self, device: str = "auto") -> Graph:
        """Return the steps of the spec with their digests. Local files are hashed; nothing is loaded.

        With sweeps it is the graph of all points together, in which steps that points share are there
        once.

        Args:
            device: `auto`, `cpu`, `cuda` or `cuda:1`.

        Raises:
            NotYetError: the spec asks for something that this version cannot execute.
            UnavailableError: a source cannot be found or read.
        """
        if self.points:
            return merged([(str(at.point), at.audit.graph(device)) for at in self.points])
        # The cache holds digests of large files; only speed is lost where it cannot be written.
        with suppress(UnavailableError):
            private(cache_folder())
        return compile_spec(
            self.spec, lambda block: source_of(block).pin(self.fetcher), platform(device_of(device))
        )

    def store(self, root: Path | None = None) -> Store:
        """Return the store of step results, in the cache folder if no other is named."""
        return Store((root or cache_folder() / "store").absolute())


@frozen
class ClaimAt:
    """A claim at one point of a sweep."""

    point: Point
    audit: Claim


def device_of(device: str) -> str:
    """Return the device that `auto` selects on this machine, or the one that is named."""
    if device != "auto":
        return device
    # Importing torch takes seconds, and commands that only read should be fast.
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1")
    cards = any(Path("/dev").glob("nvidia[0-9]*"))
    return "cuda" if cards and not hidden and "+cpu" not in platform("auto")["torch"] else "cpu"
