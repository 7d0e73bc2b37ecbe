"""A fetcher for a spec in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from recoverdsl.sources.fetcher import Fetcher


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    (tmp_path / "spec").mkdir()
    return Fetcher(tmp_path / "spec", cache=tmp_path / "cache")
