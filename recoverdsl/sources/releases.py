"""SAEs that sae_lens knows by release and id: the repository in which each lies, and its files."""

from __future__ import annotations

import difflib
import glob
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

from recoverdsl.errors import UnavailableError
from recoverdsl.language.schema import Release
from recoverdsl.sources import hub, sae_lens_table
from recoverdsl.sources.access import Access
from recoverdsl.sources.cache import PICKLES, WEIGHTS

_SUFFIXES = sorted({*WEIGHTS, *PICKLES, ".json", ".yaml"})
"""Of what sae_lens reads: weights, some of them pickles, which it reads without running code, and
configuration."""

_STATISTICS = "sparsity.safetensors"
"""How often each feature is active: sae_lens fetches it beside the weights."""


@frozen
class Place:
    """A repository of the hub, and a file or folder in it."""

    repository: str
    path: str

    @property
    def patterns(self) -> list[str]:
        """What belongs to the SAE, as patterns in which `*` also crosses folders."""
        name = glob.escape(self.path)
        return [name, *(f"{name}/*{suffix}" for suffix in _SUFFIXES)]


def find(source: Release) -> Place:
    """Where sae_lens has an SAE from.

    Raises:
        UnavailableError: it knows no such release, or no such SAE in it.
    """
    section = sae_lens_table.section(source.release)
    if section is None:
        if source.release.count("/") == 1:
            return Place(source.release, source.id)
        raise UnavailableError(
            f"sae_lens knows no release {source.release!r}",
            help=_near(source.release, sae_lens_table.releases()),
        )
    paths = {str(sae["id"]): str(sae["path"]) for sae in section["saes"]}
    if source.id not in paths:
        raise UnavailableError(
            f"the release {source.release!r} has no SAE {source.id!r}", help=_near(source.id, paths)
        )
    return Place(str(section["repo_id"]), paths[source.id])


def fetch_file(access: Access, source: Release, name: str) -> Path:
    """A file of an SAE, by its name in the repository.

    Raises:
        huggingface_hub.errors.EntryNotFoundError: there is none.
    """
    repository = find(source).repository
    commit = hub.commit_of(access, repository, None, "sae")
    return hub.fetch_file(access, repository, commit, name)


def holds_weights(name: str) -> bool:
    """Whether a file of an SAE holds its weights."""
    path = Path(name)
    return path.suffix.lower() in WEIGHTS | PICKLES and path.name != _STATISTICS


def _near(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return (
        f"did you mean {', '.join(near)}?"
        if near
        else f"there are {len(known)}: {', '.join(known[:3])}, …"
    )
