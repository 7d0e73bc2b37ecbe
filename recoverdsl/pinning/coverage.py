"""Warnings that a lock makes unnecessary."""

from __future__ import annotations

from pathlib import Path

from recoverdsl.errors import LockError
from recoverdsl.language import Checked, Diagnostic
from recoverdsl.pinning.lockfile import lock_path, read_lock
from recoverdsl.pinning.sources import sources_of, written

_UNPINNED = "REC403"


def uncovered(checked: Checked, path: Path) -> tuple[Diagnostic, ...]:
    """Return the diagnostics of a spec, without warnings of sources that the lock beside it pins.

    Args:
        checked: the spec at `path`.
        path: the path of the spec, whose lock is beside it.
    """
    if checked.spec is None or all(d.code != _UNPINNED for d in checked.diagnostics):
        return checked.diagnostics
    try:
        lock = read_lock(lock_path(path))
    except LockError:
        return checked.diagnostics
    spans = checked.spec.spans
    pinned: set[object] = set()
    unpinned: set[object] = set()
    for source, block in sources_of(checked.spec):
        locked = lock.sources.get(source)
        known = locked is not None and locked.commit is not None and locked.source == written(block)
        # A judge is an attribute itself; the other sources are the attribute `from` of a block.
        place = spans.get(f"{source}.from") or spans.get(source)
        (pinned if known else unpinned).add(place)
    # Blocks that are `like` another share a place; its warning stays as long as one is not pinned.
    silent = pinned - unpinned
    return tuple(d for d in checked.diagnostics if d.code != _UNPINNED or d.span not in silent)
