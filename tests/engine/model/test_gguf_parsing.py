"""A GGUF file is parsed once while a model is loaded, and the library is as it was afterwards."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from recoverdsl.engine.model.gguf_parsing import parsed_once


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a GGUF file with one tensor."""
    writer = gguf.GGUFWriter(tmp_path / "tiny.gguf", "llama")
    writer.add_block_count(1)
    writer.add_tensor("output.weight", np.ones((2, 2), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "tiny.gguf"


def test_a_file_is_parsed_once_and_holds_what_it_held(file: Path) -> None:
    alone = gguf.GGUFReader(file)
    with parsed_once():
        first, second = gguf.GGUFReader(file), gguf.GGUFReader(file)
        names = [gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 1) for _ in range(2)]
    assert first is second
    assert names[0] is names[1]
    assert list(first.fields) == list(alone.fields)
    assert [t.name for t in first.tensors] == [t.name for t in alone.tensors]


def test_the_library_is_as_it_was_also_after_an_error(file: Path) -> None:
    before = gguf.GGUFReader, gguf.get_tensor_name_map
    with pytest.raises(FileNotFoundError), parsed_once():
        gguf.GGUFReader(file.with_name("absent.gguf"))
    assert (gguf.GGUFReader, gguf.get_tensor_name_map) == before
