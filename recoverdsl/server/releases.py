"""The pretrained SAEs that sae_lens knows, read from its table without importing it, which takes seconds."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@cache
def _entries() -> dict[str, str]:
    """Each release with its part of the table, as YAML: all of it would take seconds to read."""
    spec = find_spec("sae_lens")
    table = Path(spec.origin).with_name("pretrained_saes.yaml") if spec and spec.origin else None
    if table is None or not table.is_file():
        return {}
    parts = re.split(r"^(?=[^\s#-][^\n]*:[ \t]*$)", table.read_text(encoding="utf-8"), flags=re.M)
    return {part.partition(":")[0].strip("\"'"): part for part in parts if ":" in part}


def releases() -> list[str]:
    """The names of all releases; none without sae_lens."""
    return list(_entries())


@cache
def saes(release: str) -> list[str]:
    """The ids of the SAEs in a release; none of a release that is not known."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    read: Any = yaml.load(_entries().get(release, ""), loader)
    return [str(sae["id"]) for sae in read[release]["saes"]] if read else []
