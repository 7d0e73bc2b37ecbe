"""Paths beside the spec: none leads out of its folder, and no pickle is taken."""

from __future__ import annotations

import pickle
from pathlib import Path

import attrs
import numpy as np
import pytest

from recoverdsl.errors import SpecError, UnavailableError
from recoverdsl.language.schema import Folder
from recoverdsl.sources.fetcher import Fetcher
from recoverdsl.sources.local import LocalFolder


def locate(path: str, fetcher: Fetcher) -> Path:
    return LocalFolder(Folder(path), "sae").locate(fetcher)


def test_a_folder_is_relative_to_the_spec(fetcher: Fetcher, tmp_path: Path) -> None:
    (tmp_path / "spec" / "sae").mkdir()
    (tmp_path / "spec" / "sae" / "sae_weights.safetensors").write_bytes(b"x")
    assert locate("sae", fetcher) == (tmp_path / "spec" / "sae").resolve()


@pytest.mark.parametrize("path", ["../outside", "link", "sae/../../outside", "{absolute}", "held"])
def test_a_path_that_leaves_the_spec_is_refused(
    fetcher: Fetcher, tmp_path: Path, path: str
) -> None:
    outside, held = tmp_path / "outside", tmp_path / "spec" / "held"
    outside.mkdir()
    held.mkdir()
    (outside / "w.safetensors").write_bytes(b"x")
    (tmp_path / "spec" / "link").symlink_to(outside)
    (held / "w.safetensors").symlink_to(outside / "w.safetensors")
    path = path.format(absolute=outside)
    with pytest.raises(SpecError, match="--allow-outside"):
        locate(path, fetcher)
    assert locate(path, attrs.evolve(fetcher, allow_outside=True)).is_dir()


@pytest.mark.parametrize("path", ["missing", "a\0b"])
def test_a_path_that_is_not_there(fetcher: Fetcher, path: str) -> None:
    with pytest.raises((UnavailableError, SpecError), match=r"does not exist|not a path"):
        locate(path, fetcher)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "sae.pt", "model.pth", "last.ckpt", "sae.PKL", "params.npz"]
)
def test_pickles_are_refused(fetcher: Fetcher, tmp_path: Path, name: str) -> None:
    sae = tmp_path / "spec" / "sae"
    sae.mkdir()
    if name.endswith("npz"):
        np.savez(sae / name, w=np.array([{"a": 1}], dtype=object))
    else:
        (sae / name).write_bytes(pickle.dumps({}))
    (sae / "cfg.json").write_text("{}")
    with pytest.raises(UnavailableError, match="they can run code") as caught:
        locate("sae", fetcher)
    assert name in str(caught.value)


def test_arrays_without_objects_are_weights(fetcher: Fetcher, tmp_path: Path) -> None:
    np.savez(tmp_path / "spec" / "params.npz", w=np.zeros(3, dtype=np.float32))
    assert locate("params.npz", fetcher).name == "params.npz"
