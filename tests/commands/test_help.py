"""Help: complete, quick, with correct examples; mistakes on the command line have one style."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import click
import pytest

import recoverdsl.language as language
from recoverdsl.commands.app import app
from recoverdsl.commands.command import Command
from recoverdsl.errors import EXIT_CODES
from tests.commands.terminals import ROOT
from tests.run.commands import cli

COMMANDS = [command for command in app.commands.values() if isinstance(command, Command)]


def test_every_command_is_one_of_ours() -> None:
    assert len(COMMANDS) == len(app.commands)


def test_help_lists_the_commands_in_the_order_in_which_they_are_used() -> None:
    said = cli("--help").out
    places = [said.index(f"\n  {name} ") for name in app.commands]
    assert places == sorted(places)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_of_a_command_has_examples_and_exit_codes(command: Command) -> None:
    done = cli(command.name, "--help")
    assert done.code == 0
    assert "Examples:\n  recoverdsl " in done.out
    assert "Exit codes:\n  0  " in done.out
    assert set(command.codes) <= set(EXIT_CODES)
    assert command.get_short_help_str(limit=80).endswith(".")


EXAMPLES = [line for command in (app, *COMMANDS) for line, _ in command.examples]


@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_is_a_command_line_that_is_understood(line: str) -> None:
    words = shlex.split(line)
    end = min([words.index(sign) for sign in ("|", ">", "<") if sign in words] or [len(words)])
    program, name, *arguments = words[:end]
    assert program == "recoverdsl"
    command = app.commands[name]
    command.make_context(name, arguments, parent=click.Context(app))


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"], ["run", "--help"]])
def test_help_imports_nothing_that_takes_time(arguments: list[str]) -> None:
    code = (
        "import sys; from recoverdsl.commands.app import app\n"
        f"app.main({arguments!r}, standalone_mode=False)\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"attrs", "lark", "numpy", "rich", "torch", "yaml", "recoverdsl.language"}
    assert heavy.isdisjoint(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "says", "helps"),
    [
        (["chek"], "recoverdsl: there is no command `chek`", "did you mean `check`?"),
        (["check"], "recoverdsl check: SPEC.rec|FOLDER… is missing", "see `recoverdsl check --help`"),
        (["check", "--formt", "json", "x"], "recoverdsl check: there is no option `--formt`", "did you mean `--format`?"),
        (["check", "--format", "xml", "x"], "recoverdsl check: invalid value of `--format`: 'xml' is not one of 'text', 'json', 'sarif'.", "see `recoverdsl check --help`"),
        (["run", "a", "b"], "recoverdsl run: got unexpected extra argument (b)", "see `recoverdsl run --help`"),
        (["run", "a", "--out"], "recoverdsl run: option '--out' requires an argument", "see `recoverdsl run --help`"),
        (["run", "a", "--set", "x"], "recoverdsl run: invalid value of `--set`: expected PATH=VALUE, such as projected.steps=50, found 'x'", "see `recoverdsl run --help`"),
    ],
)  # fmt: skip
def test_a_mistake_on_the_command_line_is_reported_like_any_other(
    arguments: list[str], says: str, helps: str
) -> None:
    done = cli(*arguments)
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first.startswith(f"error: {says}")
    assert second == f"  help: {helps}"


def test_without_arguments_the_help_is_shown_and_the_code_is_2() -> None:
    done = cli()
    assert done.code == 2
    assert done.err == cli("--help").out


def test_a_quoted_argument_cannot_control_the_terminal() -> None:
    done = cli("check", "no\x1b[2Jthing.rec")
    assert done.code == 2
    assert "\x1b" not in done.said
    assert r"no\x1b[2Jthing.rec" in done.err


@pytest.mark.parametrize("arguments", [["--help"], ["check", "specs/ioi.rec"], ["new", "-"]])
def test_a_closed_pipe_is_no_verdict_and_no_traceback(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "recoverdsl.cli", *arguments],
        cwd=ROOT,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert done.returncode == 4
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_an_interrupt_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(language, "check_file", interrupted)
    done = cli("check", ROOT / "specs/ioi.rec")
    assert done.code == 4
    assert "error: stopped before the end" in done.err
