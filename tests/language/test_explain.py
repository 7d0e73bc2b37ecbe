"""The pages of the codes: one each, whose wrong example is wrong in that way and no other."""

from __future__ import annotations

from importlib.resources import files

import pytest

from recoverdsl.errors import UsageError
from recoverdsl.language import CODES, check
from recoverdsl.language.diagnostics.explanations import (
    WIDTH,
    Page,
    around,
    find_code,
    page,
    pages,
    render_list,
    render_page,
)  # fmt: skip
from recoverdsl.measure import flag_pages
from tests.language.fixing import unfixed
from tests.run.commands import cli

PAGES = list(pages())
DESCRIBED = {"REC107", "REC108", "REC109", "REC216"}
"""Codes of files that no page can show."""
BESIDE = {"models.rec": 'recoverdsl 1\nmodel other { from = folder("models/other") }\n'}
"""Files that examples import."""


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    folder = files("recoverdsl.language.diagnostics").joinpath("pages")
    written = {p.name.removesuffix(".md") for p in folder.iterdir() if p.name.endswith("md")}
    assert written == set(CODES) == {p.code for p in PAGES}
    assert {p.code for p in PAGES if p.wrong.spec is None} == DESCRIBED
    assert {p.code for p in PAGES if p.right.spec is None} == DESCRIBED


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.code)
def test_a_page_says_what_why_and_how(page: Page) -> None:
    headings = [line for line in page.body.split("\n") if line.startswith("## ")]
    assert headings == ["## Why", "## Wrong", "## Right"]
    assert len(page.meaning) > 20
    assert len(page.why) > 20
    assert page.markdown.startswith(f"# {page.code}: {page.title}\n\n{page.meaning[:20]}")


SHOWN = [p for p in PAGES if p.code not in DESCRIBED]


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.code)
def test_the_wrong_example_is_wrong_and_the_right_one_right(page: Page) -> None:
    found = check(page.wrong.spec, read=BESIDE.get).diagnostics
    assert [d.code for d in found] == [page.code]
    assert found[0].help
    assert check(page.right.spec, read=BESIDE.get).diagnostics == ()
    assert unfixed(page.wrong.spec) == []


def test_what_stands_around_the_examples_is_right() -> None:
    assert check(around()).diagnostics == ()


@pytest.mark.parametrize("written", ["REC101", "rec101", "101", " Rec101 "])
def test_codes_are_found_however_they_are_written(written: str) -> None:
    assert find_code(written) == "REC101"
    assert page(written) == page("REC101")


@pytest.mark.parametrize(
    ("written", "help"), [("REC1101", "did you mean REC101"), ("eleven", "lists all codes"), ("", "lists")]
)  # fmt: skip
def test_an_unknown_code(written: str, help: str) -> None:
    with pytest.raises(UsageError) as caught:
        page(written)
    assert help in str(caught.value.help)
    assert caught.value.exit_code == 2


def test_the_list_has_every_title() -> None:
    lines = render_list().strip().split("\n")
    assert lines == [f"{code}  {kind.title}" for code, kind in CODES.items()]


def test_a_page_in_a_terminal_is_plain_and_narrow() -> None:
    for shown in PAGES:
        text = render_page(shown)
        assert "```" not in text
        assert "##" not in text
        assert all(len(line) <= WIDTH or line.startswith("    ") for line in text.split("\n"))


def test_the_command() -> None:
    done = cli("explain", "121")
    assert (done.code, done.out) == (0, render_page(page("REC121")))
    done = cli("explain")
    assert done.code == 0
    assert done.out == f"{render_list()}\n{flag_pages.render_list()}"
    assert "starved  The attack ends before its budget does\n" in done.out
    done = cli("explain", "Beaten-By-Control")
    assert (done.code, done.out) == (0, flag_pages.render(flag_pages.page("beaten_by_control")))
    assert max(map(len, done.out.splitlines())) <= WIDTH
    done = cli("explain", "beaten_by_contrl")
    assert done.code == 2
    assert "did you mean beaten_by_control?" in done.err
    done = cli("explain", "REC1011")
    assert (done.code, done.out) == (2, "")
    assert "did you mean REC101" in done.err
