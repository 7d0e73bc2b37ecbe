"""The site builds without warnings, and every link within the repository has a target."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from recoverdsl.language.diagnostics import explanations as explain
from recoverdsl.language.diagnostics.codes import CODES
from tests.docs.pages import PAGES, ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_every_code_has_a_page_and_a_place_in_the_index(site: Path) -> None:
    index = (site / "errors/index.html").read_text("utf-8")
    for page in explain.pages():
        shown = (site / f"errors/{page.code}.html").read_text("utf-8")
        assert page.title in shown
        assert f'href="{page.code}.html"' in index
    assert len(list((site / "errors").glob("REC*.html"))) == len(CODES)


def test_specs_are_colored(site: Path) -> None:
    home = (site / "index.html").read_text("utf-8")
    assert re.search(r'<span class="kd">protect</span>', home)
    assert "fragment" not in re.findall(r"<p><code>.*?</code></p>", home)


def test_every_shipped_spec_is_shown(site: Path) -> None:
    for spec in (ROOT / "specs").glob("*.rec"):
        assert (site / f"specs/{spec.stem}.html").is_file()


class Fetched(HTMLParser):
    """The resources that a browser loads with a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag in ("script", "img", "iframe") or (
            tag == "link" and named.get("rel") != "canonical"
        ):
            self.found.append(named.get("src") or named.get("href") or "")


def test_the_site_needs_no_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        parser = Fetched()
        parser.feed(page.read_text("utf-8"))
        assert [place for place in parser.found if "//" in place] == [], page


def links() -> Iterator[tuple[str, Path, str]]:
    for page in PAGES:
        for link in LINK.findall(page.read_text("utf-8")):
            if not re.match(r"https?:|#", link):
                yield f"{page.relative_to(ROOT)} {link}", page, link


def test_links_within_the_repository_have_a_target() -> None:
    """Pages of codes exist only on the site, whose build checks the links to them."""
    broken = [
        place
        for place, page, link in links()
        if not (page.parent / link.partition("#")[0]).exists() and "errors/" not in link
    ]
    assert broken == []
