"""Digests follow the content of the files that a spec names, and nothing else about them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import recoverdsl
from recoverdsl.compiler.graph import Graph
from tests.compiler.test_digests import changed, dependents


@pytest.fixture
def spec(claim: Path, tmp_path: Path) -> Path:
    shutil.copytree(claim.parent, tmp_path / "own")
    return tmp_path / "own" / claim.name


def graph_of(spec: Path) -> Graph:
    return recoverdsl.load(spec).graph("cpu")


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def edit_config(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "added": 1}))


@pytest.mark.parametrize(
    ("file", "change", "loader"),
    [
        ("sae/sae_weights.safetensors", flip_last_byte, "load SAE mid"),
        ("sae/cfg.json", edit_config, "load SAE mid"),
        ("model/model.safetensors", flip_last_byte, "load model tiny"),
        ("model/tokenizer.json", edit_config, "load model tiny"),
        ("prompts.jsonl", flip_last_byte, "load data prompts"),
    ],
)
def test_changed_content_changes_the_digests_of_all_that_takes_from_it(
    spec: Path, file: str, change: Callable[[Path], None], loader: str
) -> None:
    before = graph_of(spec)
    change(spec.parent / file)
    after = graph_of(spec)
    assert changed(before, after) == dependents(after, loader)


def test_the_time_and_the_place_of_files_change_no_digest(spec: Path, tmp_path: Path) -> None:
    before = graph_of(spec)
    moved = Path(shutil.move(spec.parent, tmp_path / "moved")) / spec.name
    for path in moved.parent.rglob("*"):
        os.utime(path, (1, 1))
    (moved.parent / "sae/notes.md").write_text("nothing that is loaded")
    assert not changed(before, graph_of(moved))


def test_a_device_of_the_same_kind_changes_no_digest(spec: Path) -> None:
    audit = recoverdsl.load(spec)
    assert not changed(audit.graph("cuda:0"), audit.graph("cuda:1"))
    assert changed(audit.graph("cpu"), audit.graph("cuda")) == set(audit.graph("cpu").nodes)
