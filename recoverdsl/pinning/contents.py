"""What the source of a block is: the commit, and the sha256 of every file that is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Literal, TypeAlias

from recoverdsl.errors import UnavailableError
from recoverdsl.language.schema import (
    Classifier,
    Data,
    File,
    HuggingFace,
    Model,
    PyPI,
    Release,
    Sae,
    Template,
)
from recoverdsl.measure.phrases import load_phrases
from recoverdsl.pinning.lock import Pinned
from recoverdsl.pinning.sources import Block, written
from recoverdsl.sources import Fetcher, Kind, hub, releases
from recoverdsl.sources.cache import WEIGHTS
from recoverdsl.sources.data import drawn_digest, table_files
from recoverdsl.sources.pins import locate

Look: TypeAlias = Literal["published", "fetched", "named"]
"""What of a repository is looked at. `published`: what the hub says that it is now, without fetching
the weights. `fetched`: the files on this machine, fetched if need be. `named`: the commit alone.
What lies beside the spec is always read."""


def contents(block: Block, fetcher: Fetcher, look: Look) -> Pinned:
    """What the source of a block is.

    Raises:
        UnavailableError: it cannot be had, or is not what the spec itself pins.
        SpecError: it is no source of its kind.
    """
    if block is None:
        return Pinned(written(block), sha256=load_phrases().digest)
    source = block if isinstance(block, File) else block.source
    match source:
        case HuggingFace() | Release():
            assert not isinstance(block, File)
            return _of_repository(block, source, fetcher, look)
        case PyPI():
            assert isinstance(block, Model)
            return Pinned(written(block), files={source.file: (block.sha256 or "").lower()})
        case Template():
            return Pinned(written(block), sha256=drawn_digest(source))
        case File():
            if not isinstance(block, Data):
                load_phrases(fetcher.local(source.path))
            return Pinned(written(block), files={source.path: fetcher.digest(fetcher.file(source))})
    assert isinstance(block, Model | Sae | Classifier)
    return Pinned(written(block), files=fetcher.digests(locate(block, fetcher)))


def _of_repository(
    block: Model | Sae | Data | Classifier,
    source: HuggingFace | Release,
    fetcher: Fetcher,
    look: Look,
) -> Pinned:
    kind: Kind = "data" if isinstance(block, Data) else "sae" if isinstance(block, Sae) else "model"
    if isinstance(source, Release):
        place = releases.find(source)
        repository, revision, patterns = place.repository, None, place.patterns
    else:
        repository, revision = source.repository, source.revision
        patterns = hub.patterns_of(source, kind)
    files: Mapping[str, str] | None = None
    if look == "published":
        commit, files = hub.published(fetcher, repository, revision, kind, patterns)
    else:
        commit = hub.commit_of(fetcher, repository, revision, kind)
    if look == "fetched":
        folder = hub.snapshot(fetcher, repository, commit, kind, patterns)
        files = hub.digests(fetcher, folder, patterns)
    if files is not None:
        if isinstance(source, HuggingFace):
            files = _meant(files, source, kind, here=look == "fetched" and fetcher.offline)
        _compare_weights(block, files)
    return Pinned(
        written(block),
        repository=repository if isinstance(source, Release) else None,
        commit=commit,
        files=files,
    )


def _meant(
    files: Mapping[str, str], source: HuggingFace, kind: Kind, *, here: bool
) -> dict[str, str]:
    """Of the files of a repository those that are loaded.

    Args:
        here: whether the files are only those that were fetched before.
    """
    where = f"huggingface({source.repository!r})"
    if source.file and not files:
        raise UnavailableError(f"has no {source.file!r} that can be loaded", where=where)
    if kind != "data":
        if not any(PurePosixPath(name).suffix.lower() in WEIGHTS for name in files):
            raise UnavailableError(
                "has no weights that can be loaded",
                where=where,
                why=f"looked for {', '.join(sorted(WEIGHTS))}{' on this machine' if here else ''}",
                help="run once without `--offline`, so that they are fetched"
                if here
                else "name a file of it that is safe to load, or a repository that has safetensors",
            )
        return dict(files)
    if source.file in files:
        return dict(files)
    inside = f"{source.file}/" if source.file else ""
    names = table_files((name.removeprefix(inside) for name in files), source)
    return {f"{inside}{name}": files[f"{inside}{name}"] for name in names}


def _compare_weights(block: Block, files: Mapping[str, str]) -> None:
    """Refuses weights that are not the ones whose sha256 the spec itself names."""
    wanted = block.sha256 if isinstance(block, Model | Sae) else None
    found = [digest for name, digest in files.items() if releases.holds_weights(name)]
    if wanted and found != [wanted.lower()]:
        raise UnavailableError(
            "the weights are not the ones that the spec pins",
            why=f"expected sha256 {wanted.lower()}, found {', '.join(found) or 'no weights'}",
            help="correct `sha256` if you know the found file to be the right one",
        )
