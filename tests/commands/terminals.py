"""Runs commands on a terminal, as a person does, and in a pipe, as a script does."""

from __future__ import annotations

import errno
import os
import pty
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
_DECIDE = ("NO_COLOR", "FORCE_COLOR", "TERM", "TTY_COMPATIBLE", "COLORTERM")
_END = "\0"
_RUN = f"""
import sys
from recoverdsl.cli import main
for line in {{lines!r}}:
    sys.argv = ["recoverdsl", *line]
    try:
        main()
    except SystemExit:
        print({_END!r}, end="", flush=True)
"""


def command_lines(lines: Iterable[Iterable[object]]) -> str:
    """Return a program that runs several command lines, since imports take longer than any of them."""
    return _RUN.format(lines=[[str(word) for word in line] for line in lines])


def in_pipe(program: str, changes: Mapping[str, str]) -> list[str]:
    """Return the output of each command line in a pipe."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=_environment(changes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.stdout.decode().split(_END)[:-1]


def on_terminal(program: str, changes: Mapping[str, str]) -> list[str]:
    """Return the output of each command line on a terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=_environment(changes),
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    said = _read(leader)
    process.wait()
    return said.replace("\r\n", "\n").split(_END)[:-1]


def _environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with only the given variables that control colors."""
    kept = {name: value for name, value in os.environ.items() if name not in _DECIDE}
    return {**kept, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **changes}


def _read(leader: int) -> str:
    said = b""
    try:
        while part := os.read(leader, 1 << 16):
            said += part
    except OSError as error:
        # The error of Linux when the other end is closed.
        if error.errno != errno.EIO:
            raise
    os.close(leader)
    return said.decode()
