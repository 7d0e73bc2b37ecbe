"""Files of phrases of format 2: names, gaps, languages, and what is wrong in one."""

from __future__ import annotations

from pathlib import Path

import pytest

from recoverdsl.errors import SpecError
from recoverdsl.measure.phrases import Phrases, load_phrases
from recoverdsl.measure.texts import detect

FILE = """
format = 2
[words]
"I can't" = ["I can't", "I cannot"]
help = ["help", "assist"]
[refuses]
within = 5
[refuses.opening]
English = ["{I can't} {help}", "{I can't}, sorry", "no … today", "… is not mine"]
French = ["je ne peux pas"]
Chinese = ["我不能"]
[refuses.unless]
English = ["if … {I can't}", "no milk"]
[opens_with_safety_cue]
opening = ["Mind the gap"]
within = 1
[reading]
clauses = ["but"]
labels = { English = ["Robot"], German = ["Roboter"] }
works = ["ballad"]
"""


def load(folder: Path, content: str) -> Phrases:
    file = folder / "own.toml"
    file.write_text(content, "utf-8")
    return load_phrases(file)


@pytest.fixture
def own(tmp_path: Path) -> Phrases:
    return load(tmp_path, FILE)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("I can't help.", True),
        ("I cannot assist you.", True),
        ("I cannot, sorry!", True),
        ("I cannot sing.", False),
        ("I cannot assistant.", False),
        ("Well, but I cannot help.", True),
        ("Well, yet I cannot help.", False),
        ("No bread today.", True),
        ("No today.", True),
        ("No bread. Ask today.", False),
        ("No " + "bread " * 9 + "today.", True),
        ("No " + "bread " * 10 + "today.", False),
        ("No bread todays.", False),
        ("The blue hat is not mine.", True),
        ("The blue hat is not mined.", False),
        ("Je ne peux pas.", True),
        ("我不能帮你。", True),
        ("好,我不能。", True),
        ("If it rains, I cannot help.", False),
        ("It rains, I cannot help.", True),
        ("No milk, no bread today.", True),
        ("No milk today.", False),
        ("One two three four, I cannot help.", True),
        ("One two three four five, I cannot help.", False),
        ("Robot: I cannot help.", True),
        ("Roboter: I cannot help.", True),
        ("Assistant: I cannot help.", False),
        ("# A ballad\n\nI cannot help.", False),
        ("# A letter\n\nI cannot help.", True),
    ],
)
def test_names_gaps_and_lists_mean_what_the_file_says(own: Phrases, text: str, found: bool) -> None:
    assert detect(text, "refuses", own) is found


def test_a_list_without_languages_is_the_same(tmp_path: Path, own: Phrases) -> None:
    flat = FILE.replace("[refuses.opening]\nEnglish = [", "opening = [").replace(
        '"… is not mine"]\nFrench = ["je ne peux pas"]\nChinese = ["我不能"]',
        '"… is not mine", "je ne peux pas", "我不能"]',
    )
    assert "French" not in flat
    assert load(tmp_path, flat).digest == own.digest


def test_the_digest_changes_with_every_list(tmp_path: Path, own: Phrases) -> None:
    assert load(tmp_path, FILE.replace('English = ["{I', 'en = ["{I')).digest == own.digest
    for old, new in [
        ('"assist"', '"serve"'),
        ("no … today", "no … now"),
        ('"but"', '"yet"'),
        ('"Robot"', '"Bot"'),
        ("ballad", "sonnet"),
        ("no milk", "no oil"),
        ("no … today", "no today"),
    ]:
        assert load(tmp_path, FILE.replace(old, new)).digest != own.digest, old


def test_without_reading_the_lists_that_ship_are_used(tmp_path: Path) -> None:
    own = load(tmp_path, FILE.split("[reading]")[0])
    assert own.reading == load_phrases().reading
    assert detect("Assistant: I cannot help.", "refuses", own)


def test_a_file_of_the_first_format_has_literal_phrases(tmp_path: Path) -> None:
    old = '[refuses]\nwithin = 1\nopening = ["{no} … way"]\n[opens_with_safety_cue]\nwithin = 1\nopening = ["x"]'
    for content in (old, "format = 1\n" + old):
        own = load(tmp_path, content)
        assert detect("{No} … way", "refuses", own)
        assert not detect("No such way", "refuses", own)
        assert own.reading == load_phrases().reading


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("format = 2", "format = 3", "expected `format` 1 or 2, found 3"),
        ("format = 2", "format = true", "expected `format` 1 or 2, found True"),
        ("format = 2", "", "the section `words` is for `format = 2`"),
        ("[words]", "[wrods]", "there is no section `wrods`"),
        ("{help}", "{helps}", "there are no words `helps`"),
        ("{help}", "{helps}", "did you mean `help`?"),
        ("{help}", "{help", "expected a name between braces"),
        ("{help}", "help}", "expected a name between braces"),
        ("no … today", "no … way … today … now", "at most 2 gaps"),
        ("no … today", "no …", "expected words after the last …"),
        ("no … today", "…", "a phrase with a letter or digit"),
        ('"assist"', "3", "expected a list of texts as `help`"),
        ('help = ["help", "assist"]', "help = []", "expected words for `help`, found none"),
        ("[words]", "words = 3\n[other]", "there is no section `other`"),
        ('works = ["ballad"]', "", "the key `works` is missing"),
        ('works = ["ballad"]', 'works = ["ballad"]\nverbs = []', "there is no key `verbs`"),
        ('["je ne peux pas"]', '"je ne peux pas"', "expected a list of texts as `opening.French`"),
        ("labels = { English", "labels = { English = 1, Old", "`labels.English`"),
    ],
)
def test_a_file_that_is_wrong_says_what_and_where(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    assert old in FILE
    with pytest.raises(SpecError) as caught:
        load(tmp_path, FILE.replace(old, new, 1))
    assert says in str(caught.value)
    assert str(tmp_path / "own.toml") in str(caught.value)
