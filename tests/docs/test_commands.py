"""Every command line in the documentation is valid, and every session shows the real output."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import click
import pytest

from recoverdsl.commands.app import app
from tests.docs.pages import ROOT, SHELL, Code, blocks
from tests.run import claims
from tests.run.commands import cli


def lines() -> list[tuple[str, str]]:
    """List every line that calls the tool, with its place."""
    found = []
    for code in blocks(*SHELL):
        text = code.text if code.language != "console" else "\n".join(c for c, _ in code.commands)
        found += [
            (f"{code} {line}", line)
            for line in text.splitlines()
            if re.search(r"\brecoverdsl ", line)
        ]
    return found


def calls(line: str) -> list[list[str]]:
    """List the arguments of each call of the tool in a line of a shell."""
    lexer = shlex.shlex(line.partition(" #")[0], posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = []
    for end, words in groupby(lexer, lambda word: word in ("|", "||", "&&", ";", ">", ">>")):
        command = [word for word in words if not re.match(r"[A-Z_]+=", word)]
        if not end and command[:1] == ["recoverdsl"]:
            found.append(command[1:])
    return found


def understood(arguments: list[str]) -> None:
    """Parse a command line without running it.

    Raises:
        click.UsageError: there is no such command, option or value.
    """
    try:
        with app.make_context("recoverdsl", list(arguments)) as context:
            rest = [*context._protected_args, *context.args]
            if rest:
                name, command, rest = app.resolve_command(context, rest)
                assert command is not None
                command.make_context(name, rest, parent=context)
    except click.exceptions.Exit:
        # `--help` and `--version` end at once.
        pass


@pytest.mark.parametrize("line", [line for _, line in lines()], ids=[place for place, _ in lines()])
def test_the_tool_understands_a_line(line: str) -> None:
    for arguments in calls(line):
        understood(arguments)


def test_a_wrong_line_would_be_noticed() -> None:
    assert calls("X=1 recoverdsl run a.rec --json > b || recoverdsl lock a.rec  # so") == [
        ["run", "a.rec", "--json"], ["lock", "a.rec"],
    ]  # fmt: skip
    for line in (
        "recoverdsl rum a.rec",
        "recoverdsl run a.rec --quick",
        "recoverdsl check a --format xml",
    ):
        with pytest.raises(click.UsageError):
            understood(calls(line)[0])


@pytest.mark.parametrize("code", list(blocks("python")), ids=str)
def test_python_finds_what_it_imports(code: Code) -> None:
    tree = ast.parse(code.text)
    tree.body = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    exec(compile(tree, str(code), "exec"), {})


# --- Sessions ---------------------------------------------------------------------------------

SESSIONS = {
    page: [code for code in codes if "run" in code.words]
    for page, codes in groupby(blocks("console"), lambda code: code.page)
}


@pytest.fixture
def workplace(tmp_path: Path, claim: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with `claim.rec`, an audit of a tiny random model, the shipped specs and an empty store."""
    shutil.copytree(claim.parent, tmp_path, dirs_exist_ok=True)
    shutil.copytree(ROOT / "specs", tmp_path / "specs", copy_function=_linked)
    assert (tmp_path / "claim.rec").read_text("utf-8") == claims.SPEC
    (tmp_path / "claim.rec").write_text(claims.HELD_OUT, "utf-8")
    claims.write_rows(tmp_path / "ranking.jsonl", claims.rows(seed=1))
    monkeypatch.setenv("RECOVERDSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _linked(source: str, target: str) -> None:
    os.link(source, target) if Path(source).suffix == ".safetensors" else shutil.copy(
        source, target
    )


def said_by(command: str) -> str:
    """Return the output of a line: first the progress, then the answer."""
    if not command.startswith("recoverdsl "):
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
        return done.stdout
    line, _, file = command.partition(" > ")
    done = cli(*shlex.split(line)[1:])
    assert done.code in (0, 1, 2), done.said
    if file:
        Path(file).write_text(done.out, "utf-8")
        return done.err
    return done.err + done.out


def expected(said: str) -> str:
    """Convert the output shown in a session to a pattern."""
    return "".join(
        "(?:.*\n)*" if line == "…" else re.escape(line.rstrip()).replace("…", ".*") + r"\s*\n"
        for line in said.splitlines()
        if line.strip()
    )


@pytest.mark.parametrize(
    "page", [p for p, codes in SESSIONS.items() if codes], ids=lambda page: page.name
)
@pytest.mark.usefixtures("workplace")
def test_a_session_shows_the_real_output(page: Path) -> None:
    for code in SESSIONS[page]:
        for command, said in code.commands:
            found = "".join(line + "\n" for line in said_by(command).splitlines() if line.strip())
            assert re.fullmatch(expected(said), found), f"{code}\n$ {command}\n{found}"


def test_sessions_are_marked() -> None:
    assert sum(len(codes) for codes in SESSIONS.values()) >= 8
    assert all(isinstance(code, Code) for codes in SESSIONS.values() for code in codes)
