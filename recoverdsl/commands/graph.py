"""`recoverdsl graph`."""

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
        ("recoverdsl graph specs/ioi.rec", "draw the steps for a Markdown page"),
        ("recoverdsl graph specs/ioi.rec --format dot | dot -Tsvg > ioi.svg", "draw a picture with Graphviz"),
    ],
    codes={0: "the steps are drawn", 2: "the command or the spec is wrong", 3: "a file that the spec names is not available"},
)  # fmt: skip
@options.spec
@click.option(
    "--format",
    type=click.Choice(["mermaid", "dot", "json"]),
    default="mermaid",
    show_default=True,
    help="Format of the drawing.",
)
@options.overrides
@options.device
@options.allow_outside
@options.locked
def graph(
    spec: Path,
    format: str,
    overrides: Mapping[str, str],
    device: str,
    allow_outside: bool,
    locked: bool,
) -> None:
    """Draw the steps of a spec."""
    from recoverdsl.api import load
    from recoverdsl.compiler.draw import DRAWINGS

    audit = load(spec, set=overrides, allow_outside=allow_outside, offline=True, locked=locked)
    say(DRAWINGS[format](audit.graph(device)), sys.stdout, end="")
