"""The folder that a run writes: everything that the verdict rests on, without the text of prompts and
completions unless the run reveals them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from recoverdsl.store.steps import guarded, write_atomically

if TYPE_CHECKING:
    from torch import Tensor


def private(folder: Path) -> None:
    """Make a folder, and the missing ones above it, which only their owner may enter.

    An existing folder stays as it is.

    Raises:
        UnavailableError: it cannot be made.
    """

    def make() -> None:
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        for place in reversed(missing):
            place.mkdir(mode=0o700, exist_ok=True)

    guarded(folder, make)


@frozen(eq=False)
class Perturbations:
    """The δ of one attack or control at one limit, or a part of it."""

    name: str
    """`ATTACK/LIMIT`, `ATTACK/smallest` or `ATTACK/LIMIT/PART`; `CONTROL/unconstrained/LIMIT` for random
    directions without the constraint. Of several random draws it is the first."""
    delta_BLPD: Tensor
    """(examples, sites, columns, d_model), float32."""
    examples: Sequence[str]
    """Ids of the examples, in the order of the first dimension."""
    boundaries: Sequence[int]
    """Of the residual stream, in the order of the second dimension; the output of layer L is boundary
    L + 1."""
    columns_after_prompt: int
    """How many of the columns come after the prompt: the one before those is the prompt's last token."""


@frozen
class RunFolder:
    """Writes the files of a run. A file exists whole or not at all."""

    path: Path

    def clear(self) -> None:
        """Remove the files of an earlier run, so that no verdict lies beside another spec."""

        def remove() -> None:
            for name in (
                "result.json", "report.html", "environment.json", "examples.parquet",
                "perturbations.safetensors", "texts.jsonl", "sweep.json", "sweep.csv",
                "spec.rec.lock",
            ):  # fmt: skip
                (self.path / name).unlink(missing_ok=True)
                # Remains of a run that was killed while it wrote.
                for unfinished in self.path.glob(f".{name}.*"):
                    unfinished.unlink(missing_ok=True)

        guarded(self.path, remove)

    def spec(self, text: str) -> None:
        """Write `spec.rec`: the spec as run."""
        write_atomically(self.path / "spec.rec", text.encode())

    def lock(self, text: str) -> None:
        """Write `spec.rec.lock`: the lock that the run enforced."""
        write_atomically(self.path / "spec.rec.lock", text.encode())

    def result(self, text: str) -> None:
        """Write `result.json`, schema `recoverdsl/result/2`."""
        write_atomically(self.path / "result.json", text.encode())

    def sweep(self, text: str, table: str) -> None:
        """Write `sweep.json`, schema `recoverdsl/sweep/2`, and its figures as one table in `sweep.csv`."""
        write_atomically(self.path / "sweep.csv", table.encode())
        write_atomically(self.path / "sweep.json", text.encode())

    def point(self, number: int) -> RunFolder:
        """Return the folder of one point of a sweep, numbered from 1."""
        return RunFolder(self.path / "points" / f"{number:03}")

    def environment(self, environment: Mapping[str, Any]) -> None:
        """Write `environment.json`: versions, device, threads, dtype, batch sizes, digests."""
        text = json.dumps(environment, indent=2, ensure_ascii=False) + "\n"
        write_atomically(self.path / "environment.json", text.encode())

    def report(self, html: str) -> None:
        """Write `report.html`, self-contained."""
        write_atomically(self.path / "report.html", html.encode())

    def texts(self, lines: str) -> None:
        """Write `texts.jsonl`: prompts and completions, of a run that reveals them."""
        write_atomically(self.path / "texts.jsonl", lines.encode())

    def examples(self, parquet: bytes) -> None:
        """Write `examples.parquet`: one row per example and attack."""
        write_atomically(self.path / "examples.parquet", parquet)

    def perturbations(self, deltas: Sequence[Perturbations]) -> None:
        """Write `perturbations.safetensors`: δ by attack and limit, float32.

        The header's `perturbations` says of each tensor: `examples`, `boundaries`, and
        `columns_behind_prompt`, see `Perturbations`.
        """
        from safetensors.torch import save

        # In one entry, since several are written in no fixed order.
        described = {
            delta.name: {
                "examples": list(delta.examples),
                "boundaries": list(delta.boundaries),
                "columns_behind_prompt": delta.columns_after_prompt,
            }
            for delta in deltas
        }
        metadata = {"perturbations": json.dumps(described)}
        content = save(
            {delta.name: delta.delta_BLPD.contiguous() for delta in deltas}, metadata=metadata
        )
        write_atomically(self.path / "perturbations.safetensors", content)

    def event(self, **event: Any) -> None:
        """Append a line to `events.jsonl`, the log of the run."""
        line = json.dumps({"time": round(time.time(), 3), **event}, ensure_ascii=False) + "\n"

        def append() -> None:
            self.path.mkdir(parents=True, exist_ok=True)
            with (self.path / "events.jsonl").open("ab") as file:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())

        guarded(self.path / "events.jsonl", append)
