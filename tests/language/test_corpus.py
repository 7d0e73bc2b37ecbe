"""Broken specs, by hand and by machine: the right place, one diagnostic each, and fixes that fix."""

from __future__ import annotations

import re

import pytest

from recoverdsl.language import render_json, render_text
from recoverdsl.language.diagnostics import Diagnostic
from recoverdsl.language.syntax.grammar import grammar
from tests.language.corpus import FILES, Case, diagnostics, load, recorded
from tests.language.corpus.mutate import mutated
from tests.language.fixing import unfixed

BY_HAND, MUTATED = map(load, FILES)
CASES = [*BY_HAND, *MUTATED]
halves = pytest.mark.parametrize("cases", [BY_HAND, MUTATED], ids=["by hand", "mutated"])

TERMINALS = {
    *re.findall(r"(?m)^([A-Z]+)[.:]", grammar()),
    *("LPAR", "RPAR", "LSQB", "RSQB", "LBRACE", "RBRACE", "EQUAL", "COMMA", "LESSTHAN", "MORETHAN"),
}
INTERNAL = re.compile(
    rf"\b(?:{'|'.join(sorted(TERMINALS))}|__ANON_\d+|Token|Traceback|NoneType)\b|\$END|object at 0x"
)


def windows(text: str) -> str:
    """The text with the line ends of Windows."""
    return text.replace("\n", "\r\n")


def test_there_are_enough() -> None:
    assert len(BY_HAND) >= 200
    assert len(CASES) >= 440
    assert len({case.text for case in CASES}) == len(CASES)


def test_the_mutations_come_from_their_seed() -> None:
    made = [
        (case.title, case.base, case.old, case.new)
        for case in mutated({case.text for case in BY_HAND})
    ]
    recorded = [(case.title, case.base, case.old, case.new) for case in MUTATED]
    assert made == recorded, "run `python -m tests.language.corpus`"


def test_what_is_said_is_what_was_recorded() -> None:
    assert {c: recorded(c.found) for c in CASES if recorded(c.found) != c.expected} == {}


@halves
def test_every_case_is_a_mistake(cases: list[Case]) -> None:
    assert [case.title for case in cases if not case.found] == []


@halves
def test_the_first_diagnostic_points_at_the_broken_line(cases: list[Case]) -> None:
    missed = [case.title for case in cases if case.found[0].span.line != case.line]
    assert len(missed) <= 0.04 * len(cases), missed


@halves
def test_one_mistake_is_one_diagnostic(cases: list[Case]) -> None:
    several = [case.title for case in cases if len(case.found) > 1]
    assert len(several) <= 0.04 * len(cases), several


@halves
def test_most_mistakes_have_a_fix(cases: list[Case]) -> None:
    without = [case.title for case in cases if not any(d.fix for d in case.found)]
    assert len(without) <= 0.22 * len(cases), without


def test_a_fix_takes_its_mistake_away_and_adds_none() -> None:
    wrong = {(c.title, c.new): unfixed(c.text) for c in CASES}
    assert {case: said for case, said in wrong.items() if said} == {}


def test_a_fix_keeps_line_ends() -> None:
    wrong = {(c.title, c.new): unfixed(windows(c.text)) for c in BY_HAND}
    assert {case: said for case, said in wrong.items() if said} == {}


def _internal(case: Case) -> set[str]:
    """What no user should see of the diagnostics of a case."""
    found = {"an escape"} if "\x1b" in "".join(map(render_text, case.found)) else set()
    found |= {"an escape in JSON"} if "\x1b" in render_json(case.found) else set()
    for d in case.found:
        shown = f"{d.message}\n{d.why}\n{d.help}"
        found |= {m for m in INTERNAL.findall(shown) if m not in case.text}
        found |= set() if d.line(d.span).rstrip("\r") in case.text else {"another line"}
    return found


def test_nothing_internal_is_shown() -> None:
    assert {case.title: said for case in CASES if (said := _internal(case))} == {}


def test_line_ends_of_windows_change_nothing() -> None:
    def places(found: tuple[Diagnostic, ...]) -> list[tuple[str, int, int, str]]:
        return [(d.code, d.span.line, d.span.column, d.message) for d in found]

    cases = [case for case in CASES if "\r" not in case.text]
    again = {c: places(diagnostics(windows(c.text))) for c in cases}
    assert {c: said for c, said in again.items() if said != places(diagnostics(c.text))} == {}
