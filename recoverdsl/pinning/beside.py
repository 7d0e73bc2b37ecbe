"""A spec and the lock beside it: made, held to, or merely compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import evolve, frozen

from recoverdsl.errors import LockError, RecoverdslError, SpecError, UnavailableError
from recoverdsl.language.schema import Data, File, HuggingFace, Release, Spec
from recoverdsl.language.schema.canonical import digest
from recoverdsl.pinning.contents import Look
from recoverdsl.pinning.differences import Difference, compare, refuse
from recoverdsl.pinning.finding import Found, find
from recoverdsl.pinning.lock import Lock, Pinned
from recoverdsl.pinning.lockfile import lock_path, read_lock
from recoverdsl.pinning.sources import Block, sources_of, written
from recoverdsl.sources import Fetcher, hub, releases

_MOST_NAMED = 4
"""Differences that a note names; a whole list belongs to `--locked`."""


@frozen
class Beside:
    """A checked spec, and its lock if there is one.

    Args:
        path: of the spec.
        spec: the spec, with the values of `--set` in it.
        overrides: those values, by path.
        fetcher: what finds its sources.
        points: the spec at each point of its sweeps, with the name of the sweep.
    """

    path: Path
    spec: Spec
    overrides: Mapping[str, str]
    fetcher: Fetcher
    points: tuple[tuple[str, Spec], ...] = ()

    @property
    def lock_path(self) -> Path:
        return lock_path(self.path)

    def make(self) -> Lock:
        """The lock of the spec: what its sources are now, or, without the network, were when fetched.

        Raises:
            UnavailableError: a source cannot be had.
            SpecError: a source is not what its block needs, or the spec cannot be run.
        """
        look: Look = "fetched" if self.fetcher.offline else "published"
        found = self._find(look)
        if found.missing:
            raise _unlockable(found.missing, str(self.path))
        return found.lock

    def differences(self, lock: Lock, look: Look) -> tuple[Difference, ...]:
        """How what is found now differs from a lock."""
        found = self._find(look)
        return compare(lock, found, self.path)

    def _find(self, look: Look) -> Found:
        return find(self.spec, self.points, self.overrides, self.fetcher, look)

    def hold_to(self, lock: Lock, look: Look) -> None:
        """Raises if anything is not as it was locked, with every difference.

        Raises:
            LockError: something differs.
            UnavailableError: nothing does, but something cannot be had.
        """
        found = self.differences(lock, look)
        refuse(found, self.lock_path, "the spec is not what was locked")

    def note(self) -> str | None:
        """One line on how a run that is not held to the lock differs from it; None if it does not."""
        if not self.lock_path.exists():
            return None
        try:
            found = self.differences(read_lock(self.lock_path), "named")
        except LockError as error:
            return f"{self.lock_path}: {error.what}; this run does not need it"
        where = list(dict.fromkeys(difference.where for difference in found))
        if not where:
            return None
        more = f" and {len(where) - _MOST_NAMED} more" if len(where) > _MOST_NAMED else ""
        named = "; ".join(where[:_MOST_NAMED]) + more
        return f"{self.lock_path}: this run differs from the lock: {named}. `--locked` refuses it, and says how"


def locked_commits(lock: Lock, specs: Iterable[Spec]) -> dict[tuple[str, str, str], str]:
    """The commits that the branches and tags of a spec, at all its points, stood for when it was locked."""
    commits = {}
    for path, block in (item for spec in specs for item in sources_of(spec)):
        pinned = _pinned(lock, path, block)
        if pinned is None or pinned.commit is None:
            continue
        source = block if block is None or isinstance(block, File) else block.source
        kind: hub.Kind = "data" if isinstance(block, Data) else "model"
        if isinstance(source, HuggingFace):
            commits[hub.branch(source.repository, source.revision, kind)] = pinned.commit
        elif isinstance(source, Release):
            commits[hub.branch(releases.find(source).repository, None, kind)] = pinned.commit
    return commits


def lock_of(lock: Lock, point: Spec) -> Lock:
    """What a lock of a spec with sweeps says of one of its points."""
    sources = {path: _pinned(lock, path, block) for path, block in sources_of(point)}
    kept = {path: pinned for path, pinned in sources.items() if pinned is not None}
    return evolve(lock, spec=digest(point), sources=kept)


def _pinned(lock: Lock, path: str, block: Block) -> Pinned | None:
    """What a lock says of a source, be it that of the spec itself or of a point of a sweep."""
    text = written(block)
    return next(
        (
            pinned
            for key, pinned in lock.sources.items()
            if pinned.source == text
            and (key == path or re.fullmatch(rf"sweep\.\w+\.\d+\.{re.escape(path)}", key))
        ),
        None,
    )


def _unlockable(missing: Mapping[str, RecoverdslError], where: str) -> RecoverdslError:
    """One error for all sources that cannot be locked."""
    lines = [
        f"  {line}"
        for path, error in missing.items()
        for line in f"{path.replace('.', ' ')}: {error}".split("\n")
    ]
    count = "1 source" if len(missing) == 1 else f"{len(missing)} sources"
    kind = UnavailableError if all(isinstance(e, UnavailableError) for e in missing.values()) else SpecError  # fmt: skip
    return kind(f"{count} cannot be locked\n" + "\n".join(lines), where=where)
