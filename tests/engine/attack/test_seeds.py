"""The seed of an example, computed a second time."""

from __future__ import annotations

import hashlib

from recoverdsl.engine.attack.seeds import seed_of


def test_a_seed_is_the_beginning_of_a_digest_of_its_parts() -> None:
    """Stored results hold draws of these seeds: another way to make them would be another result."""
    assert seed_of(3, "e1") == int(hashlib.sha256(b"3:e1").hexdigest()[:12], 16)
    assert seed_of(3, "e1", 0) == seed_of(3, "e1")
    assert seed_of(3, "e1", 2) == int(hashlib.sha256(b"3:e1:2").hexdigest()[:12], 16)
