"""The pages of the documentation, and the blocks of code in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    ROOT / "editors/vscode/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
SHELL = ("console", "sh", "bash")

_FENCE = re.compile(r"^```(\w*)(.*)\n((?:.*\n)*?)```$", re.MULTILINE)


@frozen
class Code:
    """A block of code in a page."""

    page: Path
    line: int
    language: str
    words: tuple[str, ...]
    """The words after the language."""
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[tuple[str, str]]:
        """The commands of a session, each with what it prints; `…` stands for anything."""
        return re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", self.text, re.MULTILINE)


def blocks(*languages: str) -> Iterator[Code]:
    """Yield the blocks of code in these languages, from all pages."""
    for page in PAGES:
        text = page.read_text("utf-8")
        for found in _FENCE.finditer(text):
            if found[1] in languages:
                line = text.count("\n", 0, found.start()) + 1
                yield Code(page, line, found[1], tuple(found[2].split()), found[3])
