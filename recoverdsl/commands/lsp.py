"""`recoverdsl lsp`."""

from __future__ import annotations

import click

from recoverdsl.commands.command import Command
from recoverdsl.errors import UnavailableError


@click.command(
    cls=Command,
    examples=[("recoverdsl lsp", "what an editor is told to start for .rec files")],
    codes={0: "the editor ended it", 3: "the language server is not installed"},
)
# Editors add it out of habit, and there is no other way.
@click.option("--stdio", is_flag=True, hidden=True)
def lsp(stdio: bool) -> int:
    """Start the language server, which an editor talks to over standard input and output."""
    try:
        from recoverdsl.server.server import start
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("pygls", "lsprotocol"):
            raise
        raise UnavailableError(
            "the language server is not installed: pip install 'recoverdsl[lsp]'"
        ) from error
    start()
    return 0
