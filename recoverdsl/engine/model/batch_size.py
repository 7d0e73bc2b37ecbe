"""How many examples fit into memory at once."""

from __future__ import annotations

import math

import psutil
import torch

from recoverdsl.engine.model.families import Family

LARGEST = 128
"""The most rows of a batch: a step's matrix products gain nothing from more."""


def batch_size(family: Family, tokens: int, count: int) -> int:
    """Return how many examples to run at once: as many as fit into a third of the memory, evenly split.

    All memory counts, not what is free just now, so that a resumed run makes the same batches.

    Args:
        tokens: length of the longest prompt, in tokens.
        count: number of examples in all.
    """
    # A gradient through all layers keeps about 24 vectors of the residual stream's width per token
    # and layer, and 6 of the feed-forward layer's, which is about four times as wide.
    floats = tokens * family.n_layers * family.d_model * (24 + 6 * 4)
    needed = floats * family.dtype.itemsize
    if family.device.type == "cuda":
        _, memory = torch.cuda.mem_get_info(family.device)
    else:
        memory = psutil.virtual_memory().total
    fitting = max(1, min(LARGEST, int(memory / 3 / needed)))
    return math.ceil(count / math.ceil(count / fitting)) if count else 1
