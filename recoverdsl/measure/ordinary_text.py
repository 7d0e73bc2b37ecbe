"""The ordinary texts that ship with the tool, on which the side effects of a clamp are measured."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import resources


@cache
def ordinary_texts() -> tuple[str, ...]:
    """Return the texts of `ordinary_text.txt` next to this module, which empty lines separate.

    They are written for this project, in English, and harmless: prose, letters, recipes, dialogue and
    some code. Nothing may rank features on them, or be tested on them.
    """
    file = resources.files("recoverdsl.measure").joinpath("ordinary_text.txt")
    return tuple(file.read_text(encoding="utf-8").strip().split("\n\n"))


def digest_of(count: int) -> str:
    """Return the sha256 of the first `count` texts, as 64 hexadecimal digits."""
    content = json.dumps(ordinary_texts()[:count], ensure_ascii=True)
    return hashlib.sha256(content.encode("ascii")).hexdigest()
