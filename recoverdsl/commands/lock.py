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
    from recoverdsl.pinning.spec_with_lock import SpecWithLock


@click.command(
    cls=Command,
    examples=[
        ("recoverdsl lock specs/ioi.rec", "write specs/ioi.rec.lock, to be signed with the spec"),
        ("recoverdsl lock --check specs/ioi.rec", "list the differences between the lock and the sources now"),
        ("recoverdsl lock specs/ioi.rec --set projected.steps=50", "lock it with another value"),
    ],
    codes={
        0: "the lock is written, or with --check, is up to date",
        1: "with --check, the lock is missing or out of date",
        2: "the command or the spec is wrong",
        3: "a source that the spec names is not available, or the lock cannot be written",
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
    """Record the present state of a spec's sources: commits, sha256, versions.

    The lock is written beside the spec, as SPEC.rec.lock. `recoverdsl run --locked` then accepts
    nothing else. Weights are not downloaded where the hub knows their sha256.
    """
    from attrs import evolve

    from recoverdsl.api import load
    from recoverdsl.commands.progress import Progress
    from recoverdsl.pinning.lockfile import to_text

    # Progress bars of libraries would garble this tool's.
    os.environ.setdefault("TQDM_DISABLE", "1")
    audit = load(spec, set=overrides, allow_outside=allow_outside, offline=offline)
    with Progress(console(sys.stderr)) as progress:
        spec_with_lock = evolve(
            audit.spec_with_lock, fetcher=audit.fetcher.with_progress(progress.busy)
        )
        found = spec_with_lock.make()
    text = to_text(found)
    name = shown(str(spec_with_lock.lock_path), sys.stdout)
    if check:
        return _compare(spec_with_lock, text, name)
    put(spec_with_lock.lock_path, text.encode())
    files = sum(len(pinned.files or {}) for pinned in found.sources.values())
    say(f"{name} is written: {_count(len(found.sources), 'source')}, {_count(files, 'file')}.", sys.stdout)  # fmt: skip
    return 0


def _compare(spec_with_lock: SpecWithLock, text: str, name: str) -> int:
    """Return 0 if a lock is the text that would be written; else print the differences and return 1."""
    from recoverdsl.errors import LockError
    from recoverdsl.pinning.current_lock import CurrentLock
    from recoverdsl.pinning.differences import compare
    from recoverdsl.pinning.lockfile import from_text, read_lock

    try:
        written = read_lock(spec_with_lock.lock_path)
    except LockError as error:
        say(shown(str(error), sys.stdout), sys.stdout)
        return 1
    differences = compare(written, CurrentLock(from_text(text), {}), spec_with_lock.path)
    for difference in differences:
        say(shown(str(difference), sys.stdout), sys.stdout)
    if differences:
        say(f"{name} is out of date: {_count(len(differences), 'difference')}.", sys.stdout)
        return 1
    if spec_with_lock.lock_path.read_bytes() != text.encode():
        say(f"{name} has the right content in another layout: run `recoverdsl lock` to rewrite it.", sys.stdout)  # fmt: skip
        return 1
    say(f"{name} is up to date.", sys.stdout)
    return 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
