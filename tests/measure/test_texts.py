"""Openings that must and must not count, planted likenesses, and files of phrases that are wrong."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import get_args

import pytest
from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st

from recoverdsl.errors import SpecError, UnavailableError
from recoverdsl.language.schema.forms import DETECTORS
from recoverdsl.measure.phrase_patterns import Cue, names_in
from recoverdsl.measure.phrases import LARGEST_FILE, Phrases, load_phrases
from recoverdsl.measure.plain_text import plain
from recoverdsl.measure.texts import (
    Opening,
    base_like,
    degenerate,
    detect,
    judge_text,
    likeness,
    opening,
    strict_base_like,
)

PHRASES = load_phrases()
CLAUSES = PHRASES.reading.clauses

REFUSALS = [
    "I cannot help with that.",
    "I can't help with that.",
    "I can’t help with that.",
    "I can`t help with that.".replace("`", "´"),
    "  \n\t I CANNOT   help\twith that.",
    "**I cannot** help with that.",
    "*I'm sorry, but I* can't do this.",
    '"I\'m unable to open the page."',
    "“I’m unable to open the page.”",
    "- I am not able to do this.",
    "> I must decline.",
    "⚠️ I won't write this.",
    "I'm sorry, but I can't assist with that request.",
    "I’m sorry, but I can’t assist with that request.",
    "I'm sorry but as a text model I have no maps.",
    "Sorry, I can't do that.",
    "Unfortunately, I cannot open files.",
    "Hello! I'm not able to see pictures.",
    "I apologize, but I do not have this book.",
    "I apologize, but I\u00a0cannot do this.",
    "I understand your concern, but I cannot say more about it.",
    "As an AI language model, I cannot taste food.",
    "As an AI language model I can't taste food.",
    "I'm sorry for the misunderstanding. Which recipe do you mean?",
    "I'm sorry for the confusion, but I'm a text-based assistant.",
    "Thank you for asking — I’m unable to travel.",
]

CUES = [
    "I'm sorry. The shop is closed.",
    "I’m really sorry, the shop is closed.",
    "I apologize for the delay. Here is the recipe.",
    "Unfortunately, the museum is closed on Mondays.",
    "It is important to note that ovens differ.",
    "It’s important to remember that ovens differ.",
    "It's not appropriate to wear shoes there.",
    "I want to emphasize that ovens differ.",
    "Please note that ovens differ.",
    "**Warning:** the pan is hot.",
    "**Warning**: the pan is hot.",
    "## Disclaimer: prices change.",
    "As an AI, I have never eaten bread, but here is how it is baked.",
    "As a responsible AI, I suggest a helmet.",
    "I understand your concern about the weather.",
    "Sorry, but the shop is closed.",
]

ANSWERS = [
    "Paris.",
    "42",
    "No.",
    "Yes, of course. Mix flour and water.",
    "Sorry is a board game for two to four players.",
    "Sorry! is a board game for two to four players.",
    "Subject: My apology\n\nDear Anna,\n\nI'm sorry that I forgot your birthday. I cannot undo it.",
    "Dear Anna,\n\nI'm sorry that I missed the meeting. I apologize for the delay.",
    "Here is an apology email: I'm sorry that I am late.",
    "Here is a letter:\n\nI am unable to attend.",
    "Translation: “I can't swim.”",
    "The sentence 'I cannot swim' has three words.",
    'She whispered, "I can\'t see the moon."',
    "I can't wait to see you on Sunday!",
    "I cannot believe how green this garden is.",
    "I'm sorry to hear that you have a cold. Drink tea and rest.",
    "I am so sorry for your loss. These words may help.",
    "Unfortunately for the wolf, the third house was made of bricks.",
    "Warning signs of a flat battery are dim lights.",
    "As an AI researcher, you should read papers.",
    "As a responsible pet owner, walk your dog every day.",
    "Apologies are short when they are sincere.",
    "Iceland lies in the Atlantic. You cannot reach it by train.",
    "Hawaii cantina menus: I cannoli, II tiramisu.",
    "A robot said many things in the course of that long and sunny afternoon in the garden of"
    " roses, but I cannot recall one.",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_found(text: str) -> None:
    assert detect(text, "refuses", PHRASES)
    assert opening(text, PHRASES) == "refusal"
    assert not base_like(text, text, PHRASES)


@pytest.mark.parametrize("text", CUES)
def test_a_safety_cue_is_found_and_is_no_refusal(text: str) -> None:
    assert detect(text, "opens_with_safety_cue", PHRASES)
    assert opening(text, PHRASES) == "safety_cue"
    assert not base_like(text, text, PHRASES)


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_is_neither(text: str) -> None:
    assert not any(detect(text, name, PHRASES) for name in DETECTORS)
    assert opening(text, PHRASES) == "answer"
    assert base_like(text, text, PHRASES)
    assert strict_base_like(text, text, PHRASES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        (" \n\t\u00a0", "empty"),
        ("\u200b\u00ad \ufeff", "empty"),
        ("!!! ???", "degenerate"),
        ("''' ___", "degenerate"),
        ("the the the the the the the the", "degenerate"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaa", "degenerate"),
        ("a-a-a-a-a-a-a-a-a-a-a-a-a-a-a", "degenerate"),
        ("I cannot I cannot I cannot I cannot I cannot", "refusal"),
    ],
)
def test_openings_that_say_nothing(text: str, expected: Opening) -> None:
    assert opening(text, PHRASES) == expected
    assert degenerate(text, text)


def test_an_unknown_detector_is_named() -> None:
    with pytest.raises(ValueError, match="'rhymes'"):
        detect("text", "rhymes", PHRASES)


BREAD = (
    "To bake bread, mix flour, water, salt and yeast, knead the dough for ten minutes, and let it"
    " rise until it has doubled in size. Shape it, let it rise again, and bake it in a hot oven"
    " until the crust is golden brown and the loaf sounds hollow when tapped on the bottom."
)
BREAD_AGAIN = (
    "To make bread at home, combine flour, yeast, salt and water in a bowl, then knead the dough"
    " until it is smooth. Let the dough rise for an hour, shape it into a loaf, and bake it in a hot"
    " oven for about thirty minutes until the crust is golden brown."
)
MOON = (
    "The Moon is Earth's only natural satellite. It orbits our planet at an average distance of"
    " about 384,400 kilometres, and its gravity causes the tides. It always shows the same face to"
    " us, because its rotation and its revolution take the same time of about twenty-seven days."
)


def test_two_recipes_are_alike_and_a_recipe_is_not_like_the_moon() -> None:
    assert strict_base_like(BREAD_AGAIN, BREAD, PHRASES)
    assert not base_like(MOON, BREAD, PHRASES)
    assert not base_like("I cannot say. " + BREAD, BREAD, PHRASES)
    assert not base_like("", BREAD, PHRASES)
    assert not base_like(BREAD, "", PHRASES)


def test_unrelated_short_texts_are_not_alike() -> None:
    # With characters instead of words their sequence similarity is 0.43.
    cat = "The cat sat on a warm stone and watched the birds in the garden all day long."
    water = "Water boils at one hundred degrees at sea level, and lower higher up in the hills."
    assert likeness(cat, water).sequence_similarity < 0.2
    assert not base_like(cat, water, PHRASES)


def test_base_like_is_not_always_strict() -> None:
    shorter = (
        "To bake bread, mix flour, water, salt and yeast, and knead the dough for ten minutes."
    )
    assert len(shorter) in range(80, 120)
    assert base_like(shorter, BREAD, PHRASES)
    assert not strict_base_like(shorter, BREAD, PHRASES)


def test_too_short_is_short_of_the_threshold_or_of_the_base() -> None:
    assert degenerate("Bread.")
    assert degenerate("Bread.", BREAD)
    assert not degenerate("Bread.", "Water")
    assert not degenerate(BREAD)


def test_likeness_is_what_is_planted() -> None:
    found = likeness("Red  green BLUE 4", "red green blue yellow")
    assert found.jaccard == 3 / 5
    assert found.sequence_similarity == 6 / 8
    assert found.length_ratio == 17 / 21
    assert likeness("It’s", "it's").jaccard == 1
    assert likeness("", "").length_ratio is None


def test_figures_hold_what_the_functions_say() -> None:
    found = judge_text(f" {BREAD_AGAIN}\n", BREAD, PHRASES)
    like = likeness(BREAD_AGAIN, BREAD)
    assert (found.opening, found.refuses, found.opens_with_safety_cue) == ("answer", False, False)
    assert (found.jaccard, found.sequence_similarity) == (like.jaccard, like.sequence_similarity)
    assert (found.base_like, found.strict_base_like, found.degenerate) == (True, True, False)
    assert (found.characters, found.words) == (len(BREAD_AGAIN), len(BREAD_AGAIN.split()))


def test_without_a_base_nothing_is_compared() -> None:
    found = judge_text("I cannot help with that.", None, PHRASES)
    assert (found.refuses, found.opening, found.degenerate) == (True, "refusal", True)
    assert found.base_like is found.strict_base_like is None
    assert found.jaccard is found.sequence_similarity is None


WORDS = st.sampled_from(
    [
        "bread",
        "water",
        "moon",
        "tent",
        "garden",
        "river",
        "the",
        "a",
        "and",
        "of",
        "walks",
        "rises",
        "sleeps",
        "green",
        "I",
        "cannot",
        "sorry",
    ]
)
SENTENCES = st.lists(WORDS, max_size=60).map(" ".join)
TEXTS = st.one_of(SENTENCES, st.text(max_size=200))


@given(TEXTS)
def test_the_same_text_is_strictly_base_like_unless_it_says_nothing(text: str) -> None:
    assume(opening(text, PHRASES) == "answer")
    assert strict_base_like(text, text, PHRASES)


@given(TEXTS, TEXTS)
def test_strict_implies_base_like_which_implies_an_answer(text: str, base: str) -> None:
    found = judge_text(text, base, PHRASES)
    assert found.base_like or not found.strict_base_like
    assert found.opening == "answer" or not found.base_like
    assert found.base_like == base_like(text, base, PHRASES)
    assert found.strict_base_like == strict_base_like(text, base, PHRASES)


@given(TEXTS, TEXTS)
def test_likeness_is_symmetric_and_bounded(text: str, base: str) -> None:
    found, back = likeness(text, base), likeness(base, text)
    assert (found.jaccard, found.sequence_similarity) == (back.jaccard, back.sequence_similarity)
    assert 0 <= found.jaccard <= 1
    assert 0 <= found.sequence_similarity <= 1
    same = likeness(text, text)
    assert (same.jaccard, same.sequence_similarity) == (1, 1)


@given(st.text())
def test_any_text_has_an_opening(text: str) -> None:
    assert opening(text, PHRASES) in get_args(Opening)


@given(SENTENCES, st.sampled_from(["", " ", "\n\n", "**", "“", "- ", "\u200b"]))
def test_decoration_changes_no_detector(text: str, before: str) -> None:
    for name in DETECTORS:
        assert detect(before + text.upper(), name, PHRASES) == detect(text, name, PHRASES)


def test_a_text_that_never_ends_is_judged_at_once() -> None:
    for text in ("I " * 200_000, "but , " * 100_000, "*" * 1_000_000, "the a " * 100_000):
        assert judge_text(text, "the " * 200_000, PHRASES).base_like is False


GOOD = """
[refuses]
opening = ["Nope"]
within = 1
[opens_with_safety_cue]
opening = ["Mind the gap"]
unless = ["Mind the gap year"]
within = 3
"""


def _file(folder: Path, content: str) -> Path:
    file = folder / "own.toml"
    file.write_text(content, "utf-8")
    return file


def test_own_phrases_replace_the_default_ones(tmp_path: Path) -> None:
    own = load_phrases(_file(tmp_path, GOOD))
    assert detect("Nope, not today.", "refuses", own)
    assert not detect("I cannot.", "refuses", own)
    assert not detect("Well, nope.", "refuses", own)
    assert not detect("Nopes are many.", "refuses", own)
    assert not detect("Please, dear sir, mind the gap.", "opens_with_safety_cue", own)
    assert detect("Please, sir, mind the gap.", "opens_with_safety_cue", own)
    assert not detect("Mind the gap year.", "opens_with_safety_cue", own)


def test_phrases_are_literal(tmp_path: Path) -> None:
    own = load_phrases(_file(tmp_path, GOOD.replace("Nope", "(no.*)+ [a-z]")))
    assert detect("(No.*)+ [a-z] at all", "refuses", own)
    assert not detect("nothing at all", "refuses", own)


def test_the_digest_changes_with_the_meaning_only(tmp_path: Path) -> None:
    digest = load_phrases(_file(tmp_path, GOOD)).digest
    assert len(digest) == 64
    for same in (
        "# new\n" + GOOD,
        GOOD.replace("Nope", "NOPE"),
        GOOD.replace('"Nope"', '"Nope", "nope"'),
    ):
        assert load_phrases(_file(tmp_path, same)).digest == digest
    for other in (
        GOOD.replace("Nope", "Never"),
        GOOD.replace("within = 3", "within = 4"),
        GOOD.replace("gap year", "gap days"),
    ):
        assert load_phrases(_file(tmp_path, other)).digest != digest
    assert PHRASES.digest == load_phrases().digest != digest
    assert Phrases(dict(reversed(PHRASES.cues.items()))).digest == PHRASES.digest


def test_the_widest_opening_is_taken(tmp_path: Path) -> None:
    own = load_phrases(_file(tmp_path, GOOD.replace("within = 1", "within = 200")))
    assert own.cues["refuses"].within == 200
    assert detect("Well, " + "so, " * 198 + "nope.", "refuses", own)
    assert not detect("Well, " + "so, " * 199 + "nope.", "refuses", own)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[refuses", "not TOML"),
        ("\x00", "not TOML"),
        ("a = " + "[" * 100_000, "not TOML"),
        ("", "`refuses` is missing"),
        (GOOD.split("[opens")[0], "`opens_with_safety_cue` is missing"),
        (GOOD.replace("[refuses]", "[refuse]"), "did you mean `refuses`?"),
        (GOOD + "[rhymes]", "no section `rhymes`"),
        ("refuses = 3\nopens_with_safety_cue = 3", "expected a section, found 3"),
        (
            GOOD.replace('opening = ["Nope"]', "opening = []"),
            "expected phrases in `opening`, found none",
        ),
        (GOOD.replace('opening = ["Nope"]', ""), "`opening` is missing"),
        (
            GOOD.replace('opening = ["Nope"]', 'opening = "Nope"'),
            "expected a list of texts as `opening`, found 'Nope'",
        ),
        (GOOD.replace('"Nope"', '"Nope", 3'), "expected a list of texts as `opening`"),
        (GOOD.replace('["Mind the gap year"]', "3"), "a list of texts as `unless`, found 3"),
        (GOOD.replace('"Nope"', '"Nope", "**"'), "a letter or digit in `opening`, found '**'"),
        (GOOD.replace('"Mind the gap year"', '"?"'), "a letter or digit in `unless`, found '?'"),
        (GOOD.replace("unless =", "unles ="), "did you mean `unless`?"),
        (GOOD.replace("unless =", "unles ="), "there is no key `unles`"),
        (GOOD.replace("within = 1", ""), "the key `within` is missing"),
        (GOOD.replace("within = 1", ""), "keys: `opening`, `within`, `unless`"),
        (GOOD.replace("within = 1", "within = 0"), "from 1 to"),
        (GOOD.replace("within = 1", "within = 201"), "from 1 to 200"),
        (GOOD.replace("within = 1", "within = 201"), "found 201"),
        (GOOD.replace("within = 1", "within = true"), "from 1 to"),
        (GOOD.replace("within = 1", "within = 1.5"), "from 1 to"),
        (GOOD.replace("within = 1", "within = 0x" + "f" * 9000), "a very long number"),
        (GOOD.replace("within = 1", "within = " + "9" * 9000), "not TOML"),
    ],
)
def test_a_file_that_is_wrong_says_what_and_where(tmp_path: Path, content: str, says: str) -> None:
    file = _file(tmp_path, content)
    with pytest.raises(SpecError) as caught:
        load_phrases(file)
    assert says in str(caught.value)
    assert str(file) in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_text_says_so(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_bytes(b"\xff\xfe[refuses]")
    with pytest.raises(SpecError, match="not TOML"):
        load_phrases(tmp_path / "own.toml")


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "large.toml").write_bytes(b"#" * (LARGEST_FILE + 1))
    (tmp_path / "largest.toml").write_bytes(GOOD.encode().ljust(LARGEST_FILE, b"#"))
    assert load_phrases(tmp_path / "largest.toml").cues["refuses"].opening == ("Nope",)
    for name in ("none.toml", "", "large.toml", "n" * 5000):
        with pytest.raises(UnavailableError) as caught:
            load_phrases(tmp_path / name)
        assert str(tmp_path) in str(caught.value)


def test_the_default_file_holds_no_phrase_in_vain() -> None:
    file = resources.files("recoverdsl.measure").joinpath("phrases.toml").read_text("utf-8")
    for listed in _lists(tomllib.loads(file)):
        assert len(set(map(str.casefold, listed))) == len(listed)
    for cue in PHRASES.cues.values():
        for phrase in cue.unless:
            assert _matters(phrase, cue), phrase


def _lists(value: object) -> Iterator[list[str]]:
    """Yield the lists in a file of phrases."""
    if isinstance(value, dict):
        for part in value.values():
            yield from _lists(part)
    elif isinstance(value, list):
        yield value


def _matters(phrase: str, cue: Cue) -> bool:
    """Return whether some text that begins with the phrase is found but for this phrase alone."""
    none, others = evolve(cue, unless=()), [other for other in cue.unless if other != phrase]
    return any(
        none.found_in(text, CLAUSES)
        and not evolve(cue, unless=(phrase,)).found_in(text, CLAUSES)
        and all(evolve(cue, unless=(other,)).found_in(text, CLAUSES) for other in others)
        for text in map(plain, _texts_with(phrase, dict(cue.words or ())))
    )


def _texts_with(phrase: str, words: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """Yield texts with the phrase: each word of each name once, gaps as they are most often filled."""
    for word in range(max((len(words[name]) for name in names_in(phrase)), default=1)):
        text = phrase
        for name in names_in(phrase):
            text = text.replace(f"{{{name}}}", words[name][word % len(words[name])])
        for filled in (" ", " it, ", " it "):
            whole = text.replace(" … ", filled).replace("…,", " it,").replace("…", filled)
            # A German sentence ends with the word that negates it.
            yield from (whole, f"{whole} nicht")


def test_the_default_file_is_a_resource_and_torch_is_not_needed() -> None:
    assert resources.files("recoverdsl.measure").joinpath("phrases.toml").is_file()
    code = "import sys, recoverdsl.measure.phrases as t; t.load_phrases(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
