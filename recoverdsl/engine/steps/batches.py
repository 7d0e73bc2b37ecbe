"""Batches of examples: how large, kept as they finish, halved when memory runs out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import psutil
import torch
from attrs import evolve

from recoverdsl.engine.model.families import Family
from recoverdsl.errors import UnavailableError
from recoverdsl.store.steps import Entry, Part

LARGEST = 128
"""Beyond this many rows a step's matrix products gain nothing more."""


def batch_size(family: Family, tokens: int, count: int) -> int:
    """How many examples to run at once: what fits into a third of the memory, evenly split.

    Of all memory, not of what is free just now: a run that goes on later makes the same batches.

    Args:
        tokens: longest prompt.
        count: examples in all.
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


def in_batches(
    entry: Entry,
    count: int,
    size: int,
    compute: Callable[[range], Part],
    progress: Callable[[int], None],
    asked: int | None = None,
) -> list[Part]:
    """Computes what the store does not have yet, batch by batch, and keeps each as it finishes.

    Args:
        size: batch size; one that an earlier, interrupted run remembered goes before it.
        compute: makes the part of the examples in a range.
        progress: called with the number of examples done.
        asked: batch size that the person asked for; it goes before the remembered one.

    Raises:
        UnavailableError: one example alone does not fit into memory.
    """
    size = asked or entry.batch_size() or size
    entry.remember_batch_size(size)
    parts: list[Part] = []
    done = 0
    while done < count:
        part = entry.load(done)
        while part is None:
            began = time.monotonic()
            try:
                part = compute(range(done, min(done + size, count)))
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _out_of_memory(error):
                    raise
                if size == 1:
                    raise UnavailableError(
                        "there is not enough memory for one example",
                        help="take a smaller model, shorter prompts, or dtype = bfloat16",
                    ) from error
                size = max(1, size // 2)
                entry.remember_batch_size(size)
            else:
                part = evolve(part, seconds=time.monotonic() - began)
                entry.append(done, part)
        parts.append(part)
        done += len(part.rows)
        progress(done)
    return parts


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        sign in str(error) for sign in ("can't allocate memory", "ALLOC_FAILED")
    )
