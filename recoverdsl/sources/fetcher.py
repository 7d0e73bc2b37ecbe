"""The permissions and the cache with which sources are fetched."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Literal, Self

import attrs

from recoverdsl.sources.cache import Progress, cache_folder, digest_files, digest_path


def _resolved(folder: Path) -> Path:
    return folder.resolve()


def _cache_or_default(folder: Path | None) -> Path:
    return folder.absolute() if folder else cache_folder()


@attrs.frozen
class Revision:
    """A commit, tag or branch of a repository of the Hugging Face hub."""

    repository: str
    name: str = "main"
    type: Literal["model", "dataset"] = "model"


@attrs.frozen
class Fetcher:
    """The permissions and the cache with which sources are fetched.

    Args:
        spec_folder: the folder of the spec; its relative paths start here.
        cache: the cache folder; if not given, `RECOVERDSL_CACHE` or the platform's default.
        allow_outside: let paths leave the spec's folder (`--allow-outside`).
        offline: never use the network; only what is in a cache is available.
        progress: called with a description before work that may take seconds.
        largest: the largest file, in bytes, that is taken out of a wheel.
        commits: the commit of each branch or tag that was looked up; one that is missing is looked
            up once and added, so that a branch means one commit throughout a run.
    """

    spec_folder: Path = attrs.field(converter=_resolved)
    cache: Path = attrs.field(default=None, converter=_cache_or_default)
    allow_outside: bool = False
    offline: bool = False
    progress: Progress = nullcontext
    largest: int = 64 << 30
    commits: dict[Revision, str] = attrs.field(factory=dict, eq=False, repr=False)

    def digest(self, path: Path) -> str:
        """Return the sha256 of a file, or of what is loaded from a folder; a large file is read once."""
        return digest_path(path, cache=self.cache, progress=self.progress)

    def digests(self, path: Path) -> dict[str, str]:
        """Return the sha256 of a file, or of each file that is loaded from a folder, by relative name."""
        return digest_files(path, cache=self.cache, progress=self.progress)

    def with_progress(self, progress: Progress) -> Self:
        """Return the same fetcher, which reports what it waits for to `progress`."""
        return attrs.evolve(self, progress=progress)
