"""A claim that a test may break, and the same claim with its model, SAE and prompts on the hub."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from attrs import frozen

from tests.hub import Hub
from tests.run import claims

SOURCES = {
    'folder("model")': 'huggingface("someone/tiny")',
    'folder("sae")': 'release("someone/saes", id = "layer1")',
    'file("prompts.jsonl")': 'huggingface("someone/prompts")',
}


@pytest.fixture
def own(claim: Path, tmp_path: Path) -> Path:
    """A copy of the claim, with model, SAE and prompts beside it."""
    shutil.copytree(claim.parent, tmp_path / "own")
    return tmp_path / "own" / claim.name


@frozen
class Published:
    """A claim whose sources are on the hub."""

    spec: Path
    hub: Hub
    model: dict[str, bytes]
    sae: dict[str, bytes]
    prompts: dict[str, bytes]

    def publish(self) -> None:
        self.hub.commit("someone/tiny", self.model)
        self.hub.commit("someone/saes", self.sae)
        self.hub.commit("datasets/someone/prompts", self.prompts)


@pytest.fixture
def published(claim: Path, tmp_path: Path, hub: Hub) -> Published:
    text = claims.SPEC
    for local, remote in SOURCES.items():
        assert local in text
        text = text.replace(local, remote)
    spec = tmp_path / "published" / claim.name
    spec.parent.mkdir()
    spec.write_text(text)
    made = Published(
        spec,
        hub,
        {file.name: file.read_bytes() for file in (claim.parent / "model").iterdir()},
        {f"layer1/{file.name}": file.read_bytes() for file in (claim.parent / "sae").iterdir()},
        {"prompts.jsonl": (claim.parent / "prompts.jsonl").read_bytes()},
    )
    made.publish()
    return made
