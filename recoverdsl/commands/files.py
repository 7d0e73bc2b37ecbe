"""Files of a command line: the specs that it names, and files written atomically."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from recoverdsl.errors import UnavailableError, UsageError


def walk(named: Iterable[Path]) -> list[Path]:
    """List the named files and every `*.rec` in the named folders, in order, each once.

    Hidden files and folders are left out, and links to folders are not followed.

    Raises:
        UsageError: there is no spec in a folder.
    """
    found: dict[Path, Path] = {}
    for path in named:
        files = list(_inside(path)) if path.is_dir() else [path]
        if not files:
            raise UsageError(
                "expected a spec in this folder, found none",
                where=str(path),
                why="a spec is a file `*.rec`",
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


def create(path: Path, content: bytes) -> bool:
    """Create a file and return True; return False, and do nothing, if it exists.

    Raises:
        UnavailableError: the folder cannot be written.
    """
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    except OSError as error:
        raise _not_written(path, error) from error
    return True


def put(path: Path, content: bytes) -> None:
    """Write a file atomically, whether or not it exists.

    Raises:
        UnavailableError: the file or its folder cannot be written.
    """
    if path.exists():
        replace(path, content)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _not_written(path, error) from error


def replace(path: Path, content: bytes) -> None:
    """Replace the content of a file atomically: a reader finds the old or the new, never a part.

    The file keeps its mode, and its owner where that is allowed. A link stays a link; its target is
    replaced.

    Raises:
        UnavailableError: the file or its folder cannot be written.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        before = target.stat()
        # A read-only file must not be replaced.
        target.open("r+b").close()
        try:
            with temporary.open("xb") as file:
                # While it is still empty, so that private content is never exposed.
                with suppress(OSError):
                    os.chown(temporary, before.st_uid, before.st_gid)
                os.chmod(temporary, stat.S_IMODE(before.st_mode))
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> UnavailableError:
    return UnavailableError(
        "this file cannot be written", where=str(path), why=error.strerror or str(error)
    )
