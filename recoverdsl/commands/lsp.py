"""`recoverdsl lsp`."""

from __future__ import annotations

import click

from recoverdsl.commands.command import Command
from recoverdsl.errors import UnavailableError


@click.command(
    cls=Command,
    examples=[("recoverdsl lsp", "the command that an editor starts for .rec files")],
    codes={0: "the editor ended the connection", 3: "the language server is not installed"},
)
# Many editors pass this flag, and there is no other transport.
@click.option("--stdio", is_flag=True, hidden=True)
def lsp(stdio: bool) -> int:
    """Start the language server, over standard input and output."""
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
