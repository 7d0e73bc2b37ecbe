"""What computes: the tool, Python and the libraries that a number may depend on."""

from __future__ import annotations

import sys

import recoverdsl
from recoverdsl.sources.pins import LIBRARIES, version_of


def versions() -> dict[str, str]:
    """The version of each, by its name; none of them is imported.

    Of Python the minor version, since a bug fix leaves the meaning of a program alone. Of a library
    without the part behind `+`: it names a build, for a processor or a card, of the same release.
    """
    libraries = {name: version_of(name).partition("+")[0] for name in (*LIBRARIES, "safetensors")}
    python = ".".join(map(str, sys.version_info[:2]))
    return dict(
        sorted({"recoverdsl": recoverdsl.__version__, "python": python, **libraries}.items())
    )
