"""`docs/commands.md` is generated from the commands."""

from __future__ import annotations

import re

from recoverdsl.commands.app import app
from recoverdsl.commands.page import page
from recoverdsl.errors import EXIT_CODES
from tests.commands.terminals import ROOT
from tests.run.commands import cli

PAGE = (ROOT / "docs/commands.md").read_text("utf-8")


def test_the_page_is_up_to_date() -> None:
    assert page() == PAGE, "run `make generated`"


def test_the_page_has_the_help_of_every_command() -> None:
    def words(text: str) -> list[str]:
        return text.split()

    for name in app.commands:
        (shown,) = re.findall(rf"^## {name}\n\n```\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)
        assert words(shown) == words(cli(name, "--help").out)


def test_the_page_and_the_help_have_every_exit_code() -> None:
    said = cli("--help").out
    for code, meaning in EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in PAGE
        assert " ".join(f"{code} {meaning}".split()) in " ".join(said.split())
