"""The store: one folder per step digest, filled part by part.

    <store>/<digest>/part-00000.safetensors    tensors, and the rest of its record as JSON in the header
    <store>/<digest>/step.json                 what the step was; written when the last part is
    <store>/<digest>/batch_size                so that a resumed run makes the same batches

A part is one batch of examples. It appears whole or not at all (written aside, then renamed), so a
run killed at any moment finds every finished batch again. A part's number is that of its first
example, so that whatever becomes of other parts and of the batch size, no example is taken twice.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from attrs import frozen
from filelock import FileLock

from recoverdsl.errors import UnavailableError

R = TypeVar("R")


@frozen(eq=False)
class Part(Generic[R]):
    """One batch of a step's result."""

    count: int
    """How many examples it has."""
    record: R
    """See `store.records`."""
    seconds: float = 0.0
    """How long it took to compute."""


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

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold a lock while a step runs, so that a second run of the same spec waits and finds it done."""
        lock = FileLock(self.folder / "lock")

        def acquire() -> None:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock.acquire()

        guarded(self.folder, acquire)
        try:
            yield
        finally:
            lock.release()

    def load(self, first: int, kind: type[R]) -> Part[R] | None:
        """Return the part that begins with example `first`, or None if it is not there or not whole.

        Args:
            kind: the class of the record that it holds.
        """
        from cattrs import BaseValidationError
        from safetensors import SafetensorError, safe_open

        from recoverdsl.store.records import unpack

        path = self._part(first)
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            record = unpack(kind, metadata["record"], tensors)
            return Part(int(metadata["count"]), record, float(metadata["seconds"]))
        except (
            SafetensorError, BaseValidationError, OSError, ValueError, KeyError, TypeError,
        ):  # fmt: skip
            path.unlink(missing_ok=True)  # torn by a crash of the machine: computed again
            return None

    def append(self, first: int, part: Part[Any]) -> None:
        """Keep the part that begins with example `first`."""
        from safetensors.torch import save

        from recoverdsl.store.records import pack

        record, tensors = pack(part.record)
        metadata = {
            "count": str(part.count), "record": record, "seconds": f"{part.seconds:.3f}",
        }  # fmt: skip
        write_atomically(self._part(first), save(tensors, metadata=metadata))

    def finish(self, parts: int, description: Mapping[str, Any]) -> None:
        """Mark the result as complete."""
        content = {"parts": parts, **description}
        write_atomically(self.folder / "step.json", (json.dumps(content, indent=2) + "\n").encode())

    def parts(self, kind: type[R]) -> list[Part[R]]:
        """Return all parts of a finished step, in order; none if a part was lost, and then the step is
        no longer done."""
        try:
            count = int(json.loads((self.folder / "step.json").read_text())["parts"])
        except (OSError, ValueError, KeyError, TypeError):
            count = None
        parts: list[Part[R]] = []
        first = 0
        while count is not None and len(parts) < count and (part := self.load(first, kind)):
            parts.append(part)
            first += part.count
        if len(parts) == count:
            return parts
        (self.folder / "step.json").unlink(missing_ok=True)
        return []

    def remember_batch_size(self, size: int) -> None:
        """Keep the batch size, so that a resumed run makes the same batches."""
        write_atomically(self.folder / "batch_size", str(size).encode())

    def batch_size(self) -> int | None:
        try:
            return int((self.folder / "batch_size").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _part(self, first: int) -> Path:
        return self.folder / f"part-{first:05d}.safetensors"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that exists whole or not at all, even after a power cut.

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

    guarded(path, write)


def guarded(path: Path, action: Callable[[], object]) -> None:
    """Run an action that writes to `path`, and report it if that cannot be written."""
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
