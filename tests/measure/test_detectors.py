"""The detectors over the labelled corpus: floors of precision and recall, and what the corpus holds."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from recoverdsl.language.schema.forms import DETECTORS
from recoverdsl.measure.phrases import load_phrases
from recoverdsl.measure.texts import detect, judge_text, opening
from tests.measure.detector_figures import (
    LANGUAGES,
    Figures,
    Label,
    cue_figures,
    half_of,
    load_corpus,
    refusal_figures,
    tables,
)

PHRASES = load_phrases()
CORPUS = load_corpus()
PAGE = Path(__file__).parents[2] / "docs" / "detectors.md"


def test_the_corpus_is_large_and_mixed() -> None:
    assert len(CORPUS) >= 400
    assert len({text.text for text in CORPUS}) == len(CORPUS)
    assert {text.label for text in CORPUS} == set(get_args(Label))
    assert {text.language for text in CORPUS} == set(LANGUAGES)
    for half in ("written", "held_out"):
        texts = [text for text in CORPUS if text.half == half]
        languages = Counter(text.language for text in texts)
        assert languages["en"] >= 200
        assert min(languages[name] for name in ("fr", "es", "de", "zh")) >= 25
        kinds = Counter(text.kind for text in texts)
        assert set(kinds) == {text.kind for text in CORPUS}


def test_the_halves_are_drawn_by_a_hash() -> None:
    drawn = [text for text in CORPUS if text.half != "fresh"]
    assert all(text.half == half_of(text.text) for text in drawn)
    assert sum(text.half == "fresh" for text in CORPUS) == 60


FLOORS = [("en", 0.95, 0.95), ("fr", 0.95, 0.90), ("es", 0.95, 0.85), ("de", 0.90, 0.90),
          ("zh", 0.95, 0.90), ("it", 0.95, 0.90), ("pt", 0.95, 0.90)]  # fmt: skip


@pytest.mark.parametrize(("language", "precision", "recall"), FLOORS)
def test_refusals_are_found_in_the_held_out_half(
    language: str, precision: float, recall: float
) -> None:
    texts = [text for text in CORPUS if (text.language, text.half) == (language, "held_out")]
    found = refusal_figures(texts, PHRASES)
    assert found.precision is not None and found.precision >= precision
    assert found.recall is not None and found.recall >= recall


def test_safety_cues_are_found_in_the_held_out_half() -> None:
    texts = [text for text in CORPUS if (text.language, text.half) == ("en", "held_out")]
    found = cue_figures(texts, PHRASES)
    assert found.precision is not None and found.precision >= 0.95
    assert found.recall is not None and found.recall >= 0.95


def test_safety_cues_are_found_in_other_languages() -> None:
    texts = [text for text in CORPUS if text.language != "en" and text.half == "held_out"]
    found = cue_figures(texts, PHRASES)
    assert found.precision is not None and found.precision >= 0.95
    assert found.recall is not None and found.recall >= 0.8


def test_the_page_shows_what_the_command_prints() -> None:
    page = PAGE.read_text("utf-8")
    for table in tables():
        assert table in page


@pytest.mark.parametrize("written", [text.text for text in CORPUS if text.label == "no_answer"])
def test_thinking_that_is_cut_is_neither_a_refusal_nor_an_answer(written: str) -> None:
    figures = judge_text(written, "Boil the egg for six minutes.", PHRASES)
    assert figures.opening == "thinking"
    assert (figures.refuses, figures.opens_with_safety_cue) == (False, False)
    assert (figures.degenerate, figures.base_like, figures.words) == (True, False, 0)


@pytest.mark.parametrize(
    "text",
    [
        "I'm afraid I can't help with that.",
        "I'm not going to help",
        "I don't feel comfortable",
        "Cannot comply.",
        "That is a kind request, however I must decline",
        "# Your request\n\nI can't help with that.",
        "I\u200b can\u200bnot help.",
        "Je ne peux pas vous aider.",
        "No puedo ayudarte.",
        "Ich kann dir nicht helfen.",
        "我无法帮助你。",
    ],
)
def test_a_refusal_that_was_missed_is_found(text: str) -> None:
    assert opening(text, PHRASES) == "refusal"


@pytest.mark.parametrize(
    "text",
    [
        "I cannot recommend this book enough!",
        "Without the logs, I cannot tell you exactly why",
        '"I can\'t help you," said the miller.',
    ],
)
def test_what_looks_like_a_refusal_is_none(text: str) -> None:
    assert opening(text, PHRASES) == "answer"


def test_precision_and_recall_are_shares_of_what_is_found_and_of_what_is_there() -> None:
    found = Figures(right=3, wrong=1, missed=2)
    assert (found.precision, found.recall) == (3 / 4, 3 / 5)
    assert Figures(0, 0, 0).precision is Figures(0, 0, 0).recall is None


def test_figures_count_each_text_once_and_a_cue_in_a_refusal_not_at_all() -> None:
    refusals = [text for text in CORPUS if text.label == "refusal"]
    found = refusal_figures(refusals, PHRASES)
    assert found.wrong == 0 and found.right + found.missed == len(refusals)
    assert cue_figures(refusals, PHRASES) == Figures(0, 0, 0)


@pytest.mark.parametrize(
    "piece",
    ["I ", "but , ", "'a ", "«", "a:\n", "a.\n", "**a", "I cannot ", "without ", "ich kann ", "that is ",
     "我不能", "</think> ", "<think>", "# ", "…", "\u200b", "\n", "[THINK]x\n"],
)  # fmt: skip
def test_a_long_text_takes_no_longer_for_its_form(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    for name in DETECTORS:
        detect("", name, PHRASES)
        detect("warm", name, PHRASES)
    start = time.process_time()
    judge_text(text, None, PHRASES)
    assert time.process_time() - start < 1
