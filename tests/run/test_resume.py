"""Runs that are stopped, by force or on request, and runs that share a store."""

from __future__ import annotations

import json
import random
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tests.run.commands import Outcome, Process

SEED = 7
"""Of the moments at which runs are stopped."""

Stamp = tuple[int, int]


def parts(store: Path) -> dict[Path, Stamp]:
    """Return the finished parts, each with a stamp that changes when it is written again."""
    found = {}
    for path in store.glob("*/part-*.safetensors"):
        status = path.stat()
        found[path] = (status.st_ino, status.st_mtime_ns)
    return found


def result_of(out: Path) -> dict[str, Any]:
    """Return the result of a run, without the entries that name the machine and the batches."""
    result: dict[str, Any] = json.loads((out / "result.json").read_text())
    del result["environment"]
    return result


def files_of(out: Path) -> dict[str, bytes]:
    """Return the bytes of the files that hold figures."""
    return {
        name: (out / name).read_bytes()
        for name in ("examples.parquet", "perturbations.safetensors")
    }


def events(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


@frozen
class Stopped:
    """A run that was stopped, and what was in the store right after."""

    signal: int
    outcome: Outcome
    parts: dict[Path, Stamp]
    events: int


@frozen
class History:
    """A run that was stopped several times and then let finish."""

    stopped: list[Stopped]
    last: Outcome
    out: Path
    store: Path


def start(claim: Path, out: Path, store: Path) -> Process:
    options = ["--out", out, "--store", store, "--batch-size", 4, "--device", "cpu"]
    return Process("run", claim, *options, log=out.with_suffix(".log"))


@pytest.fixture(scope="module")
def undisturbed(claim: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was not stopped."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = start(claim, folder / "out", folder / "store").end()
    assert done.code == 0, done.said
    return folder


@pytest.fixture(scope="module")
def history(claim: Path, undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> History:
    """Return the history of a run that is killed three times, interrupted once and asked to terminate
    once, each a few batches later."""
    total = len(parts(undisturbed / "store"))
    while True:
        # On a busy machine a run may end before its signal is sent: then all of it once more.
        with suppress(ProcessLookupError):
            return stopped_history(claim, total, tmp_path_factory.mktemp("stopped"))


def stopped_history(claim: Path, total: int, folder: Path) -> History:
    """Stop a run five times in the course of its `total` batches, and let it finish.

    Raises:
        ProcessLookupError: it ended before it could be stopped.
    """
    out, store = folder / "out", folder / "store"
    draw = random.Random(SEED)
    # One in each of the first five eighths, so that a slow look at the store does not miss one.
    moments = [draw.randint(1 + i * total // 8, (i + 1) * total // 8 - 1) for i in range(5)]
    kinds = [signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL]
    stopped = []
    for moment, kind in zip(moments, kinds, strict=True):
        # At least one new batch, so that the process is past its start.
        wanted = max(moment, len(parts(store)) + 1)
        process = start(claim, out, store)
        process.wait_until(lambda wanted=wanted: len(parts(store)) >= wanted)
        process.signal(kind)
        outcome = process.end()
        stopped.append(Stopped(kind, outcome, parts(store), len(events(out))))
    return History(stopped, start(claim, out, store).end(), out, store)


def test_a_run_was_stopped_at_five_different_moments(history: History, undisturbed: Path) -> None:
    counts = [len(stop.parts) for stop in history.stopped]
    assert counts == sorted(set(counts))
    assert counts[0] > 0 and counts[-1] < len(parts(undisturbed / "store"))


def test_a_stopped_run_ends_with_the_same_result_as_an_undisturbed_one(
    history: History, undisturbed: Path
) -> None:
    assert history.last.code == 0, history.last.said
    assert result_of(history.out) == result_of(undisturbed / "out")


def test_a_stopped_run_ends_with_the_same_tables_bit_by_bit(
    history: History, undisturbed: Path
) -> None:
    assert files_of(history.out) == files_of(undisturbed / "out")


def test_a_stopped_run_ends_with_the_same_report(history: History, undisturbed: Path) -> None:
    assert (history.out / "report.html").read_text() == (
        undisturbed / "out/report.html"
    ).read_text()


def test_no_finished_batch_is_computed_again(history: History) -> None:
    last = parts(history.store)
    for stop in history.stopped:
        assert {path: last[path] for path in stop.parts} == stop.parts


def test_a_stopped_run_makes_the_same_batches(history: History, undisturbed: Path) -> None:
    def names(store: Path) -> set[Path]:
        return {path.relative_to(store) for path in parts(store)}

    assert names(history.store) == names(undisturbed / "store")


def test_finished_steps_are_not_begun_again(history: History) -> None:
    ended: set[str] = set()
    for event in events(history.out):
        if event["event"] == "began":
            assert event["step"] not in ended
        if event["event"] == "ended":
            ended.add(event["step"])


def test_a_killed_run_says_nothing_and_leaves_no_result(history: History) -> None:
    killed = [stop for stop in history.stopped if stop.signal == signal.SIGKILL]
    assert [stop.outcome.code for stop in killed] == [-signal.SIGKILL] * 3
    assert all("Traceback" not in stop.outcome.said for stop in killed)
    assert [event["event"] for event in events(history.out)].count("done") == 1


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_run_asked_to_stop_says_how_to_resume(history: History, kind: int) -> None:
    (stop,) = [stop for stop in history.stopped if stop.signal == kind]
    assert stop.outcome.code == 4
    assert "stopped before the end" in stop.outcome.said
    assert "run the same command again" in stop.outcome.said
    assert "Traceback" not in stop.outcome.said


def test_two_runs_at_once_share_the_work_and_find_the_same(
    claim: Path, undisturbed: Path, tmp_path: Path
) -> None:
    both = [start(claim, tmp_path / name, tmp_path / "store") for name in ("one", "two")]
    ends = [process.end() for process in both]
    assert [end.code for end in ends] == [0, 0], [end.said for end in ends]
    for name in ("one", "two"):
        assert result_of(tmp_path / name) == result_of(undisturbed / "out")
        assert files_of(tmp_path / name) == files_of(undisturbed / "out")
    states = [
        {
            event["step"]: event["state"]
            for event in events(tmp_path / name)
            if event["event"] == "ended"
        }
        for name in ("one", "two")
    ]
    for step in states[0]:
        assert sorted(state[step] for state in states) == ["computed", "kept"], step
