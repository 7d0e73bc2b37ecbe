"""The base of all commands: help with examples and exit codes, `--color`, and one style of errors."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from recoverdsl.commands.terminal import complain
from recoverdsl.errors import RecoverdslError, StoppedError

HELP_WIDTH = 88
"""Columns of the help, in a terminal and in the generated documentation."""


def _choose_color(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value:
        context.color = {"always": True, "never": False}.get(value)


@contextmanager
def _read_to_the_end() -> Iterator[None]:
    """Exit with the code of a stopped run when the reader of the output closes the pipe.

    Click would exit with 1, which is a verdict.
    """
    try:
        yield
    except BrokenPipeError:
        raise click.exceptions.Exit(StoppedError.exit_code) from None


class _Described(click.Command):
    """A command whose help ends with examples and exit codes.

    Args:
        examples: command lines, each with its effect.
        codes: the exit codes of the command, each with its meaning here.
    """

    def __init__(
        self,
        *args: Any,
        examples: Sequence[tuple[str, str]] = (),
        codes: Mapping[int, str],
        **more: Any,
    ) -> None:
        super().__init__(*args, **more)
        self.examples, self.codes = examples, codes
        self.context_settings.setdefault("max_content_width", HELP_WIDTH)
        self.params.append(
            click.Option(
                ["--color"],
                type=click.Choice(["auto", "always", "never"]),
                is_eager=True,
                expose_value=False,
                callback=_choose_color,
                help="Color the output; `auto` does so on a terminal, unless NO_COLOR or FORCE_COLOR is set.",
            )
        )

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        with _read_to_the_end():
            return super().make_context(*args, **more)

    def invoke(self, context: click.Context) -> Any:
        with _read_to_the_end():
            return super().invoke(context)

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(context, args)
        except click.UsageError as error:
            error.ctx = error.ctx or context
            raise

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for line, does in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
                    formatter.write(f"{'':>{formatter.current_indent}}    {does}\n")
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in self.codes.items()])


class Command(_Described):
    """A command that returns its exit code; an error becomes a message and the code of its kind."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except RecoverdslError as error:
            complain(error, sys.stderr)
            return error.exit_code


class Commands(_Described, click.Group):
    """A group of commands, listed in the order in which they were added."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)
