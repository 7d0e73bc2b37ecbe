"""What computes: the tool, Python and the libraries that a number may depend on."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

from recoverdsl.version import __version__

LIBRARIES = ("torch", "transformers", "tokenizers", "gguf", "sae-lens")
"""The libraries that a result may depend on, by the names of the package index."""


def platform(device: str) -> dict[str, str]:
    """Return what computes: a part of every digest, since a result may differ between versions."""
    return {
        "device": device.partition(":")[0],
        **{name: version_of(name) for name in LIBRARIES},
    }


def versions() -> dict[str, str]:
    """Return the version of each for a lock, by its name; none of them is imported.

    Of Python the minor version, since a bug fix leaves the meaning of a program alone. Of a library
    the release without the part after `+`, which names a build of it for a processor or a card.
    """
    libraries = {name: version_of(name).partition("+")[0] for name in (*LIBRARIES, "safetensors")}
    python = ".".join(map(str, sys.version_info[:2]))
    return dict(sorted({"recoverdsl": __version__, "python": python, **libraries}.items()))


def version_of(name: str) -> str:
    """Return the version of a package that is installed, or `missing`; it is not imported."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
