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
        ("recoverdsl explain starved", "show the meaning of a flag on an attack"),
        ("recoverdsl explain", "list all codes, flags and cautions with their titles"),
    ],
    codes={0: "explained", 2: "there is no such code, flag or caution"},
)  # fmt: skip
@click.argument("code", required=False, metavar="[CODE]", shell_complete=candidates.codes)
def explain(code: str | None) -> int:
    """Explain a mistake by its code (REC101, rec101 or 101), or a flag or caution by its name."""
    from recoverdsl.language.diagnostics import explanations
    from recoverdsl.measure import flag_pages

    if code is None:
        text = f"{explanations.render_list()}\n{flag_pages.render_list()}"
    elif (name := code.strip().lower().replace("-", "_")) in flag_pages.names():
        text = flag_pages.render(flag_pages.page(name))
    else:
        text = explanations.render_page(explanations.page(code, flag_pages.names()))
    say(text, sys.stdout, end="")
    return 0
