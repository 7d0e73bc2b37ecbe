"""The pages that explain the codes, read from `pages/`: for the terminal, the documentation, editors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from textwrap import fill

from attrs import frozen

from recoverdsl.errors import UsageError
from recoverdsl.language.diagnostics.codes import CODES, Severity
from recoverdsl.language.diagnostics.suggestions import did_you_mean, suggest

WIDTH = 88
"""Columns of a page in a terminal."""

_PAGES = files("recoverdsl.language.diagnostics").joinpath("pages")
_EXAMPLE = re.compile(r"```(rec|rec file|text)\n(.*?)```", re.DOTALL)


@frozen
class Example:
    """An example of a page."""

    text: str
    kind: str
    """`rec`: a part of a spec; `rec file`: a whole one; `text`: a description."""

    @property
    def spec(self) -> str | None:
        """Return the whole spec that it is, or a part of; None if it is a description."""
        if self.kind == "text":
            return None
        return self.text if self.kind == "rec file" else f"{around()}\n{self.text}"


@frozen
class Page:
    """The page of one code."""

    code: str
    title: str
    severity: Severity
    body: str
    """Markdown without its heading: what the code means, why the rule exists, two examples."""

    @property
    def meaning(self) -> str:
        """Return what the code means, as one paragraph."""
        return self.body.partition("\n\n")[0].replace("\n", " ")

    @property
    def why(self) -> str:
        """Why the rule exists."""
        return self._section("Why")

    @property
    def wrong(self) -> Example:
        """Return what gives this code, and no other."""
        return self._example("Wrong")

    @property
    def right(self) -> Example:
        """Return the same without the mistake."""
        return self._example("Right")

    @property
    def markdown(self) -> str:
        """Return the whole page."""
        return f"# {self.code}: {self.title}\n\n{self.body}"

    def _section(self, heading: str) -> str:
        _, _, rest = self.body.partition(f"\n## {heading}\n\n")
        return rest.partition("\n## ")[0].strip()

    def _example(self, heading: str) -> Example:
        found = _EXAMPLE.search(self._section(heading))
        if found is None:
            raise ValueError(f"the page of {self.code} has no example under {heading}")
        return Example(found[2], found[1])


@cache
def around() -> str:
    """Return the spec in which the examples stand that are parts of one."""
    return _PAGES.joinpath("around.rec").read_text(encoding="utf-8")


def pages() -> Iterator[Page]:
    """Return all pages, in the order of their codes."""
    return map(page, CODES)


@cache
def page(code: str, others: tuple[str, ...] = ()) -> Page:
    """Return the page of a code.

    Args:
        others: what else may have been meant, for the help of the error.

    Raises:
        UsageError: there is no such code.
    """
    code = find_code(code, others)
    body = _PAGES.joinpath(f"{code}.md").read_text(encoding="utf-8")
    return Page(code, CODES[code].title, CODES[code].severity, body)


def find_code(written: str, others: tuple[str, ...] = ()) -> str:
    """Return the code that is meant by `REC101`, `rec101` or `101`.

    Raises:
        UsageError: there is no such code.
    """
    code = written.strip().upper()
    code = f"REC{code}" if code.isdigit() else code
    if code in CODES:
        return code
    near = did_you_mean(written.strip().lower(), others)
    help = suggest(code, CODES) or (f"did you mean {near}?" if near else None)
    help = help or "recoverdsl explain lists all codes"
    raise UsageError(f"there is no code {written!r}", help=help.replace("`", ""))


def render_page(page: Page) -> str:
    """Return a page as it is read in a terminal."""
    warning = " (a warning)" if page.severity == "warning" else ""
    return f"{page.code}: {page.title}{warning}\n\n{laid_out(page.body)}"


def laid_out(body: str) -> str:
    """Return the body of a page as it is read in a terminal, with a newline at its end."""
    text = _EXAMPLE.sub(lambda m: re.sub(r"(?m)^(?=.)", "    ", m[2]), body)
    text = re.sub(r"(?m)^## (\w+)$", r"\1:", text)
    paragraphs = [
        part if part.startswith("    ") else fill(part, WIDTH)
        for part in re.split(r"\n\n+", text.strip())
    ]
    return "\n\n".join(paragraphs) + "\n"


def render_list() -> str:
    """Return all codes with their titles, one on each line."""
    return "".join(f"{code}  {kind.title}\n" for code, kind in CODES.items())
