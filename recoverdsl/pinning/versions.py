"""The software that a number may depend on: the tool, Python and libraries."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

from recoverdsl.version import __version__

LIBRARIES = ("torch", "transformers", "tokenizers", "gguf", "sae-lens")
"""The libraries that a result may depend on, by the names of the package index."""


def platform(device: str) -> dict[str, str]:
    """Return the device and the libraries, which are in every digest: a result may depend on them."""
    return {
        "device": device.partition(":")[0],
        **{name: version_of(name) for name in LIBRARIES},
    }


def versions() -> dict[str, str]:
    """Return the versions that a lock records, by name; nothing is imported.

    Python has its minor version, since a bug fix does not change the meaning of a program. A library
    has its release without the part after `+`, which names a build for a processor or a card.
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
