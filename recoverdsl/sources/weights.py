"""Checks of weight files: that they hold numbers alone, and that they are the pinned ones."""

from __future__ import annotations

import zipfile
from pathlib import Path

from recoverdsl.errors import UnavailableError
from recoverdsl.sources.cache import PICKLES, WEIGHTS
from recoverdsl.sources.fetcher import Fetcher

PICKLES_WHY = "pickles are never loaded, because they can run code"

_STATISTICS = "sparsity.safetensors"
"""How often each feature is active: sae_lens fetches it beside the weights."""


def holds_weights(name: str) -> bool:
    """Return whether a file of a model or an SAE holds its weights."""
    path = Path(name)
    return path.suffix.lower() in WEIGHTS | PICKLES and path.name != _STATISTICS


def check_sha256(place: Path, sha256: str | None, fetcher: Fetcher) -> None:
    """Refuse a file, or the one safetensors file of a folder, whose sha256 is not the given one."""
    if sha256:
        files = [place] if place.is_file() else sorted(place.glob("*.safetensors"))
        compare_sha256([fetcher.digest(file) for file in files], sha256, str(place))


def compare_sha256(found: list[str], sha256: str, where: str | None = None) -> None:
    """Refuse weights unless they are one file with the sha256 that the spec names."""
    if found != [sha256.lower()]:
        raise UnavailableError(
            "the weights are not the ones that the spec pins",
            where=where,
            why=f"expected sha256 {sha256.lower()}, found {', '.join(found) or 'no weight file'}",
            help="correct `sha256` if you know the found file to be the right one",
        )


def check_weights(place: Path, what: str) -> None:
    """Refuse a file or folder that holds no weights, or none that can be loaded without a pickle."""
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    if any(file.suffix.lower() in WEIGHTS and not _holds_pickles(file) for file in files):
        return
    pickles = sorted(file.name for file in files if file.suffix.lower() in PICKLES | {".npz"})
    raise UnavailableError(
        "has no safetensors" if pickles else "has no weights",
        where=what,
        why=f"found only {', '.join(pickles[:5])}; {PICKLES_WHY}"
        if pickles
        else f"looked for {', '.join(sorted(WEIGHTS))} in {place}; {PICKLES_WHY}",
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
