"""Broken specs, by hand and by machine: the right place, one diagnostic each, and fixes that fix."""

from __future__ import annotations

import re

import pytest

from recoverdsl.language import check, render_json, render_text
from recoverdsl.language.syntax.grammar import grammar
from tests.language.corpus import FILES, Case, load, recorded
from tests.language.corpus.mutate import mutated
from tests.language.fixing import unfixed

BY_HAND, MUTATED = map(load, FILES)
CASES = [*BY_HAND, *MUTATED]
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.title.replace(" ", "-"))

TERMINALS = {
    *re.findall(r"(?m)^([A-Z]+)[.:]", grammar()),
    *("LPAR", "RPAR", "LSQB", "RSQB", "LBRACE", "RBRACE", "EQUAL", "COMMA", "LESSTHAN", "MORETHAN"),
}
INTERNAL = re.compile(
    rf"\b(?:{'|'.join(sorted(TERMINALS))}|__ANON_\d+|Token|Traceback|NoneType)\b|\$END|object at 0x"
)


def test_there_are_enough() -> None:
    assert len(BY_HAND) >= 40
    assert len(CASES) >= 150
    assert len({case.text for case in CASES}) == len(CASES)


def test_the_mutations_come_from_their_seed() -> None:
    made = [
        (case.title, case.base, case.old, case.new)
        for case in mutated({case.text for case in BY_HAND})
    ]
    recorded = [(case.title, case.base, case.old, case.new) for case in MUTATED]
    assert made == recorded, "run `python -m tests.language.corpus`"


@each
def test_what_is_said_is_what_was_recorded(case: Case) -> None:
    assert recorded(case.found) == case.expected


@pytest.mark.parametrize("cases", [BY_HAND, MUTATED], ids=["by hand", "mutated"])
def test_the_first_diagnostic_points_at_the_broken_line(cases: list[Case]) -> None:
    missed = [case.title for case in cases if case.found[0].span.line != case.line]
    assert len(missed) <= 0.05 * len(cases), missed


def test_one_mistake_is_one_diagnostic() -> None:
    several = [case.title for case in CASES if len(case.found) > 1]
    assert len(several) <= 0.05 * len(CASES), several


@each
def test_a_fix_takes_its_mistake_away_and_adds_none(case: Case) -> None:
    assert unfixed(case.text) == []


@each
def test_nothing_internal_is_shown(case: Case) -> None:
    for diagnostic in case.found:
        shown = f"{diagnostic.message}\n{diagnostic.why}\n{diagnostic.help}"
        assert {m for m in INTERNAL.findall(shown) if m not in case.text} == set()
        assert diagnostic.line(diagnostic.span).rstrip("\r") in case.text
    assert "\x1b" not in "".join(map(render_text, case.found)) + render_json(case.found)


@each
def test_line_ends_of_windows_change_nothing(case: Case) -> None:
    windows = case.text.replace("\n", "\r\n")
    if "\r" not in case.text:
        places = [(d.code, d.span.line, d.span.column, d.message) for d in case.found]
        again = check(windows, "x.rec").diagnostics
        assert [(d.code, d.span.line, d.span.column, d.message) for d in again] == places


@pytest.mark.parametrize("case", BY_HAND, ids=lambda case: case.title.replace(" ", "-"))
def test_a_fix_keeps_line_ends(case: Case) -> None:
    assert unfixed(case.text.replace("\n", "\r\n")) == []
