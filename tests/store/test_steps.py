"""The store: parts are there whole or not at all, and a part that was lost is computed again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from attrs import frozen
from torch import Tensor

from recoverdsl.engine.steps.batches import in_batches
from recoverdsl.errors import UnavailableError
from recoverdsl.store.run_folder import RunFolder
from recoverdsl.store.steps import Entry, Part, Store, write_atomically


@frozen
class Row:
    example: str
    score: float | None = None
    failed: str | None = None


@frozen(eq=False)
class Numbered:
    """A record whose every figure says which example it is of."""

    rows: tuple[Row, ...]
    value_B: Tensor


@frozen(eq=False)
class Perturbed:
    rows: tuple[Row, ...]
    delta_BLD: Tensor
    ids_B: Tensor


def part_of(batch: range) -> Part[Numbered]:
    rows = tuple(Row(f"{index:04d}") for index in batch)
    return Part(len(batch), Numbered(rows, torch.tensor([float(index) for index in batch])))


def parts_of(entry: Entry) -> list[Part[Numbered]]:
    return entry.parts(Numbered)


def fill(entry: Entry, count: int = 10, size: int = 4) -> list[range]:
    """Computes what the entry lacks of `count` examples; gives the batches that were computed."""
    computed: list[range] = []

    def compute(batch: range) -> Part[Numbered]:
        computed.append(batch)
        return part_of(batch)

    made = in_batches(entry, Numbered, count, size, compute, lambda done: None)
    entry.finish(len(made), {})
    return computed


def examples(parts: list[Part[Numbered]]) -> list[int]:
    """Examples of the parts; rows, tensors and counts have to agree."""
    from_rows = [int(row.example) for part in parts for row in part.record.rows]
    assert from_rows == [int(value) for part in parts for value in part.record.value_B]
    assert [part.count for part in parts] == [len(part.record.rows) for part in parts]
    return from_rows


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    return Store(tmp_path / "store").entry("0123")


def test_a_part_comes_back_as_it_was_written(entry: Entry) -> None:
    rows = (Row("a", float("nan"), "overflow"), Row("б", 1e-30))
    delta = torch.randn(2, 3, 4)
    entry.append(0, Part(2, Perturbed(rows, delta, torch.tensor([7, 9])), 1.5))
    found = entry.load(0, Perturbed)
    assert found is not None
    assert (found.count, found.seconds) == (2, 1.5)
    assert repr(found.record.rows) == repr(rows)
    assert torch.equal(found.record.delta_BLD, delta)
    assert found.record.ids_B.dtype == torch.int64
    assert found.record.ids_B.tolist() == [7, 9]


def test_a_part_of_another_record_is_computed_again(entry: Entry) -> None:
    fill(entry)
    assert entry.load(0, Perturbed) is None
    assert entry.parts(Numbered) == []
    assert fill(entry) == [range(4)]
    assert examples(parts_of(entry)) == list(range(10))


def test_a_finished_step_gives_its_parts_in_order(entry: Entry) -> None:
    assert not entry.done and not entry.begun
    fill(entry)
    assert entry.done and entry.begun
    assert examples(parts_of(entry)) == list(range(10))


def test_a_step_over_no_examples_is_finished_and_empty(entry: Entry) -> None:
    assert fill(entry, count=0) == []
    assert entry.done
    assert parts_of(entry) == []
    assert entry.done


def files(entry: Entry) -> list[Path]:
    return sorted(entry.folder.glob("part-*"))


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.unlink(), id="lost"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:5]), id="cut in the length"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:40]), id="cut in the header"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-1]), id="cut at the end"),
        pytest.param(lambda path: path.write_bytes(b"\0" * 4096), id="zeros"),
        pytest.param(lambda path: path.write_bytes(b"\xff" * 64), id="a length beyond all bounds"),
        pytest.param(
            lambda path: path.write_bytes(b"\x02" + b"\0" * 7 + b"[]"), id="another header"
        ),
    ],
)
def test_a_torn_part_of_a_finished_step_alone_is_computed_again(
    entry: Entry, damage, at: int
) -> None:
    batches = fill(entry)
    damage(files(entry)[at])
    assert parts_of(entry) == []
    assert not entry.done
    assert fill(entry) == [batches[at]]
    assert examples(parts_of(entry)) == list(range(10))


@pytest.mark.parametrize("content", ["", "{", "{}", "[]"])
def test_a_torn_mark_of_a_finished_step_makes_it_run_again_from_its_parts(
    entry: Entry, content: str
) -> None:
    fill(entry)
    (entry.folder / "step.json").write_text(content)
    assert parts_of(entry) == []
    assert not entry.done
    assert fill(entry) == []
    assert examples(parts_of(entry)) == list(range(10))


def test_a_resumed_step_keeps_the_batch_size_that_it_began_with(entry: Entry) -> None:
    fill(entry, count=8, size=4)
    (entry.folder / "step.json").unlink()
    assert fill(entry, count=10, size=7) == [range(8, 10)]


def out_of_memory_at(size: int, entry: Entry) -> None:
    """Fills an entry while batches of `size` examples, but for the first, do not fit."""

    def compute(batch: range) -> Part[Numbered]:
        if len(batch) >= size and batch.start:
            raise torch.OutOfMemoryError("no")
        return part_of(batch)

    entry.finish(len(in_batches(entry, Numbered, 10, 4, compute, lambda done: None)), {})


def test_batches_are_halved_when_memory_runs_out(entry: Entry) -> None:
    out_of_memory_at(4, entry)
    assert [part.count for part in parts_of(entry)] == [4, 2, 2, 2]
    assert entry.batch_size() == 2


def test_a_part_lost_from_before_the_batches_were_halved_leaves_no_example_out_or_twice(
    entry: Entry,
) -> None:
    out_of_memory_at(4, entry)
    files(entry)[0].unlink()
    assert parts_of(entry) == []
    fill(entry)
    assert examples(parts_of(entry)) == list(range(10))


def test_a_lost_part_and_batch_size_leave_no_example_out_or_twice(entry: Entry) -> None:
    fill(entry)
    files(entry)[1].unlink()
    (entry.folder / "batch_size").unlink()
    parts_of(entry)
    fill(entry, size=5)
    assert examples(parts_of(entry)) == list(range(10))


# --- A disk that is full, or cannot be written ---


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    write_atomically(tmp_path / "file", b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(UnavailableError, match="the disk is full") as caught:
        write_atomically(tmp_path / "file", b"new")
    assert caught.value.exit_code == 3
    assert "finished batches are kept" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_full_disk_is_named_for_events_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnavailableError, match="the disk is full"):
        RunFolder(tmp_path).event(event="began")


def test_a_store_that_is_a_file_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    entry = Store(tmp_path / "store").entry("0123")
    with pytest.raises(UnavailableError, match="cannot be written") as caught, entry.lock():
        pass
    assert "--store" in str(caught.value)


def test_a_lock_that_cannot_be_made_is_refused_with_advice(tmp_path: Path) -> None:
    entry = Store(tmp_path).entry("0123")
    (entry.folder / "lock").mkdir(parents=True)
    with pytest.raises(UnavailableError, match="cannot be written"), entry.lock():
        pass


def test_files_of_the_store_can_be_read_by_others(entry: Entry) -> None:
    mask = os.umask(0o022)
    try:
        fill(entry)
    finally:
        os.umask(mask)
    assert {oct(path.stat().st_mode & 0o777) for path in files(entry)} == {"0o644"}
