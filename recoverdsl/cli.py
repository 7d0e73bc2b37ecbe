"""The command line: the entry point, and errors as messages and exit codes."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import NoReturn

import click

from recoverdsl.commands.app import app
from recoverdsl.commands.completion import VARIABLE, register
from recoverdsl.commands.terminal import complain
from recoverdsl.errors import StoppedError, UnavailableError, UsageError


def main() -> NoReturn:
    """Run the tool, and turn every error that a user can fix into a message and an exit code."""
    register()
    code = _run()
    for stream in (sys.stdout, sys.stderr):
        try:
            # The language server closes its output when the editor ends the connection.
            if not stream.closed:
                stream.flush()
        except BrokenPipeError:
            # The reader of the output closed it. Whatever Python flushes on exit is discarded.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            code = StoppedError.exit_code
    sys.exit(code)


def _run() -> int:
    try:
        return app.main(prog_name="recoverdsl", complete_var=VARIABLE, standalone_mode=False) or 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return UsageError.exit_code
    except click.UsageError as error:
        # The context decides on colors, and click has already left it.
        with error.ctx.scope(cleanup=False) if error.ctx else nullcontext():
            complain(_usage_error(error), sys.stderr)
        return UsageError.exit_code
    except (click.Abort, KeyboardInterrupt):
        complain(StoppedError("stopped before the end"), sys.stderr)
        return StoppedError.exit_code
    # Exit code 1 is a verdict, so a crash must not exit with it.
    except Exception as error:
        click.echo(
            f"error: this is a bug in recoverdsl ({type(error).__name__})\n"
            f"  where: {_traceback_file()}\n"
            "  help:  please report it with that file; note that it may quote the spec and its data",
            err=True,
        )
        return UnavailableError.exit_code


def _usage_error(error: click.UsageError) -> UsageError:
    """Convert a mistake on the command line to an error in this tool's style."""
    context = error.ctx
    where = context.command_path if context else "recoverdsl"
    match error:
        case click.NoSuchOption(option_name=name):
            what = f"there is no option `{name}`"
        case click.NoSuchCommand(command_name=name):
            what = f"there is no command `{name}`"
        case click.MissingParameter(param=click.Parameter() as missing):
            what = f"{missing.human_readable_name} is missing"
        case click.BadParameter(param=click.Option() as option):
            what = f"invalid value of `{option.opts[0]}`: {error.message}"
        case _:
            what = error.format_message().rstrip(".")
            what = what[:1].lower() + what[1:]
    near = getattr(error, "possibilities", None)
    help = f"did you mean `{near[0]}`?" if near else f"see `{where} --help`"
    return UsageError(what, where=where, help=help)


def _traceback_file() -> str:
    """Write the traceback of the present error to a private file and return its path."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix="recoverdsl-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(traceback.format_exc())
    return file.name


if __name__ == "__main__":
    main()
