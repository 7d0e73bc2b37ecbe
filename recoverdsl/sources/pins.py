"""Where the blocks of a spec lie on this machine, and what pins their content."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from recoverdsl.errors import UnavailableError
from recoverdsl.language.schema import (
    Classifier,
    Data,
    File,
    Folder,
    HuggingFace,
    Model,
    PyPI,
    Release,
    Sae,
)
from recoverdsl.measure.phrases import load_phrases
from recoverdsl.sources import Fetcher, Kind
from recoverdsl.sources.data import data_digest
from recoverdsl.sources.releases import holds_weights


def pin(block: Model | Sae | Data | Classifier | File | None, fetcher: Fetcher) -> str:
    """A string that changes when the content of the block's source does.

    Local files are pinned by their content, a wheel's file by its sha256, a hub's model or SAE by
    the commit, which the hub is asked for; without the network it is the one that was fetched last,
    or, before any was, the name of the branch. No weights are downloaded; a hub's table of examples
    is, to be pinned by content.
    A file is one of phrase lists; None stands for the tool's own.
    """
    if isinstance(block, Data):
        return data_digest(block, fetcher)
    if block is None or isinstance(block, File):
        return load_phrases(fetcher.local(block.path) if block else None).digest
    source = block.source
    if isinstance(source, PyPI):
        assert isinstance(block, Model)
        return f"sha256:{block.sha256}"
    if isinstance(source, Folder):
        return f"sha256:{fetcher.digest(fetcher.folder(source))}"
    if isinstance(source, HuggingFace):
        commit = _commit(source, "sae" if isinstance(block, Sae) else "model", fetcher)
        return f"huggingface:{source.repository}@{commit}/{source.file or ''}"
    assert isinstance(source, Release)
    return f"release:{source.release}/{source.id}@{_commit(source, 'sae', fetcher)}"


def _commit(source: HuggingFace | Release, kind: Kind, fetcher: Fetcher) -> str:
    try:
        return fetcher.commit(source, kind)
    except UnavailableError:
        if not fetcher.offline:
            raise
        return (source.revision if isinstance(source, HuggingFace) else None) or "main"


def locate(block: Model | Sae | Classifier, fetcher: Fetcher) -> Path:
    """The local path of a model's, SAE's or classifier's weights, fetched if need be.

    An SAE that sae_lens knows by its release is fetched file by file, by `release_file`.

    Raises:
        UnavailableError: it cannot be had, or its sha256 is not the one that the spec names.
    """
    source = block.source
    if isinstance(source, PyPI):
        assert isinstance(block, Model)
        return fetcher.pypi(source, block.sha256)
    if isinstance(source, HuggingFace):
        path = fetcher.huggingface(source, "sae" if isinstance(block, Sae) else "model")
    else:
        assert isinstance(source, Folder)
        path = fetcher.folder(source)
    if not isinstance(block, Classifier) and block.sha256:
        _check(path, block.sha256, fetcher)
    return path


def release_file(sae: Sae, name: str, fetcher: Fetcher) -> Path:
    """A file of an SAE that sae_lens knows by its release, fetched if need be.

    Raises:
        UnavailableError: it cannot be had, or it holds the weights and its sha256 is not the one
            that the spec names.
        huggingface_hub.errors.EntryNotFoundError: there is none.
    """
    assert isinstance(sae.source, Release)
    path = fetcher.release_file(sae.source, name)
    if sae.sha256 and holds_weights(name):
        _compare([fetcher.digest(path)], sae.sha256, name)
    return path


def _check(path: Path, sha256: str, fetcher: Fetcher) -> None:
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    _compare([fetcher.digest(file) for file in files], sha256, str(path))


def _compare(found: list[str], sha256: str, where: str) -> None:
    if found != [sha256.lower()]:
        raise UnavailableError(
            "the weights are not the ones that the spec pins", where=where,
            why=f"expected sha256 {sha256.lower()}, found {', '.join(found) or 'no safetensors file'}",
            help="correct `sha256` if you know the found file to be the right one",
        )  # fmt: skip


LIBRARIES = ("torch", "transformers", "tokenizers", "gguf", "sae-lens")
"""What a result may depend on, by the names of the package index."""


def platform(device: str) -> dict[str, str]:
    """What computes: a part of every digest, since a result may differ between versions."""
    return {
        "device": device.partition(":")[0],
        **{name: version_of(name) for name in LIBRARIES},
    }


def version_of(name: str) -> str:
    """The version of a package that is installed, or `missing`; it is not imported."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
