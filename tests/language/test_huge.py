"""Large texts: twice the text is no more than a little over twice the work, counted and not timed."""

from __future__ import annotations

import pytest

from recoverdsl.language import check
from recoverdsl.language.syntax.grammar import LONGEST
from tests.language.huge import TEXTS
from tests.work import calls

SIZE = 1 << 12

NAMES = [
    "round", "braces", "quotes", "open blocks, behind a spec", "one name", "names", "dots", "sum", "kebabs",
    "open comments", "open strings", "lines of prose", "carriage returns and names", "inside: sum of a param",
    "inside: missing commas", "inside: path", "inside: string", "one line", "many attacks like each other",
    "many unknown names", "many uses", "many slips", "a column of one letter", "indented blocks",
]  # fmt: skip


def work(text: str) -> int:
    """Return how many functions are called to check a text."""
    return calls(lambda: check(text))


def test_work_grows_with_the_text_alone() -> None:
    for name in NAMES:
        check(TEXTS[name](200))
    least = work("recoverdsl 1\n")
    works = {name: (work(TEXTS[name](SIZE)), work(TEXTS[name](2 * SIZE))) for name in NAMES}
    assert {name: (one, two) for name, (one, two) in works.items() if two > 2.5 * one + least} == {}


def test_what_is_inherited_is_bounded() -> None:
    one, two = (TEXTS["heirs of stages"](size) for size in (1 << 15, 1 << 16))
    assert [d.code for d in check(one).diagnostics][-1] == "REC108"
    assert work(two) <= 2.5 * work(one)


@pytest.mark.parametrize("name", ["round", "one name", "newlines"])
def test_more_than_a_mebibyte_is_refused_unread(name: str) -> None:
    text = TEXTS[name](LONGEST) + "a" * 100
    assert [d.code for d in check(text).diagnostics] == ["REC108"]
    assert work(text) < 1000
