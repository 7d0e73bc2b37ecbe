"""The cache folder: fetched files, and the digests of large files, so that each is read once."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TypeAlias

from recoverdsl.errors import UnavailableError

ENVIRONMENT = "RECOVERDSL_CACHE"
"""The environment variable that moves the cache folder."""

Progress: TypeAlias = Callable[[str], AbstractContextManager[object]]
"""Takes a description of work that may take seconds, and returns a context in which it is done."""

WEIGHTS = frozenset({".safetensors", ".gguf", ".npz"})
"""Weight files that hold numbers alone, so that loading one cannot run code."""

PICKLES = frozenset({".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"})
"""Weight files that are pickles."""

LOADED = WEIGHTS | {".jinja", ".json", ".model", ".tiktoken", ".txt"}
"""Suffixes of all files that are read from the folder of a model or an SAE."""

_STAMPED_FROM = 1 << 20
_SLOW_FROM = 1 << 28
_SETTLED_NS = 2_000_000_000


def cache_folder() -> Path:
    """Return the cache folder: `RECOVERDSL_CACHE` where that is set, else the platform's default."""
    if chosen := os.environ.get(ENVIRONMENT):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("recoverdsl")


def size_text(size: int) -> str:
    """Return a number of bytes as people read it: `93 MB`."""
    if size < 1000:
        return f"{size} bytes"
    value, unit = size / 1e3, "kB"
    for larger in ("MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1e3, larger
    return f"{value:.3g} {unit}"


@contextmanager
def writing(what: str, place: Path) -> Iterator[None]:
    """Turn a failure to write, such as a full disk, into an error that names the content."""
    try:
        yield
    except OSError as error:
        raise write_error(error, what, place) from error


def write_error(error: OSError, what: str, place: Path) -> UnavailableError:
    """Return the error to show for a failure of the operating system while writing."""
    help = f"set {ENVIRONMENT} to a folder on a disk with free space"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UnavailableError(
            f"the disk is full: writing {what} failed",
            where=str(place),
            help=f"free some space, or {help}",
        )
    return UnavailableError(f"writing {what} failed", where=str(place), why=str(error), help=help)


def digest_path(path: Path, *, cache: Path | None = None, progress: Progress = nullcontext) -> str:
    """Return the sha256 of a file, or of the files in a folder that are loaded (`LOADED`), as 64 hex digits.

    A folder's digest covers relative names and contents, in sorted order. Other files are
    ignored: other tools put some into a snapshot of the hub, which then differ between machines.

    Args:
        path: a file, or a folder with the weights, configuration and tokenizer of a model or SAE.
        cache: the cache folder, where the digests of large files are remembered.
        progress: called before a file is read that takes seconds.
    """
    found = digest_files(path, cache=cache, progress=progress)
    if path.is_file():
        return found[path.name]
    listing = [[name, digest] for name, digest in found.items()]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def digest_files(
    path: Path, *, cache: Path | None = None, progress: Progress = nullcontext
) -> dict[str, str]:
    """Return the sha256 of a file, or of each file in a folder that is loaded, by relative name, in order."""
    cache = cache or cache_folder()
    if path.is_file():
        return {path.name: _digest_file(path, cache, progress)}
    if not path.is_dir():
        raise UnavailableError("no such file or folder", where=str(path))
    names = sorted(
        file.relative_to(path).as_posix()
        for file in path.rglob("*")
        if file.suffix.lower() in LOADED and file.is_file()
    )
    return {name: _digest_file(path / name, cache, progress) for name in names}


def _digest_file(path: Path, cache: Path, progress: Progress) -> str:
    before = _stamp(path)
    if before["size"] < _STAMPED_FROM:
        return _read_digest(path)
    name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()
    record = cache / "stamps" / f"{name}.json"
    with suppress(OSError, ValueError, AttributeError, KeyError):
        known = json.loads(record.read_text("utf-8"))
        if known["stamp"] == before:
            return str(known["sha256"])
    slow = before["size"] >= _SLOW_FROM
    with progress(f"hashing {path.name} ({size_text(before['size'])})") if slow else nullcontext():
        digest = _read_digest(path)
    # A file that was touched just now may be changed again within one tick of the file system's clock.
    settled = time.time_ns() - max(before["mtime_ns"], before["ctime_ns"]) > _SETTLED_NS
    if settled and _stamp(path) == before:
        _remember(record, {"path": str(path.absolute()), "stamp": before, "sha256": digest})
    return digest


def _stamp(path: Path) -> dict[str, int]:
    # The modification time can be set back by anyone; the change time and the inode cannot.
    status = path.stat()
    return {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "inode": status.st_ino,
    }


def _read_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UnavailableError("cannot be read", where=str(path), why=error.strerror) from error


def _remember(record: Path, content: dict[str, object]) -> None:
    # Only speed is lost without the record, so a cache that cannot be written is no reason to stop.
    with suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=record.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(content, file)
            os.replace(temporary, record)
        except BaseException:
            os.unlink(temporary)
            raise
