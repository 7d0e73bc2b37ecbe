"""sae_lens's table of pretrained SAEs, read without importing sae_lens, which takes seconds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recoverdsl.errors import UnavailableError

NEURONPEDIA = "https://www.neuronpedia.org/"


def releases() -> list[str]:
    """Return the names of all releases."""
    return re.findall(r"^(\S+):$", text(), re.MULTILINE)


@cache
def section(release: str) -> Mapping[str, Any] | None:
    """Return the entry of one release; None if there is none. Reading the whole table would take a second."""
    import yaml

    found = re.search(rf"^{re.escape(release)}:\n(?:[ -].*\n)+", text(), re.MULTILINE)
    if not found:
        return None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    read: Mapping[str, Any] = yaml.load(found[0], Loader=loader)[release]
    return read


def neuronpedia(release: str, id: str) -> str | None:
    """Return the address of an SAE's features on Neuronpedia; None if the table has none."""
    saes = (section(release) or {}).get("saes", ())
    name = next((sae.get("neuronpedia") for sae in saes if sae.get("id") == id), None)
    known = isinstance(name, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", name)
    return f"{NEURONPEDIA}{name}" if known else None


@cache
def text() -> str:
    """Return the whole table as YAML.

    Raises:
        UnavailableError: sae_lens is not installed, or does not have it where it should be.
    """
    found = find_spec("sae_lens")
    path = Path(found.origin).with_name("pretrained_saes.yaml") if found and found.origin else None
    if path is None or not path.is_file():
        raise UnavailableError(
            "the table of pretrained SAEs was not found", why="it ships with sae_lens"
        )
    return path.read_text(encoding="utf-8")
