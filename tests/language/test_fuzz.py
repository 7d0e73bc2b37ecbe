"""Specs and other texts drawn at random. `python -m tests.language.fuzz` does it for longer."""

from __future__ import annotations

import re

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from recoverdsl.language import schema
from recoverdsl.language.diagnostics import Collector
from recoverdsl.language.recovery.reader import read_loosely
from recoverdsl.language.syntax.grammar import comments, parse_strictly
from tests.language import properties
from tests.language.fuzz import mutants
from tests.language.strategies import checked, grammatical

few = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)  # fmt: skip


@few
@given(grammatical())
def test_what_the_grammar_derives_comes_back(text: str) -> None:
    properties.comes_back(text)


@few
@given(checked())
def test_what_the_schema_allows_checks_and_comes_back(text: str) -> None:
    properties.comes_back(text)
    properties.means_the_same(text)


def test_the_schema_is_drawn_from_widely() -> None:
    drawn: list[str] = []

    @settings(max_examples=120, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(checked())
    def draw(text: str) -> None:
        drawn.append(text)

    draw()
    words = {word for text in drawn for word in re.findall(r"\w+", text)}
    assert {*schema.BLOCKS, *schema.FUNCTIONS} - words == set()
    assert {"judge", "score", "refuses", "activation", "base_answer", "target_tokens"} <= words


@few
@given(mutants())
def test_a_broken_spec_is_only_explained(text: str) -> None:
    properties.is_only_explained(text)


@few
@given(st.one_of(st.text(max_size=80), st.binary(max_size=80)))
def test_any_text_is_only_explained(text: str | bytes) -> None:
    properties.is_only_explained(text)


@few
@given(st.one_of(grammatical(), checked()))
def test_recovery_reads_a_right_text_as_the_grammar_does(text: str) -> None:
    report = Collector("x", text)
    statements, lexed = read_loosely(text, report)
    assert statements == parse_strictly(text)
    assert tuple(lexed.comments) == comments(text)
    assert report.found == []
