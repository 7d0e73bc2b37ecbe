"""Specs and other texts drawn at random. `python -m tests.language.fuzz` does it for longer."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lark import Token
from recoverdsl.language.lexer import scan

from recoverdsl.language import schema
from recoverdsl.language.syntax.grammar import _lark
from tests.language import properties
from tests.language.fuzz import MOST_SECONDS, mutants, seconds
from tests.language.huge import TEXTS
from tests.language.strategies import checked, grammatical
from tests.language.texts import FULL, IOI

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

    @settings(max_examples=60, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
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
@given(st.one_of(st.text(max_size=60), mutants(), st.sampled_from([FULL, IOI])))
def test_tokens_are_those_of_the_grammar(text: str) -> None:
    def told(tokens: Iterable[Token]) -> list[tuple[str, str, int, int, int]]:
        """Tokens without what has no meaning; several ends of lines are one."""
        made: list[tuple[str, str, int, int, int]] = []
        for t in tokens:
            ends = t.type == "NEWLINE"
            if t.type not in ("SPACE", "COMMENT") and not (
                ends and (not made or made[-1][0] == t.type)
            ):
                made.append(
                    (t.type, str(t), *((0, 0, 0) if ends else (t.start_pos, t.line, t.column)))
                )
        return made

    assert told(scan(_lark(), text)) == told(_lark().lex(text, dont_ignore=True))


@pytest.mark.parametrize(
    "name",
    ["round", "open blocks, behind a spec", "one name", "inside: sum of a param", "one line",
     "many attacks like each other", "many unknown names", "heirs of stages", "many uses"],
)  # fmt: skip
def test_a_mebibyte_is_refused_or_checked_at_once(name: str) -> None:
    # Twice what is promised, since machines that run tests are busy.
    assert seconds(TEXTS[name]()) < 2 * MOST_SECONDS
