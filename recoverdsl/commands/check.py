"""`recoverdsl check`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from recoverdsl.commands import candidates, options
from recoverdsl.commands.command import Command
from recoverdsl.commands.files import walk
from recoverdsl.commands.terminal import colored, say


@click.command(
    cls=Command,
    examples=[
        ("recoverdsl check specs/ioi.rec", "report every mistake in a spec, in one pass"),
        ("recoverdsl check specs --format json", "report the mistakes of all specs in a folder, for a program"),
        ("recoverdsl check specs/ioi.rec --set projected.steps=50", "check it with another value"),
    ],
    codes={0: "every spec is valid; there may be warnings", 2: "a spec or the command is wrong"},
)  # fmt: skip
@click.argument(
    "specs",
    metavar="SPEC.rec|FOLDER…",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    shell_complete=candidates.specs,
)
@click.option(
    "--format",
    type=click.Choice(["text", "json", "sarif"]),
    default="text",
    show_default=True,
    help="Format of the diagnostics.",
)
@options.overrides
def check(specs: tuple[Path, ...], format: str, overrides: Mapping[str, str]) -> int:
    """Check specs: every name, type, unit and range. Loads no model and needs no network."""
    from recoverdsl.language import check_file
    from recoverdsl.language.diagnostics import render_json, render_text
    from recoverdsl.pinning.coverage import uncovered

    files = walk(specs)
    # A mistake in a file that several specs import is reported once.
    found = {
        (diagnostic.file, diagnostic.span.start, diagnostic.code, diagnostic.message): diagnostic
        for path in files
        for diagnostic in uncovered(check_file(path, overrides=overrides), path)
    }.values()
    errors = sum(diagnostic.severity == "error" for diagnostic in found)
    if format == "json":
        say(render_json(found), sys.stdout)
    elif format == "sarif":
        from recoverdsl.language.diagnostics.sarif import render_sarif

        say(render_sarif(found), sys.stdout)
    else:
        for diagnostic in found:
            say(render_text(diagnostic, color=colored(sys.stdout)) + "\n", sys.stdout)
        if not errors:
            say(f"{len(files)} {'spec is' if len(files) == 1 else 'specs are'} valid.", sys.stdout)
    return 2 if errors else 0
