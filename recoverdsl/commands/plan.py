"""`recoverdsl plan`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from recoverdsl.commands import options
from recoverdsl.commands.command import Command
from recoverdsl.commands.terminal import say


@click.command(
    cls=Command,
    examples=[
        ("recoverdsl plan specs/ioi.rec", "the steps, and which of them an earlier run has kept"),
        ("recoverdsl plan specs/ioi.rec --set projected.steps=50", "what another value would compute anew"),
    ],
    codes={0: "the plan is printed", 2: "the command or the spec is wrong", 3: "a file that the spec names cannot be had"},
)  # fmt: skip
@options.spec
@options.overrides
@options.device
@options.store
@options.json("Print the plan as JSON.")
@options.allow_outside
@options.locked
def plan(
    spec: Path,
    overrides: Mapping[str, str],
    device: str,
    store: Path | None,
    as_json: bool,
    allow_outside: bool,
    locked: bool,
) -> None:
    """Say what a run would compute, and what an earlier run has kept."""
    from recoverdsl.api import load
    from recoverdsl.compiler.plan import plan_rows, render_plan

    audit = load(spec, set=overrides, allow_outside=allow_outside, offline=True, locked=locked)
    kept = audit.store(store)
    rows = plan_rows(
        audit.graph(device),
        lambda digest: (
            "kept" if kept.entry(digest).done else "begun" if kept.entry(digest).begun else "to run"
        ),
    )
    say(render_plan(rows, as_json), sys.stdout, end="")
