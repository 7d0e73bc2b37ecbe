"""`recoverdsl lock`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recoverdsl.commands import options
from recoverdsl.commands.command import Command
from recoverdsl.commands.files import put
from recoverdsl.commands.terminal import console, say, shown

if TYPE_CHECKING:
    from recoverdsl.pinning.beside import Beside


@click.command(
    cls=Command,
    examples=[
        ("recoverdsl lock specs/ioi.rec", "write specs/ioi.rec.lock, to be signed with the spec"),
        ("recoverdsl lock --check specs/ioi.rec", "say what the lock would say otherwise now"),
        ("recoverdsl lock specs/ioi.rec --set projected.steps=50", "lock it with another value"),
    ],
    codes={
        0: "the lock is written, or with --check, is what would be written",
        1: "with --check, the lock is missing or is not what would be written",
        2: "the command or the spec is wrong",
        3: "something that the spec names cannot be had, or the lock cannot be written",
    },
)  # fmt: skip
@options.spec
@click.option("--check", is_flag=True, help="Write nothing; list what differs from the lock.")
@options.overrides
@options.allow_outside
@options.offline
def lock(
    spec: Path, check: bool, overrides: Mapping[str, str], allow_outside: bool, offline: bool
) -> int:
    """Write down what a spec's sources are now: commits, sha256, versions.

    The lock lies beside the spec, as SPEC.rec.lock. `recoverdsl run --locked` then takes nothing
    else. Weights are not fetched where the hub knows their sha256.
    """
    from attrs import evolve

    from recoverdsl.api import load
    from recoverdsl.commands.progress import Progress
    from recoverdsl.pinning.lockfile import to_text

    # Libraries draw bars of their own, which would tear this tool's.
    os.environ.setdefault("TQDM_DISABLE", "1")
    audit = load(spec, set=overrides, allow_outside=allow_outside, offline=offline)
    with Progress(console(sys.stderr)) as progress:
        beside = evolve(audit.beside, fetcher=audit.fetcher.with_progress(progress.busy))
        found = beside.make()
    text = to_text(found)
    name = shown(str(beside.lock_path), sys.stdout)
    if check:
        return _compare(beside, text, name)
    put(beside.lock_path, text.encode())
    files = sum(len(pinned.files or {}) for pinned in found.sources.values())
    say(f"{name} is written: {_count(len(found.sources), 'source')}, {_count(files, 'file')}.", sys.stdout)  # fmt: skip
    return 0


def _compare(beside: Beside, text: str, name: str) -> int:
    """Whether a lock is the text that would be written; says what is not."""
    from recoverdsl.errors import LockError
    from recoverdsl.pinning.differences import compare
    from recoverdsl.pinning.finding import Found
    from recoverdsl.pinning.lockfile import from_text, read_lock

    try:
        written = read_lock(beside.lock_path)
    except LockError as error:
        say(shown(str(error), sys.stdout), sys.stdout)
        return 1
    differences = compare(written, Found(from_text(text), {}), beside.path)
    for difference in differences:
        say(shown(str(difference), sys.stdout), sys.stdout)
    if differences:
        say(f"{name} is out of date: {_count(len(differences), 'difference')}.", sys.stdout)
        return 1
    if beside.lock_path.read_bytes() != text.encode():
        say(f"{name} says the same in other words: `recoverdsl lock` writes it as it should be.", sys.stdout)  # fmt: skip
        return 1
    say(f"{name} is up to date.", sys.stdout)
    return 0


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
