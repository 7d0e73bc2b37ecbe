"""Repositories of the Hugging Face hub: which commit is meant, which files, and what they are."""

from __future__ import annotations

import errno
import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Literal

from recoverdsl.errors import UnavailableError
from recoverdsl.language.schema import HuggingFace
from recoverdsl.sources.access import Access
from recoverdsl.sources.cache import PICKLES, write_error
from recoverdsl.sources.names import plain, printable
from recoverdsl.sources.weights import PICKLES_WHY, check_weights

Kind = Literal["model", "sae", "data"]
"""What a source is for; it decides which files are fetched."""

DATA = (".jsonl", ".csv", ".parquet")
"""Suffixes of the tables that can be read."""

COMMIT = re.compile(r"[0-9a-f]{40}")
"""A commit; any other revision is a branch or a tag, and can be moved."""

# A model in GGUF is fetched only by name: such repositories hold the same weights many times over.
_WANTED: dict[Kind, tuple[str, ...]] = {
    "model": (".safetensors", ".json", ".txt", ".model", ".tiktoken", ".jinja"),
    "sae": (".safetensors", ".npz", ".json"),
    "data": DATA,
}


def fetch(access: Access, source: HuggingFace, kind: Kind) -> Path:
    """The snapshot of a repository, or the file or folder of it that the source names.

    Only formats that cannot hold code are fetched. A snapshot may still hold pickles that another
    tool put there, so load with `use_safetensors=True`.
    """
    what = f"huggingface({source.repository!r})"
    if source.file and PurePosixPath(source.file).suffix.lower() in PICKLES:
        raise UnavailableError(f"{source.file} is a pickle", where=what, why=PICKLES_WHY)
    patterns = patterns_of(source, kind)
    commit = commit_of(access, source.repository, source.revision, kind)
    folder = snapshot(access, source.repository, commit, kind, patterns)
    place = folder / source.file if source.file else folder
    # Where nothing matches there is no folder either, and what is missing depends on the kind.
    if source.file and not place.exists():
        raise UnavailableError(
            f"has no {source.file!r} that can be loaded", where=what, why=f"looked in {folder}"
        )
    if kind != "data":
        check_weights(place, what)
    return place


def commit_of(access: Access, repository: str, revision: str | None, kind: Kind) -> str:
    """The commit that a revision stands for, 40 digits. A branch stands for one throughout a run.

    Where the hub cannot be asked, it is the one that was fetched last.

    Raises:
        UnavailableError: there is no such repository or revision, or nothing is known of it here.
    """
    revision = plain(revision, "revision") if revision else "main"
    if COMMIT.fullmatch(revision):
        return revision
    key = branch(repository, revision, kind)
    if key not in access.commits:
        from huggingface_hub import HfApi

        with _asking(access, repository, revision, "asking for the commit of"):
            found = HfApi().resolve_revision(
                repository,
                repo_type=_type(kind),
                revision=revision,
                local_files_only=access.offline,
            )
        access.commits[key] = found.resolved
    return access.commits[key]


def branch(repository: str, revision: str | None, kind: Kind) -> tuple[str, str, str]:
    """A branch or tag, as `Access.commits` knows it."""
    return _type(kind), repository, revision or "main"


def snapshot(
    access: Access, repository: str, commit: str, kind: Kind, patterns: Sequence[str]
) -> Path:
    """The folder of a commit, in which the files that match are."""
    from huggingface_hub import snapshot_download

    with _asking(access, repository, commit):
        return Path(
            snapshot_download(
                repository,
                repo_type=_type(kind),
                revision=commit,
                allow_patterns=list(patterns),
                local_files_only=access.offline,
            )
        )


def fetch_file(access: Access, repository: str, commit: str, name: str) -> Path:
    """One file of a commit of a repository of models.

    Raises:
        huggingface_hub.errors.EntryNotFoundError: it has no such file.
    """
    from huggingface_hub import errors, hf_hub_download

    with _asking(access, repository, commit, but=errors.EntryNotFoundError):
        return Path(
            hf_hub_download(repository, name, revision=commit, local_files_only=access.offline)
        )


def published(
    access: Access, repository: str, revision: str | None, kind: Kind, patterns: Sequence[str]
) -> tuple[str, dict[str, str]]:
    """The commit that a revision stands for now, and the sha256 of each file of it that matches.

    The hub itself knows the sha256 of what is large; only small files are fetched.
    """
    from huggingface_hub import DatasetInfo, HfApi, ModelInfo, hf_hub_download

    revision = plain(revision, "revision") if revision else "main"
    with _asking(access, repository, revision, "asking for the files of"):
        info = HfApi().repo_info(
            repository, repo_type=_type(kind), revision=revision, files_metadata=True
        )
        assert isinstance(info, ModelInfo | DatasetInfo)
        commit = str(info.sha)
        access.commits[branch(repository, revision, kind)] = commit
        large = {file.rfilename: file.lfs for file in info.siblings or []}
        found = {}
        for name in _matching(large, patterns):
            if (stored := large[name]) is not None:
                found[name] = stored.sha256
            else:
                path = hf_hub_download(repository, name, repo_type=_type(kind), revision=commit)
                found[name] = access.digest(Path(path))
    return commit, found


def digests(access: Access, folder: Path, patterns: Sequence[str]) -> dict[str, str]:
    """The sha256 of each file in a snapshot that matches, by its name in the repository."""
    files = (file for file in folder.rglob("*") if file.is_file())
    names = (file.relative_to(folder).as_posix() for file in files)
    return {name: access.digest(folder / name) for name in _matching(names, patterns)}


def patterns_of(source: HuggingFace, kind: Kind) -> list[str]:
    """What to fetch of a repository, as patterns in which `*` also crosses folders."""
    stem = f"*{glob.escape(source.split)}*" if source.split else "*"
    endings = [f"{stem}{suffix}" for suffix in _WANTED[kind]]
    if source.file is None:
        return endings
    name = glob.escape(plain(source.file, "file in a repository"))
    single = PurePosixPath(source.file).suffix.lower() in {*_WANTED[kind], ".gguf"}
    return [name] if single else [f"{name}/{ending}" for ending in endings]


def _matching(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    return sorted(name for name in names if any(fnmatch(name, p) for p in patterns))


def _type(kind: Kind) -> str:
    return "dataset" if kind == "data" else "model"


@contextmanager
def _asking(
    access: Access,
    repository: str,
    revision: str,
    doing: str = "fetching",
    *,
    but: type[Exception] | tuple[()] = (),
) -> Iterator[None]:
    """Shows what is waited for, and turns what goes wrong into words, `but` for what the caller expects."""
    from huggingface_hub import constants

    what = f"huggingface({repository!r})"
    with access.progress(f"{doing} {what}"):
        try:
            yield
        except but:
            raise
        # The client raises errors of its own, of its transport and of the operating system.
        except Exception as error:
            raise _hub_error(error, what, revision, Path(constants.HF_HUB_CACHE)) from error


def _hub_error(error: Exception, what: str, revision: str, cache: Path) -> UnavailableError:
    from huggingface_hub import errors

    full = next((link for link in _chain(error) if isinstance(link, OSError) and link.errno), None)
    if full and full.errno in (errno.ENOSPC, errno.EDQUOT):
        return write_error(full, what, cache)
    lines = [printable(line) for line in str(error).splitlines() if line.strip()]
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
        case (
            errors.LocalEntryNotFoundError()
            | errors.OfflineModeIsEnabled()
            | errors.RevisionResolutionError()
        ):
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
