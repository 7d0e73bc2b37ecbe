"""The lock that a spec would have now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from recoverdsl.compiler.support import refuse_what_cannot_run
from recoverdsl.errors import RecoverdslError
from recoverdsl.language.schema import Spec
from recoverdsl.language.schema.canonical import digest
from recoverdsl.pinning.contents import Look, contents
from recoverdsl.pinning.lock import Lock, Pinned
from recoverdsl.pinning.sources import sources_at
from recoverdsl.pinning.versions import versions
from recoverdsl.sources import Fetcher


@frozen
class Found:
    """What a spec means now."""

    lock: Lock
    """Without the sources that cannot be had."""
    missing: Mapping[str, RecoverdslError]
    """Path of a source to why it cannot be had."""


def find(
    spec: Spec,
    points: Sequence[tuple[str, Spec]],
    overrides: Mapping[str, str],
    fetcher: Fetcher,
    look: Look,
) -> Found:
    """What a spec means now; what cannot be had is noted, and the rest is found all the same.

    Args:
        points: the spec at each point of its sweeps, with the name of the sweep.
        look: how far what is on the hub is looked into.

    Raises:
        NotYetError: the spec cannot be run.
    """
    refuse_what_cannot_run(spec)
    sources: dict[str, Pinned] = {}
    missing: dict[str, RecoverdslError] = {}
    for path, block in sources_at(spec, points):
        try:
            sources[path] = contents(block, fetcher, look)
        except RecoverdslError as error:
            missing[path] = error
    return Found(Lock(digest(spec), overrides, versions(), sources), missing)
