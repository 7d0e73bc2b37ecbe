"""`recoverdsl explain`."""

from __future__ import annotations

import sys

import click

from recoverdsl.commands import candidates
from recoverdsl.commands.command import Command
from recoverdsl.commands.terminal import say


@click.command(
    cls=Command,
    examples=[
        ("recoverdsl explain REC401", "show the meaning of a mistake, the reason for the rule, and a fix"),
        ("recoverdsl explain", "list all codes with their titles"),
    ],
    codes={0: "explained", 2: "there is no such code"},
)  # fmt: skip
@click.argument("code", required=False, metavar="[CODE]", shell_complete=candidates.codes)
def explain(code: str | None) -> int:
    """Explain a mistake by its code: REC101, rec101 or 101."""
    from recoverdsl.language.diagnostics.explanations import page, render_list, render_page

    say(render_page(page(code)) if code else render_list(), sys.stdout, end="")
    return 0
