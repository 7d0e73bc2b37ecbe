"""Fixtures that several folders of tests share: one tiny audit, run once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Tiny matrices: more threads only get into each other's way. Set before torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from tests.hub import Hub, serving

# No test measures seconds: a busy machine is no mistake of the code.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest tests first, so that no process is left with them when the others are done."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True, scope="session")
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep tests from reading or filling the cache of the person who runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECOVERDSL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def cores() -> Iterator[None]:
    """Set the threads for large matrices: as many as there are cores for each process that runs
    tests."""
    import torch

    threads = torch.get_num_threads()
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def claim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return `claim.rec` in a folder with its model, SAE and prompts, which no test may change."""
    from tests.run import claims

    return claims.write(tmp_path_factory.mktemp("claim"))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Return a hub on this machine, still empty."""
    with serving(tmp_path / "hub") as hub:
        yield hub
