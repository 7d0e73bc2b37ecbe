"""Digests of files and folders, and the cache folder that remembers them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from recoverdsl.sources import cache as cache_module
from recoverdsl.sources.cache import digest_path
from recoverdsl.sources.fetcher import Fetcher

CONTENT = b"weights, or so they say"
SHA = hashlib.sha256(CONTENT).hexdigest()


def test_the_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(CONTENT)
    assert digest_path(tmp_path / "w", cache=tmp_path / "cache") == SHA


def test_the_digest_of_a_folder_covers_names_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "sae"
    (folder / "b").mkdir(parents=True)

    def digest() -> str:
        return digest_path(folder, cache=tmp_path / "cache")

    (folder / "w.safetensors").write_bytes(b"1")
    seen = [digest()]
    (folder / "w.safetensors").write_bytes(b"2")
    seen.append(digest())
    (folder / "w.safetensors").rename(folder / "b" / "w.safetensors")
    seen.append(digest())
    assert len(set(seen)) == 3
    (folder / "README.md").write_text("not loaded")
    assert digest() == seen[-1]


def test_a_large_file_is_read_once_and_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_STAMPED_FROM", 0)
    monkeypatch.setattr(cache_module, "_SETTLED_NS", -1)
    read = cache_module._read_digest
    reads: list[Path] = []
    monkeypatch.setattr(
        cache_module, "_read_digest", lambda path: (reads.append(path), read(path))[1]
    )
    file = tmp_path / "w"
    file.write_bytes(CONTENT)
    before = file.stat()
    assert {digest_path(file, cache=tmp_path / "cache") for _ in range(3)} == {SHA}
    assert len(reads) == 1
    file.write_bytes(CONTENT.upper())
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (
        digest_path(file, cache=tmp_path / "cache") == hashlib.sha256(CONTENT.upper()).hexdigest()
    )


def test_a_cache_that_cannot_be_written_only_costs_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_STAMPED_FROM", 0)
    monkeypatch.setattr(cache_module, "_SETTLED_NS", -1)
    (tmp_path / "w").write_bytes(CONTENT)
    assert digest_path(tmp_path / "w", cache=tmp_path / "w" / "not-a-folder") == SHA


def test_the_environment_moves_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECOVERDSL_CACHE", str(tmp_path / "elsewhere"))
    assert Fetcher(tmp_path).cache == tmp_path / "elsewhere"
