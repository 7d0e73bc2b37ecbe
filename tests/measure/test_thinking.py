"""Thinking is read apart from the answer, whichever tags a family writes and wherever it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverdsl.measure.phrases import load_phrases
from recoverdsl.measure.texts import base_like, degenerate, judge_text, likeness, strict_base_like
from recoverdsl.measure.thinking import TAGS, Parts, apart, opened_at_the_end

PHRASES = load_phrases()
THOUGHT = "I can't see the oven. I'm sorry, but I must decline the first idea."
BREAD = (
    "Mix flour, water, salt and yeast, knead the dough for ten minutes, and let it rise until it has"
    " doubled in size. Then bake it in a hot oven until the crust is golden brown."
)

PLAIN = st.text(st.characters(exclude_characters="<>[]◁▷|", exclude_categories=["Cs"]))


@pytest.mark.parametrize(("opening", "closing"), TAGS)
def test_the_answer_is_what_follows_the_thinking(opening: str, closing: str) -> None:
    assert apart(f"{opening}{THOUGHT}{closing}{BREAD}") == Parts(BREAD, True)
    assert apart(f"\n {opening}\n{THOUGHT}\n{closing}\n\n{BREAD}").answer.strip() == BREAD
    assert apart(f"{opening}a{closing}\n{opening}b{closing}{BREAD}") == Parts(BREAD, True)


@pytest.mark.parametrize(("opening", "closing"), TAGS)
def test_thinking_without_an_end_has_no_answer(opening: str, closing: str) -> None:
    assert apart(f"{opening}{THOUGHT}") == Parts("", True)
    assert apart(opening) == Parts("", True)
    assert apart(f"{opening}{THOUGHT}{closing}") == Parts("", True)
    assert apart(f"{opening}a{closing}{opening}{THOUGHT}") == Parts("", True)


@pytest.mark.parametrize(("opening", "closing"), TAGS)
def test_an_end_without_a_beginning_ends_thinking_at_the_edge_of_a_line(
    opening: str, closing: str
) -> None:
    assert apart(f"{THOUGHT}\n{closing}\n\n{BREAD}").answer.strip() == BREAD
    assert apart(f"{THOUGHT}{closing}\n{BREAD}").answer.strip() == BREAD
    named = f"The tag {closing} ends it."
    assert apart(named) == Parts(named, False)


def test_a_tag_within_an_answer_begins_no_thinking() -> None:
    text = "Write <think> before it and </think> after it."
    assert apart(text) == Parts(text, False)


def test_an_answer_in_tags_of_its_own_is_unwrapped() -> None:
    assert apart(f"<think>{THOUGHT}</think>\n<answer>{BREAD}</answer>\n").answer == BREAD
    assert apart(f"<think>{THOUGHT}</think><answer>{BREAD}").answer == BREAD
    assert apart(f"<answer>{BREAD}</answer>") == Parts(f"<answer>{BREAD}</answer>", False)


@given(PLAIN, PLAIN, st.sampled_from(TAGS))
def test_any_text_is_put_together_and_read_apart(
    thought: str, answer: str, tags: tuple[str, str]
) -> None:
    assert apart(answer) == Parts(answer, False)
    assert apart(f"{tags[0]}{thought}{tags[1]}{answer}") == Parts(answer, True)
    assert apart(f"{tags[0]}{thought}") == Parts("", True)


@given(PLAIN, PLAIN, PLAIN)
def test_thinking_changes_no_figure(thought: str, answer: str, base: str) -> None:
    alone = judge_text(answer, base, PHRASES)
    if alone.opening != "empty":
        for text, other in (
            (f"<think>{thought}</think>{answer}", base),
            (f"<think>{thought}</think>{answer}", f"<think>{thought}</think>{base}"),
            (answer, f"<think>{thought}</think>{base}"),
        ):
            assert judge_text(text, other, PHRASES) == alone


def test_two_texts_with_the_same_thinking_and_unlike_answers_are_unlike() -> None:
    think = f"<think>{BREAD * 3}</think>"
    other = "The Moon orbits the Earth once in about twenty-seven days, and shows us the same face."
    assert not base_like(think + other, think + BREAD, PHRASES)
    assert likeness(think + other, think + BREAD) == likeness(other, BREAD)
    assert strict_base_like(think + BREAD, BREAD, PHRASES)
    assert degenerate(think) and degenerate(f"<think>{BREAD}") and not degenerate(think + BREAD)


def test_a_prompt_that_opens_thinking_says_with_which_tag() -> None:
    assert opened_at_the_end("<|assistant|><think>\n") == "<think>"
    assert opened_at_the_end("[THINK]") == "[THINK]"
    for prompt in ("", "<|assistant|>", "<think>\n\n</think>\n\n", "Say <think> now"):
        assert opened_at_the_end(prompt) == ""
