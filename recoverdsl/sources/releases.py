"""SAEs that sae_lens loads by release and id: the repository of each, and its files."""

from __future__ import annotations

import difflib
import glob
from collections.abc import Iterable
from pathlib import Path

from attrs import evolve, frozen

from recoverdsl.errors import UnavailableError
from recoverdsl.language.schema import Release
from recoverdsl.sources import hub, sae_lens_table
from recoverdsl.sources.cache import PICKLES, WEIGHTS
from recoverdsl.sources.contents import Contents, Look
from recoverdsl.sources.fetcher import Fetcher, Revision
from recoverdsl.sources.source import Pretrained, Source
from recoverdsl.sources.weights import compare_sha256, holds_weights

_SUFFIXES = sorted({*WEIGHTS, *PICKLES, ".json", ".yaml"})
"""Of the files that sae_lens reads: configuration, and weights, some of them pickles, which it reads
without running code."""


@frozen
class ReleasedSae(Source[Release]):
    """A pretrained SAE, which sae_lens loads by its release and id, file by file."""

    def pin(self, fetcher: Fetcher) -> str:
        commit = hub.commit_or_name(fetcher, self.revision())
        return f"release:{self.call.release}/{self.call.id}@{commit}"

    def contents(self, fetcher: Fetcher, look: Look) -> Contents:
        place = find(self.call)
        found = hub.contents(fetcher, self.revision(), place.patterns, look)
        if found.files is not None and self.sha256:
            weights = [digest for name, digest in found.files.items() if holds_weights(name)]
            compare_sha256(weights, self.sha256)
        return evolve(found, repository=place.repository)

    def revision(self) -> Revision:
        return Revision(find(self.call).repository)

    def pretrained(self, fetcher: Fetcher) -> Pretrained:
        return Pretrained(
            self.call.release, self.call.id, lambda name: self.fetch_file(name, fetcher)
        )

    def fetch_file(self, name: str, fetcher: Fetcher) -> Path:
        """Return a file of the SAE by its name in the repository, fetched if need be.

        Raises:
            UnavailableError: it is not available, or it holds the weights and its sha256 is not the
                one that the spec names.
            huggingface_hub.errors.EntryNotFoundError: there is none.
        """
        path = hub.fetch_file(fetcher, hub.at_commit(fetcher, self.revision()), name)
        if self.sha256 and holds_weights(name):
            compare_sha256([fetcher.digest(path)], self.sha256, name)
        return path


@frozen
class Place:
    """A repository of the hub, and a file or folder in it."""

    repository: str
    path: str

    @property
    def patterns(self) -> list[str]:
        """The files that belong to the SAE, as patterns in which `*` also crosses folders."""
        name = glob.escape(self.path)
        return [name, *(f"{name}/*{suffix}" for suffix in _SUFFIXES)]


def find(source: Release) -> Place:
    """Return where sae_lens finds an SAE.

    Raises:
        UnavailableError: it has no such release, or no such SAE in it.
    """
    section = sae_lens_table.section(source.release)
    if section is None:
        if source.release.count("/") == 1:
            return Place(source.release, source.id)
        raise UnavailableError(
            f"sae_lens has no release {source.release!r}",
            help=_near(source.release, sae_lens_table.releases()),
        )
    paths = {str(sae["id"]): str(sae["path"]) for sae in section["saes"]}
    if source.id not in paths:
        raise UnavailableError(
            f"the release {source.release!r} has no SAE {source.id!r}", help=_near(source.id, paths)
        )
    return Place(str(section["repo_id"]), paths[source.id])


def _near(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return (
        f"did you mean {', '.join(near)}?"
        if near
        else f"there are {len(known)}: {', '.join(known[:3])}, …"
    )
