"""The lock that a spec would have now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import asdict, frozen

from recoverdsl.compiler.support import refuse_unsupported
from recoverdsl.errors import RecoverdslError
from recoverdsl.language.schema import Spec
from recoverdsl.language.schema.canonical import digest
from recoverdsl.pinning.lock import Lock, Pinned
from recoverdsl.pinning.sources import sources_at, written
from recoverdsl.pinning.versions import versions
from recoverdsl.sources.contents import Look
from recoverdsl.sources.fetcher import Fetcher
from recoverdsl.sources.registry import source_of


@frozen
class CurrentLock:
    """The lock that a spec would have now."""

    lock: Lock
    """Without the sources that are not available."""
    missing: Mapping[str, RecoverdslError]
    """Path of a source to why it is not available."""


def current_lock(
    spec: Spec,
    points: Sequence[tuple[str, Spec]],
    overrides: Mapping[str, str],
    fetcher: Fetcher,
    look: Look,
) -> CurrentLock:
    """Return the lock that a spec would have now; a source that is not available is noted.

    Args:
        points: the spec at each point of its sweeps, with the name of the sweep.
        look: how much of a repository of the hub is looked at.

    Raises:
        NotYetError: the spec cannot be run.
    """
    refuse_unsupported(spec)
    sources: dict[str, Pinned] = {}
    missing: dict[str, RecoverdslError] = {}
    for path, block in sources_at(spec, points):
        try:
            found = source_of(block).contents(fetcher, look)
            sources[path] = Pinned(written(block), **asdict(found, recurse=False))
        except RecoverdslError as error:
            missing[path] = error
    return CurrentLock(Lock(digest(spec), overrides, versions(), sources), missing)
