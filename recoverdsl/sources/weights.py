"""Which weight files are safe to load: those that hold numbers alone."""

from __future__ import annotations

import zipfile
from pathlib import Path

from recoverdsl.errors import UnavailableError
from recoverdsl.sources.cache import PICKLES, WEIGHTS

PICKLES_WHY = "pickles are never loaded, because they can run code"


def check_weights(place: Path, what: str) -> None:
    """Refuses a file or folder whose weights can be had only by loading a pickle, or not at all."""
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
