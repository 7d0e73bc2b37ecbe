"""The specs that a command line names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from recoverdsl.errors import UsageError


def walk(named: Iterable[Path]) -> list[Path]:
    """The named files, and every `*.rec` in the named folders, in order, each once.

    Hidden folders are left out, and links to folders are not followed.

    Raises:
        UsageError: there is no spec in a folder.
    """
    found: dict[Path, Path] = {}
    for path in named:
        files = list(_inside(path)) if path.is_dir() else [path]
        if not files:
            raise UsageError(
                "there is no spec in this folder", where=str(path), why="a spec is a file `*.rec`"
            )
        for file in files:
            found.setdefault(file.absolute(), file)
    return list(found.values())


def _inside(folder: Path) -> Iterable[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.endswith(".rec") and not name.startswith("."):
                yield Path(here) / name
