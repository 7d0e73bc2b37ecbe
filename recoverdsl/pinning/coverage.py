"""Warnings that a lock makes needless."""

from __future__ import annotations

from pathlib import Path

from recoverdsl.errors import LockError
from recoverdsl.language import Checked, Diagnostic
from recoverdsl.pinning.lockfile import lock_path, read_lock
from recoverdsl.pinning.sources import sources_of, written

_UNPINNED = "REC403"


def uncovered(checked: Checked, path: Path) -> tuple[Diagnostic, ...]:
    """The diagnostics of a spec, without warnings of sources that the lock beside it pins.

    Args:
        checked: the spec at `path`.
        path: where it lies; its lock is looked for beside it.
    """
    unpinned = [d for d in checked.diagnostics if d.code == _UNPINNED]
    if not unpinned or checked.spec is None:
        return checked.diagnostics
    try:
        lock = read_lock(lock_path(path))
    except LockError:
        return checked.diagnostics
    spans = checked.spec.spans
    open_places = set()
    for source, block in sources_of(checked.spec):
        pinned = lock.sources.get(source)
        if pinned is None or pinned.commit is None or pinned.source != written(block):
            # A judge is an attribute itself; the other sources are the attribute `from` of a block.
            open_places.add(spans.get(f"{source}.from") or spans.get(source))
    return tuple(d for d in checked.diagnostics if d not in unpinned or d.span in open_places)
