"""Runs of the command line: in this process, and in processes that a test can kill."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest import mock

from attrs import frozen

_HEAVY = [
    "recoverdsl.api", "recoverdsl.cli", "recoverdsl.engine.steps.runner", "recoverdsl.measure.results",
    "recoverdsl.report.html", "sae_lens", "transformers.models.llama.modeling_llama",
]  # fmt: skip


@frozen
class Outcome:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


def cli(*arguments: object) -> Outcome:
    """Run `recoverdsl ARGUMENTS` in this process, through its entry point."""
    from recoverdsl.cli import main

    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["recoverdsl", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            err.write(traceback.format_exc())
            code = 1
    return Outcome(code, out.getvalue(), err.getvalue())


class Process:
    """`recoverdsl ARGUMENTS` in a process of its own.

    It is forked from a process that has imported the model libraries, which takes seconds, and
    nothing else; so it can be killed like any other, and starts at once.
    """

    def __init__(self, *arguments: object, log: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_HEAVY)
        self.log = log
        self.process: BaseProcess = context.Process(
            target=_main, args=([*map(str, arguments)], str(log))
        )
        self.process.start()

    def wait_until(self, happened: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until something has happened, or the process has ended."""
        end = time.monotonic() + seconds
        while not happened() and self.process.is_alive():
            assert time.monotonic() < end, f"nothing happened: {self.log.read_text()}"
            time.sleep(0.0005)

    def signal(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def end(self, seconds: float = 60) -> Outcome:
        """Wait for the end, and return the outcome; a negative exit code is the signal that ended it."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"still running: {self.log.read_text()}")
        return Outcome(self.process.exitcode, "", self.log.read_text())


def _main(arguments: list[str], log: str) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    import torch

    from recoverdsl.cli import main

    torch.set_num_threads(1)
    sys.argv = ["recoverdsl", *arguments]
    main()
