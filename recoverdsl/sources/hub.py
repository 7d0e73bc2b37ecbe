"""The Hugging Face hub: the commit of a revision, its files, and errors in words."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from attrs import evolve

from recoverdsl.errors import UnavailableError
from recoverdsl.sources.cache import write_error
from recoverdsl.sources.contents import Contents, Look
from recoverdsl.sources.fetcher import Fetcher, Revision
from recoverdsl.sources.names import plain, printable

COMMIT = re.compile(r"[0-9a-f]{40}")
"""A commit; any other revision is a branch or a tag, which can move."""


def at_commit(fetcher: Fetcher, revision: Revision) -> Revision:
    """Return a revision by the 40 digits of its commit. A branch means one throughout a run.

    Where the hub cannot be reached, it is the commit that was fetched last.

    Raises:
        UnavailableError: there is no such repository or revision, or nothing is known of it here.
    """
    name = plain(revision.name, "revision")
    if COMMIT.fullmatch(name):
        return revision
    if revision not in fetcher.commits:
        from huggingface_hub import HfApi

        with _asking(fetcher, revision, "asking for the commit of"):
            found = HfApi().resolve_revision(
                revision.repository,
                repo_type=revision.type,
                revision=name,
                local_files_only=fetcher.offline,
            )
        fetcher.commits[revision] = found.resolved
    return evolve(revision, name=fetcher.commits[revision])


def commit_or_name(fetcher: Fetcher, revision: Revision) -> str:
    """Return the commit of a revision, or its name if that is offline and was never fetched."""
    try:
        return at_commit(fetcher, revision).name
    except UnavailableError:
        if not fetcher.offline:
            raise
        return revision.name


def contents(fetcher: Fetcher, revision: Revision, patterns: Sequence[str], look: Look) -> Contents:
    """Return the commit of a revision and the sha256 of each file of it that matches."""
    if look == "published":
        commit, files = published(fetcher, revision, patterns)
        return Contents(commit=commit, files=files)
    at = at_commit(fetcher, revision)
    if look == "named":
        return Contents(commit=at.name, files=None)
    folder = snapshot(fetcher, at, patterns)
    return Contents(commit=at.name, files=digests(fetcher, folder, patterns))


def snapshot(fetcher: Fetcher, commit: Revision, patterns: Sequence[str]) -> Path:
    """Return the folder of a commit, which holds the files that match."""
    from huggingface_hub import snapshot_download

    with _asking(fetcher, commit):
        return Path(
            snapshot_download(
                commit.repository,
                repo_type=commit.type,
                revision=commit.name,
                allow_patterns=list(patterns),
                local_files_only=fetcher.offline,
            )
        )


def fetch_file(fetcher: Fetcher, commit: Revision, name: str) -> Path:
    """Return one file of a commit, fetched if need be.

    Raises:
        huggingface_hub.errors.EntryNotFoundError: it has no such file.
    """
    from huggingface_hub import errors, hf_hub_download

    with _asking(fetcher, commit, but=errors.EntryNotFoundError):
        return Path(
            hf_hub_download(
                commit.repository,
                name,
                repo_type=commit.type,
                revision=commit.name,
                local_files_only=fetcher.offline,
            )
        )


def published(
    fetcher: Fetcher, revision: Revision, patterns: Sequence[str]
) -> tuple[str, dict[str, str]]:
    """Return the commit of a revision now, and the sha256 of each file of it that matches.

    The hub itself knows the sha256 of large files; only small ones are fetched.
    """
    from huggingface_hub import DatasetInfo, HfApi, ModelInfo, hf_hub_download

    repository, type = revision.repository, revision.type
    with _asking(fetcher, revision, "asking for the files of"):
        info = HfApi().repo_info(
            repository,
            repo_type=type,
            revision=plain(revision.name, "revision"),
            files_metadata=True,
        )
        assert isinstance(info, ModelInfo | DatasetInfo)
        commit = str(info.sha)
        fetcher.commits[revision] = commit
        large = {file.rfilename: file.lfs for file in info.siblings or []}
        found = {}
        for name in _matching(large, patterns):
            if (stored := large[name]) is not None:
                found[name] = stored.sha256
            else:
                path = hf_hub_download(repository, name, repo_type=type, revision=commit)
                found[name] = fetcher.digest(Path(path))
    return commit, found


def digests(fetcher: Fetcher, folder: Path, patterns: Sequence[str]) -> dict[str, str]:
    """Return the sha256 of each file in a snapshot that matches, by its name in the repository."""
    files = (file for file in folder.rglob("*") if file.is_file())
    names = (file.relative_to(folder).as_posix() for file in files)
    return {name: fetcher.digest(folder / name) for name in _matching(names, patterns)}


def _matching(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    return sorted(name for name in names if any(fnmatch(name, p) for p in patterns))


@contextmanager
def _asking(
    fetcher: Fetcher,
    revision: Revision,
    doing: str = "fetching",
    *,
    but: type[Exception] | tuple[()] = (),
) -> Iterator[None]:
    """Report a request to the hub while it is in progress, and translate its errors, except `but`."""
    from huggingface_hub import constants

    what = f"huggingface({revision.repository!r})"
    with fetcher.progress(f"{doing} {what}"):
        try:
            yield
        except but:
            raise
        # The client raises errors of its own, of its transport and of the operating system.
        except Exception as error:
            raise _hub_error(error, what, revision.name, Path(constants.HF_HUB_CACHE)) from error


def _hub_error(error: Exception, what: str, revision: str, cache: Path) -> UnavailableError:
    from huggingface_hub import errors

    full = next((link for link in _chain(error) if isinstance(link, OSError) and link.errno), None)
    if full and full.errno in (errno.ENOSPC, errno.EDQUOT):
        return write_error(full, what, cache)
    lines = [printable(line) for line in str(error).splitlines() if line.strip()]
    why = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    match error:
        case errors.GatedRepoError():
            text = "is gated: its owner must grant you access"
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
            text = "is not on this machine, and the hub cannot be reached"
            why = f"looked in {cache}; {why}"
            help = "check the connection, and that neither `--offline` nor HF_HUB_OFFLINE is set"
        case _:
            text, help = "could not be fetched", "run again; the files that arrived are kept"
    return UnavailableError(text, where=what, why=why, help=help)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
