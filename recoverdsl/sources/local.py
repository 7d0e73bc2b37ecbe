"""Paths beside the spec."""

from __future__ import annotations

from pathlib import Path

from recoverdsl.errors import SpecError, UnavailableError
from recoverdsl.language.schema import File, Folder
from recoverdsl.sources.access import Access
from recoverdsl.sources.weights import check_weights


def find(access: Access, path: str) -> Path:
    """An existing path beside the spec, with symbolic links resolved."""
    try:
        place = (access.spec_folder / path).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise SpecError(f"{path!r} is not a path", why=str(error)) from error
    _refuse_outside(access, place, path)
    if not place.exists():
        raise UnavailableError(f"{path!r} does not exist", why=f"looked for {place}")
    return place


def find_file(access: Access, source: File) -> Path:
    """A file, and no folder."""
    place = find(access, source.path)
    if not place.is_file():
        raise UnavailableError(f"{source.path!r} is not a file", why=f"found {place}")
    return place


def find_folder(access: Access, source: Folder) -> Path:
    """A folder, or a single weight file, with the weights of a model or an SAE."""
    place = find(access, source.path)
    if place.is_dir():
        for inner in place.rglob("*"):
            if inner.is_symlink():
                _refuse_outside(
                    access, inner.resolve(), f"{source.path}/{inner.relative_to(place)}"
                )
    check_weights(place, f"folder({source.path!r})")
    return place


def _refuse_outside(access: Access, place: Path, path: str) -> None:
    if not access.allow_outside and not place.is_relative_to(access.spec_folder):
        raise SpecError(
            f"{path!r} leaves the folder of the spec",
            why=f"it leads to {place}, outside {access.spec_folder}",
            help="move it beside the spec, or allow such paths with `--allow-outside`",
        )
