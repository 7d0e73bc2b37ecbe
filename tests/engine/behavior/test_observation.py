"""Texts of a model whose chat template opens the thinking: none has an answer before the end of it."""

from __future__ import annotations

from attrs import evolve

from recoverdsl.engine.behavior.observation import observe
from recoverdsl.engine.defense.intervention import Intervention
from recoverdsl.language.schema import Detector, Not
from tests.engine.rigs import rig


def test_a_text_within_the_thinking_that_the_prompt_opens_is_no_answer() -> None:
    made = rig()
    behavior = evolve(made.behavior, holds=Not(Detector("refuses")), removed=Detector("refuses"))
    indices = list(range(len(made.prompts)))
    answered = observe(made.resources, behavior, indices, Intervention())
    made.resources.opened_thinking = "<think>"
    thinking = observe(made.resources, behavior, indices, Intervention())
    assert thinking.answers is not None and answered.answers is not None
    assert thinking.answers.lists() == answered.answers.lists()
    assert all(row.holds or row.removed for row in answered.rows)
    for row in thinking.rows:
        assert (row.holds, row.removed) == (False, False)
        assert row.text is not None and row.text.figures.opening == "thinking"
