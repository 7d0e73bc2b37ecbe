"""One parse of a GGUF file where transformers would make three."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import gguf


@contextmanager
def parsed_once() -> Iterator[None]:
    """Keep what is parsed of a GGUF file, and of the names of its tensors, until the block ends.

    transformers 5.23 parses a file for the configuration, for the tokenizer and for the weights, and
    makes the table of names once for each module: most of the time that a small model takes to load.
    """
    reader, names = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader, gguf.get_tensor_name_map = cache(reader), cache(names)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = reader, names
