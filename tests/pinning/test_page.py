"""The sessions in `docs/pinning.md` are what one sees."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from recoverdsl.language.schema import Data, Model, Sae
from recoverdsl.language.schema.fields import alternatives, hints
from recoverdsl.language.schema.vocabulary import FUNCTIONS
from recoverdsl.pinning.versions import versions
from tests.run.commands import cli

PAGE = (Path(__file__).parents[2] / "docs" / "pinning.md").read_text("utf-8")


def sessions() -> list[tuple[str, str]]:
    """Every command of the page, in order, with what it is said to print; `…` matches anything."""
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [
        (command, said)
        for block in blocks
        for command, said in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    ]


def said_by(command: str) -> str:
    program, *arguments = shlex.split(command)
    if program != "recoverdsl":
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
        return done.stdout
    done = cli(*arguments)
    # What a run says of its progress comes before the verdict.
    return done.err + done.out


def test_the_page_has_sessions() -> None:
    assert len(sessions()) >= 8


def test_what_the_page_says_is_what_one_sees(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own.parent)
    for command, said in sessions():
        lines = [
            "(?:.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + r"\s*\n"
            for line in said.splitlines()
        ]
        found = said_by(command)
        assert re.fullmatch("".join(lines), found), f"$ {command}\n{found}"


def test_every_kind_of_source_is_on_the_page() -> None:
    kinds = {cls for block in (Model, Sae, Data) for cls in alternatives(hints(block)["source"])}
    names = {name for name, cls in FUNCTIONS.items() if cls in kinds}
    assert set(re.findall(r'^\| `(\w+)\("', PAGE, re.MULTILINE)) == names


def test_every_version_is_on_the_page() -> None:
    for name in versions():
        assert f'\n{name} = "…"\n' in PAGE
