"""Seeds of examples, the same whatever batch an example is in."""

from __future__ import annotations

import hashlib


def seed_of(seed: int, example: str, stage: int = 0) -> int:
    """Return an example's own seed, in [0, 2⁴⁸)."""
    text = f"{seed}:{example}" + (f":{stage}" if stage else "")
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
