"""Broken specs, each a good one with a piece replaced, and the diagnostics that it gives.

`by_hand.txt` holds what hurried people write; `mutated.txt` what `mutate.py` made, from a seed.
A case reads

    == title, and the file that is broken
    -the piece as it is
    +what it is replaced by
    ? line and code of each diagnostic

`python -m tests.language.corpus` makes `mutated.txt` anew and records the diagnostics of both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path

from attrs import evolve, frozen

from recoverdsl.language import check
from recoverdsl.language.diagnostics import Diagnostic

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
FILES = (HERE / "by_hand.txt", HERE / "mutated.txt")
_ESCAPE = re.compile(r"\\u\{([0-9a-f]+)\}")


@frozen
class Case:
    """One broken spec."""

    title: str
    base: str
    """The file that is broken, from the root of the repository."""
    old: str
    new: str
    expected: tuple[str, ...]
    """Line and code of each diagnostic."""

    @property
    def text(self) -> str:
        """The broken spec."""
        good = read(self.base)
        assert good.count(self.old) >= 1, self
        return good.replace(self.old, self.new, 1)

    @property
    def line(self) -> int:
        """The first line that is not as it was."""
        good, broken = read(self.base).split("\n"), self.text.split("\n")
        same = next((i for i, (a, b) in enumerate(zip(good, broken, strict=False)) if a != b), None)
        return (min(len(good), len(broken)) if same is None else same) + 1

    @property
    def found(self) -> tuple[Diagnostic, ...]:
        """The diagnostics that it gives."""
        return diagnostics(self.text)


@cache
def read(base: str) -> str:
    """A good spec."""
    return (ROOT / base).read_text(encoding="utf-8")


@lru_cache(maxsize=4096)
def diagnostics(text: str) -> tuple[Diagnostic, ...]:
    """What is wrong with a text."""
    return check(text, "x.rec").diagnostics


def recorded(found: Iterable[Diagnostic]) -> tuple[str, ...]:
    """Diagnostics as a case records them."""
    return tuple(f"{d.span.line} {d.code}" for d in found)


def load(path: Path) -> list[Case]:
    """The cases of a file."""
    cases = []
    for part in path.read_text(encoding="utf-8").split("\n== ")[1:]:
        head, *lines = part.rstrip("\n").split("\n")
        title, _, base = head.rpartition(" | ")
        old, new, expected = ([x[1:] for x in lines if x.startswith(sign)] for sign in "-+?")
        cases.append(
            Case(title, base, _plain(old), _plain(new), tuple(x.strip() for x in expected))
        )
    return cases


def save(path: Path, cases: Iterable[Case]) -> None:
    """Write cases, with the diagnostics that they give now."""
    about = path.read_text(encoding="utf-8").partition("\n== ")[0] if path.exists() else "#"
    parts = [about.rstrip("\n") + "\n"]
    for case in cases:
        case = evolve(case, expected=recorded(case.found))
        lines = [f"== {case.title} | {case.base}"]
        lines += [f"-{line}" for line in _escaped(case.old).split("\n")]
        lines += [f"+{line}" for line in _escaped(case.new).split("\n")]
        lines += [f"? {one}" for one in case.expected]
        parts.append("\n".join(lines) + "\n")
    path.write_text("\n".join(parts), encoding="utf-8")


def _plain(lines: list[str]) -> str:
    return _ESCAPE.sub(lambda m: chr(int(m[1], 16)), "\n".join(lines))


def _escaped(text: str) -> str:
    """The text with what no reader would see written out."""
    return "".join(
        c if c.isprintable() or c in "\n" else f"\\u{{{ord(c):x}}}" for c in text
    )  # fmt: skip
