"""Output to a terminal: its colors, and the style of errors."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TextIO

import click

from recoverdsl.errors import RecoverdslError

if TYPE_CHECKING:
    from rich.console import Console


def colored(stream: TextIO) -> bool:
    """Tell whether to write colors, by `--color`, else `NO_COLOR`, `FORCE_COLOR` and the terminal."""
    context = click.get_current_context(silent=True)
    if context is not None and context.color is not None:
        return context.color
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or _can_show(stream)


def say(text: str, stream: TextIO, *, end: str = "\n") -> None:
    """Write a text; its colors are dropped where there should be none."""
    click.echo(text + end, file=stream, nl=False, color=colored(stream))


def shown(text: str, stream: TextIO) -> str:
    """Return a text unchanged for a program; on a terminal, with control characters made visible."""
    from recoverdsl.language.diagnostics import visible

    return visible(text) if stream.isatty() else text


def console(stream: TextIO) -> Console:
    """Return a console of rich that follows the same rules of color as all other output.

    It moves the cursor only on a real terminal, even if colors are forced.
    """
    from rich.console import Console

    class Ours(Console):
        def on_broken_pipe(self) -> None:
            # rich would exit with 1, which is a verdict; see `command._read_to_the_end`.
            raise BrokenPipeError

    system: Any = None
    if colored(stream):
        system = "auto" if _can_show(stream) else "standard"
    # rich has its own reading of NO_COLOR and FORCE_COLOR: with the latter it takes a pipe for a
    # terminal.
    return Ours(
        file=stream, color_system=system, no_color=False, force_terminal=stream.isatty(), highlight=False
    )  # fmt: skip


def complain(error: RecoverdslError, stream: TextIO) -> None:
    """Write an error, its cause and its fix."""
    from recoverdsl.language.diagnostics import render_text, visible

    color = colored(stream)
    diagnostics: tuple[Any, ...] = getattr(error, "diagnostics", ())
    for diagnostic in diagnostics:
        say(render_text(diagnostic, color=color) + "\n", stream)
    if not diagnostics:
        # An error may quote a file, a name or a library, and none of these may control the terminal.
        head, *rest = (visible(line) for line in str(error).split("\n"))
        say("\n".join([f"{_bold('error:', 'red')} {head}", *map(_labeled, rest)]), stream)


def _labeled(line: str) -> str:
    label, colon, text = line.partition(":")
    named = colon and label.strip() in ("why", "help", "where", "locked", "found")
    return f"{_bold(label + colon, 'cyan')}{text}" if named else line


def _bold(text: str, color: str) -> str:
    return click.style(text, fg=color, bold=True)


def _can_show(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"
