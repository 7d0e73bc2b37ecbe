"""The group of all commands, in their order."""

from __future__ import annotations

import click

from recoverdsl.commands.check import check
from recoverdsl.commands.command import Commands
from recoverdsl.commands.completion import completion
from recoverdsl.commands.explain import explain
from recoverdsl.commands.fmt import fmt
from recoverdsl.commands.graph import graph
from recoverdsl.commands.lock import lock
from recoverdsl.commands.lsp import lsp
from recoverdsl.commands.new import new
from recoverdsl.commands.plan import plan
from recoverdsl.commands.run import run
from recoverdsl.commands.version import version
from recoverdsl.errors import EXIT_CODES


@click.group(
    cls=Commands,
    examples=[
        ("recoverdsl new claim.rec", "write a spec to start from"),
        ("recoverdsl check specs/ioi.rec", "check a spec, without model or network"),
        ("recoverdsl plan specs/ioi.rec", "list the steps that a run would compute"),
        ("recoverdsl run specs/ioi.rec", "run it, and report whether the clamp holds"),
    ],
    codes=EXIT_CODES,
)
@version
def app() -> None:
    """Test whether a safety defense made of SAE features can be trusted."""


# In the order of use.
for command in (new, check, explain, fmt, lock, plan, graph, run, lsp, completion):
    app.add_command(command)
