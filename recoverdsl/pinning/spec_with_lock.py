"""A spec and its lock, which is made, enforced or compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import evolve, frozen

from recoverdsl.errors import LockError, RecoverdslError, SpecError, UnavailableError
from recoverdsl.language.schema import Spec
from recoverdsl.language.schema.canonical import digest
from recoverdsl.pinning.current_lock import CurrentLock, current_lock
from recoverdsl.pinning.differences import Difference, compare, refuse
from recoverdsl.pinning.lock import Lock, Pinned
from recoverdsl.pinning.lockfile import lock_path, read_lock
from recoverdsl.pinning.sources import sources_of, written
from recoverdsl.sources.contents import Look
from recoverdsl.sources.fetcher import Fetcher, Revision
from recoverdsl.sources.registry import source_of
from recoverdsl.sources.source import Block

_MOST_NAMED = 4
"""Differences that a note names; `--locked` lists all."""


@frozen
class SpecWithLock:
    """A checked spec, and its lock if there is one.

    Args:
        path: the path of the spec.
        spec: the spec, with the values of `--set` applied.
        overrides: those values, by path.
        fetcher: fetches its sources.
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
        """Return the lock of the spec: its sources as they are now or, offline, as they were fetched.

        Raises:
            UnavailableError: a source is not available.
            SpecError: a source does not fit its block, or the spec cannot be run.
        """
        look: Look = "fetched" if self.fetcher.offline else "published"
        found = self._find(look)
        if found.missing:
            raise _unlockable(found.missing, str(self.path))
        return found.lock

    def differences(self, lock: Lock, look: Look) -> tuple[Difference, ...]:
        """Return the differences between a lock and the spec and its sources now."""
        found = self._find(look)
        return compare(lock, found, self.path)

    def _find(self, look: Look) -> CurrentLock:
        return current_lock(self.spec, self.points, self.overrides, self.fetcher, look)

    def hold_to(self, lock: Lock, look: Look) -> None:
        """Refuse the spec if it or a source differs from the lock, with every difference.

        Raises:
            LockError: something differs.
            UnavailableError: nothing differs, but a source is not available.
        """
        found = self.differences(lock, look)
        refuse(found, self.lock_path, "the spec differs from its lock")

    def note(self) -> str | None:
        """Return one line on how a run without `--locked` differs from the lock; None if it does not."""
        if not self.lock_path.exists():
            return None
        try:
            found = self.differences(read_lock(self.lock_path), "named")
        except LockError as error:
            return f"{self.lock_path}: {error.what}; this run does not use it"
        where = list(dict.fromkeys(difference.where for difference in found))
        if not where:
            return None
        more = f" and {len(where) - _MOST_NAMED} more" if len(where) > _MOST_NAMED else ""
        named = "; ".join(where[:_MOST_NAMED]) + more
        return f"{self.lock_path}: this run differs from the lock: {named}. `--locked` would refuse it and list every difference"


def locked_commits(lock: Lock, specs: Iterable[Spec]) -> dict[Revision, str]:
    """Return the commits that the branches and tags of a spec, at all its points, were at when it was locked."""
    commits = {}
    for path, block in (item for spec in specs for item in sources_of(spec)):
        pinned = _pinned(lock, path, block)
        revision = source_of(block).revision()
        if revision is not None and pinned is not None and pinned.commit is not None:
            commits[revision] = pinned.commit
    return commits


def lock_of(lock: Lock, point: Spec) -> Lock:
    """Return the part of a lock of a spec with sweeps that concerns one of its points."""
    sources = {path: _pinned(lock, path, block) for path, block in sources_of(point)}
    kept = {path: pinned for path, pinned in sources.items() if pinned is not None}
    return evolve(lock, spec=digest(point), sources=kept)


def _pinned(lock: Lock, path: str, block: Block) -> Pinned | None:
    """Return the entry of a source, of the spec itself or of a point of a sweep; None if there is none."""
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
    """Return one error for all sources that cannot be locked."""
    lines = [
        f"  {line}"
        for path, error in missing.items()
        for line in f"{path.replace('.', ' ')}: {error}".split("\n")
    ]
    count = "1 source" if len(missing) == 1 else f"{len(missing)} sources"
    kind = UnavailableError if all(isinstance(e, UnavailableError) for e in missing.values()) else SpecError  # fmt: skip
    return kind(f"{count} cannot be locked\n" + "\n".join(lines), where=where)
