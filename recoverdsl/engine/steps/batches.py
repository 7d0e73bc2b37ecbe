"""Batches of examples, stored as they finish, and halved when memory runs out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch
from attrs import evolve

from recoverdsl.errors import UnavailableError
from recoverdsl.store.steps import Entry, Part

R = TypeVar("R")


def in_batches(
    entry: Entry,
    kind: type[R],
    count: int,
    size: int,
    compute: Callable[[range], Part[R]],
    progress: Callable[[int], None],
    requested: int | None = None,
) -> list[Part[R]]:
    """Compute the batches that the store does not have, store each as it finishes, and return all.

    Args:
        kind: the class of the step's record.
        count: number of examples in all.
        size: batch size, unless an earlier, interrupted run has stored another one.
        compute: returns the part of the examples in a range.
        progress: called with the number of examples done.
        requested: batch size that the user requested, whatever an earlier run has stored.

    Raises:
        UnavailableError: one example alone does not fit into memory.
    """
    size = requested or entry.batch_size() or size
    entry.remember_batch_size(size)
    parts: list[Part[R]] = []
    done = 0
    while done < count:
        part = entry.load(done, kind)
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
        done += part.count
        progress(done)
    return parts


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        sign in str(error) for sign in ("can't allocate memory", "ALLOC_FAILED")
    )
