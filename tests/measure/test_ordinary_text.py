"""The ordinary texts that ship with the tool."""

from __future__ import annotations

import re

import attrs

from recoverdsl.language.schema import Intervene
from recoverdsl.measure.ordinary_text import digest_of, ordinary_texts

TEXTS = ordinary_texts()


def test_the_language_asks_for_as_many_as_there_are() -> None:
    option = attrs.fields(Intervene).ordinary_texts
    assert len(TEXTS) == option.default == option.metadata["at_most"] == 40


def test_texts_are_different_and_of_a_paragraph_s_length_and_without_markup() -> None:
    assert len(set(TEXTS)) == len({text.split()[0] + text.split()[1] for text in TEXTS}) == 40
    for text in TEXTS:
        assert text == text.strip()
        assert text.isascii()
        assert 20 <= len(text.split()) <= 110
        assert not re.search(r"</?\w+>|\*\*|\[[^\]]*\]\(|https?:|<\|", text)
    assert 2500 <= sum(len(text.split()) for text in TEXTS) <= 3500


def test_the_digest_is_that_of_the_texts_that_are_taken() -> None:
    digests = [digest_of(count) for count in range(1, 41)]
    assert len(set(digests)) == 40
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)


def test_no_text_is_about_what_the_shipped_audits_test() -> None:
    """They test refusals, and who is given what."""
    for text in TEXTS:
        assert not re.search(r"\b(cannot help|can't help|I'm sorry|as an AI|gave an? \w+ to)\b", text, re.I)  # fmt: skip
