"""What fetching may do, and where it keeps what it has fetched."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Self

import attrs

from recoverdsl.sources.cache import Progress, cache_folder, digest_files, digest_path


def _resolved(folder: Path) -> Path:
    return folder.resolve()


def _cache_or_default(folder: Path | None) -> Path:
    return folder.absolute() if folder else cache_folder()


@attrs.frozen
class Access:
    """What fetching may do, and where it keeps what it has fetched.

    Args:
        spec_folder: the folder of the spec; its relative paths start here.
        cache: the cache folder; the platform's own place, or `RECOVERDSL_CACHE`, if not given.
        allow_outside: let paths leave the spec's folder (`--allow-outside`).
        offline: never use the network; what is not in a cache cannot be had.
        progress: called with a description before whatever may take seconds.
        largest: the largest file, in bytes, that is taken out of a wheel.
        commits: what a branch or tag of a repository stands for, by kind of repository, its name,
            and the branch; what is not in it is asked for once, and noted here.
    """

    spec_folder: Path = attrs.field(converter=_resolved)
    cache: Path = attrs.field(default=None, converter=_cache_or_default)
    allow_outside: bool = False
    offline: bool = False
    progress: Progress = nullcontext
    largest: int = 64 << 30
    commits: dict[tuple[str, str, str], str] = attrs.field(factory=dict, eq=False, repr=False)

    def digest(self, path: Path) -> str:
        """The sha256 of a file, or of what is loaded from a folder; a large file is read once."""
        return digest_path(path, cache=self.cache, progress=self.progress)

    def digests(self, path: Path) -> dict[str, str]:
        """The sha256 of a file, or of each file that is loaded from a folder, by relative name."""
        return digest_files(path, cache=self.cache, progress=self.progress)

    def with_progress(self, progress: Progress) -> Self:
        """The same access, which shows what it waits for through `progress`."""
        return attrs.evolve(self, progress=progress)
