"""`recoverdsl run`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recoverdsl.commands import candidates, options
from recoverdsl.commands.command import Command
from recoverdsl.commands.terminal import console, say, shown
from recoverdsl.errors import EXIT_CODES, StoppedError

if TYPE_CHECKING:
    from recoverdsl.api import Run, SweepRun


@click.command(
    cls=Command,
    examples=[
        ("recoverdsl run specs/ioi.rec", "run it; interrupt it at any moment, and run it again to resume"),
        ("recoverdsl run specs/ioi.rec --set projected.steps=50 --out runs/short", "run it with another budget into another folder"),
        ("recoverdsl run specs/ioi.rec --locked", "run it only if everything is as `recoverdsl lock` recorded it"),
        ("recoverdsl run specs/ioi.rec --json > result.json", "print the result for a program"),
    ],
    codes={**EXIT_CODES, 0: "done, and the verdict is \"holds\" or \"not judged\"", 1: "done, and it is \"does not hold\" or \"inconclusive\""},
)  # fmt: skip
@options.spec
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    shell_complete=candidates.folders,
    metavar="DIR",
    help="Folder for the result. [default: runs/NAME]",
)
@options.overrides
@options.device
@options.json("Print result.json instead of the verdict.")
@options.store
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    help="Examples in a batch. [default: from the available memory]",
)
@click.option(
    "--reveal",
    is_flag=True,
    help="Write prompts and completions to the run folder (texts.jsonl) and the report. Without it "
    "no file there contains them. Take care with data about harmful behavior: anyone with the "
    "folder can read what the model was made to say.",
)
@options.allow_outside
@options.offline
@options.locked
def run(
    spec: Path,
    out: Path | None,
    overrides: Mapping[str, str],
    device: str,
    as_json: bool,
    store: Path | None,
    batch_size: int | None,
    reveal: bool,
    allow_outside: bool,
    offline: bool,
    locked: bool,
) -> int:
    """Run a spec and report whether the clamp holds. A run that was stopped resumes where it was."""
    from recoverdsl.api import load
    from recoverdsl.commands.progress import Progress

    # Progress bars of libraries would garble this tool's.
    os.environ.setdefault("TQDM_DISABLE", "1")
    folder = out or Path("runs") / spec.stem
    with _resumable():
        audit = load(
            spec, set=overrides, allow_outside=allow_outside, offline=offline, locked=locked
        )
        if not locked and (differs := audit.spec_with_lock.note()):
            say(f"{click.style('note:', fg='cyan', bold=True)} {shown(differs, sys.stderr)}", sys.stderr)  # fmt: skip
        with Progress(console(sys.stderr)) as progress:
            start = audit.run_sweep if audit.points else audit.run
            done = start(
                folder, device=device, store=store, batch_size=batch_size, observer=progress, reveal=reveal,
            )  # fmt: skip
    _print(done, as_json)
    if not as_json:
        say(f"Report: {folder / 'report.html'}", sys.stdout)
    return done.exit_code


def _print(done: Run | SweepRun, as_json: bool) -> None:
    from recoverdsl.api import Run
    from recoverdsl.measure import results, sweeps
    from recoverdsl.report.terminal import show, show_sweep

    if not isinstance(done, Run):
        if as_json:
            sys.stdout.write(sweeps.to_json(done.swept))
        else:
            show_sweep(done.swept, console(sys.stdout))
        return
    if as_json:
        sys.stdout.write(results.to_json(done.result))
        return
    show(done.result, console(sys.stdout), done.seconds)
    kept = sum(state == "kept" for state in done.states.values())
    if kept == len(done.states):
        say("Nothing was computed: the results of all steps are from an earlier run.", sys.stdout)
    elif kept:
        say(
            f"The results of {kept} of {len(done.states)} steps are from an earlier run.",
            sys.stdout,
        )


@contextmanager
def _resumable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise StoppedError(
            "stopped before the end", help="run the same command again to resume where it stopped"
        ) from None
