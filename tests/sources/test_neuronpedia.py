"""The pages of Neuronpedia that sae_lens's table names."""

from __future__ import annotations

from typing import Any

import pytest

from recoverdsl.sources import sae_lens_table
from recoverdsl.sources.sae_lens_table import NEURONPEDIA, neuronpedia


def test_an_sae_of_the_table_has_its_page() -> None:
    found = neuronpedia("gpt2-small-res-jb", "blocks.8.hook_resid_pre")
    assert found == f"{NEURONPEDIA}gpt2-small/8-res-jb"


@pytest.mark.parametrize(
    ("release", "id"),
    [("gpt2-small-res-jb", "blocks.99.hook_resid_pre"), ("no-such-release", "blocks.8.hook_resid_pre")],
)  # fmt: skip
def test_an_unknown_sae_has_none(release: str, id: str) -> None:
    assert neuronpedia(release, id) is None


@pytest.mark.parametrize("name", [None, 7, "a", "a/b/c", 'a/b"><script>', "../a/b"])
def test_an_entry_that_is_no_page_has_none(monkeypatch: pytest.MonkeyPatch, name: Any) -> None:
    entry = {"saes": [{"id": "x", "neuronpedia": name}]}
    monkeypatch.setattr(sae_lens_table, "section", lambda release: entry)
    assert neuronpedia("release", "x") is None
