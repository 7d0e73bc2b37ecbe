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
        ("recoverdsl plan specs/ioi.rec", "list the steps, and those that an earlier run has stored"),
        ("recoverdsl plan specs/ioi.rec --set projected.steps=50", "list the steps that another value would recompute"),
    ],
    codes={0: "the plan is printed", 2: "the command or the spec is wrong", 3: "a file that the spec names is not available"},
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
    """List the steps that a run would compute, and those that an earlier run has stored."""
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
