"""The store: one folder per step digest, filled part by part.

    <store>/<digest>/part-00000.safetensors    tensors, and rows of figures as JSON in the header
    <store>/<digest>/step.json                 what the step was; written when the last part is

A part is one batch of examples. It appears whole or not at all (written aside, then renamed), so a
run killed at any moment finds every finished batch again. Parts are numbered, and a batch's examples
follow from its number, so a resumed run computes the same batches as an undisturbed one.
"""

from __future__ import annotations

import errno
import json
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen
from filelock import FileLock

from recoverdsl.errors import UnavailableError

if TYPE_CHECKING:
    from torch import Tensor

Row = dict[str, Any]


@frozen(eq=False)
class Part:
    """One batch of a step's result: rows of figures, and tensors whose first dimension is the batch."""

    rows: Sequence[Row]
    tensors: Mapping[str, Tensor]


@frozen
class Store:
    """Results of steps in a folder. Text of prompts and completions never enters it."""

    root: Path

    def entry(self, digest: str) -> Entry:
        return Entry(self.root / digest)


@frozen
class Entry:
    """The result of one step."""

    folder: Path

    @property
    def done(self) -> bool:
        return (self.folder / "step.json").exists()

    @property
    def begun(self) -> bool:
        return self._part(0).exists()

    def lock(self) -> FileLock:
        """Held while a step runs, so that a second run of the same spec waits and then finds it done."""
        _guarded(self.folder, lambda: self.folder.mkdir(parents=True, exist_ok=True))
        return FileLock(self.folder / "lock")

    def load(self, index: int) -> Part | None:
        """Part `index`, or None if it is not there or not whole."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self._part(index)
        if not path.exists():
            return None
        try:
            return Part(json.loads(_header(path)["rows"]), load_file(path))
        except (SafetensorError, OSError, ValueError, KeyError, struct.error):
            path.unlink(missing_ok=True)  # torn by a crash of the machine: computed again
            return None

    def append(self, index: int, part: Part) -> None:
        from safetensors.torch import save

        rows = json.dumps(list(part.rows), allow_nan=True)
        tensors = {
            name: tensor.detach().cpu().contiguous() for name, tensor in part.tensors.items()
        }
        write_atomically(self._part(index), save(tensors, metadata={"rows": rows}))

    def finish(self, parts: int, description: Mapping[str, Any]) -> None:
        """Marks the result as whole."""
        content = {"parts": parts, **description}
        write_atomically(self.folder / "step.json", (json.dumps(content, indent=2) + "\n").encode())

    def parts(self) -> list[Part]:
        """All parts of a finished step, in order; empty if a part was lost, and then no longer done."""
        count = json.loads((self.folder / "step.json").read_text())["parts"]
        parts = [self.load(index) for index in range(count)]
        if any(part is None for part in parts):
            (self.folder / "step.json").unlink()
            return []
        return [part for part in parts if part is not None]

    def remember_batch_size(self, size: int) -> None:
        """Keeps the batch size, so that a resumed run makes the same batches."""
        write_atomically(self.folder / "batch_size", str(size).encode())

    def batch_size(self) -> int | None:
        try:
            return int((self.folder / "batch_size").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _part(self, index: int) -> Path:
        return self.folder / f"part-{index:05d}.safetensors"


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file that is there whole or not at all, also after a power cut.

    Raises:
        UnavailableError: the disk is full or the folder cannot be written.
    """

    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not from tempfile, whose files nobody else may read.
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    _guarded(path, write)


def _guarded(path: Path, action: Any) -> None:
    try:
        action()
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise UnavailableError(
            "the disk is full" if full else "this cannot be written",
            where=str(path), why=error.strerror or str(error),
            help="make room and run again: finished batches are kept" if full
            else "choose another place with --out or --store",
        ) from error  # fmt: skip


def _header(path: Path) -> dict[str, str]:
    """The metadata in a safetensors header."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, dict[str, str]] = json.loads(file.read(length))
    return header["__metadata__"]
