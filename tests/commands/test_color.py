"""Colors: on a terminal only, unless overridden, and by the same rules in every command."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from recoverdsl.measure.results import to_json
from tests.commands.terminals import command_lines, in_pipe, on_terminal
from tests.report.conftest import planted_result, planted_rows

Shown = Callable[[str, Mapping[str, str]], list[str]]

_VERDICTS = """
import os, sys, click
from recoverdsl.commands.terminal import console
from recoverdsl.commands.progress import Progress
from recoverdsl.measure.results import from_json
from recoverdsl.report.terminal import show
result = from_json(open({path!r}).read())
for name in ("TERM", "FORCE_COLOR", "NO_COLOR"):
    os.environ[name] = "1"
    for color in (None, True, False):
        with click.Context(click.Command("run")) as context:
            context.color = color
            show(result, console(sys.stdout))
            with Progress(console(sys.stderr)) as bars, bars.busy("load the model"):
                pass
        print("\\0", end="", flush=True)
"""
"""A program that shows the result of a file on each kind of terminal."""


@pytest.fixture
def lines(tmp_path: Path) -> list[tuple[object, ...]]:
    """Return one command line for each kind of colored output."""
    wrong, untidy = tmp_path / "wrong.rec", tmp_path / "untidy.rec"
    wrong.write_text("recoverdsl   1\nattack a {\n  steps = = 3\n}\n")
    untidy.write_text("recoverdsl   1\n")
    return [
        ("check", wrong),  # a diagnostic, on standard output
        ("fmt", wrong),  # the same, on standard error
        ("fmt", "--diff", untidy),
        ("check", "--nonsense"),  # a mistake of the command line
        ("check", tmp_path / "nowhere.rec"),
    ]


@pytest.mark.parametrize(
    ("shown", "changes", "options", "colored"),
    [
        (on_terminal, {}, [], True),
        (in_pipe, {}, [], False),
        (on_terminal, {"NO_COLOR": "1"}, [], False),
        (on_terminal, {"NO_COLOR": ""}, [], True),
        (on_terminal, {"TERM": "dumb"}, [], False),
        (in_pipe, {"FORCE_COLOR": "1"}, [], True),
        (in_pipe, {"FORCE_COLOR": ""}, [], False),
        (on_terminal, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, [], False),
        (on_terminal, {"NO_COLOR": "1"}, ["--color", "always"], True),
        (in_pipe, {"NO_COLOR": "1"}, ["--color=always"], True),
        (on_terminal, {"FORCE_COLOR": "1"}, ["--color", "never"], False),
        (in_pipe, {}, ["--color", "auto"], False),
    ],
)
def test_every_command_follows_the_same_rules(
    lines: list[tuple[object, ...]],
    shown: Shown,
    changes: Mapping[str, str],
    options: list[str],
    colored: bool,
) -> None:
    said = shown(command_lines([*options, *line] for line in lines), changes)
    assert ["\x1b[" in text for text in said] == [colored] * len(lines)


def test_a_command_takes_the_option_too(lines: list[tuple[object, ...]]) -> None:
    wrong = lines[0]
    program = command_lines([[*wrong, "--color", "never"], ["--color", "never", *wrong, "--color=always"]])  # fmt: skip
    assert ["\x1b[" in text for text in on_terminal(program, {})] == [False, True]


def test_colors_change_no_letter(lines: list[tuple[object, ...]]) -> None:
    program = command_lines(lines)
    plain = in_pipe(program, {})
    assert list(map(uncolored, on_terminal(program, {}))) == plain
    assert list(map(uncolored, in_pipe(program, {"FORCE_COLOR": "1"}))) == plain


def uncolored(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_the_verdict_and_the_bars_follow_the_same_rules(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    result.write_text(to_json(planted_result(planted_rows())))
    program = _VERDICTS.format(path=str(result))
    colored = [bool(re.search(r"\x1b\[[0-9;]*m", text)) for text in on_terminal(program, {})]
    assert colored == [True, True, False, True, True, False, False, True, False]
    said = in_pipe(program, {})
    colored = ["\x1b[" in text for text in said]
    assert colored == [False, True, False, True, True, False, False, True, False]
    # A pipe is no terminal, even in color: no cursor is moved and no bar is drawn.
    assert not re.search(r"\x1b\[[^m]*[A-Za-ln-z]", "".join(said))
    assert all("load the model …" in text for text in said)
