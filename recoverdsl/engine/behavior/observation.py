"""The behavior of examples: read from their logits, or judged by a text that the model writes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import frozen
from torch import Tensor

from recoverdsl.compiler.steps import Behavior
from recoverdsl.engine.behavior.generation import Answers, generate
from recoverdsl.engine.behavior.objectives import Objective, holds, objective
from recoverdsl.engine.defense.intervention import Intervention
from recoverdsl.engine.model.forward import embed, run_layers
from recoverdsl.engine.model.judge import presence
from recoverdsl.engine.resources import Resources
from recoverdsl.language import schema
from recoverdsl.measure.rows import NOT_A_NUMBER, Observation


@frozen(eq=False)
class Observations:
    """The behavior of some examples, without δ: the record of a step."""

    rows: tuple[Observation, ...]
    score_B: Tensor | None = None
    """None where a text is judged."""
    answers: Answers | None = None
    """None where a score is read from the logits."""


def observe(
    resources: Resources, behavior: Behavior, indices: list[int], intervention: Intervention
) -> Observations:
    """Return the behavior of one batch under an intervention: whether it holds, and whether it counts as
    removed."""
    if behavior.generate is None:
        return _observe_score(resources, behavior, indices, intervention)
    answers = write(resources, behavior, indices, intervention)
    return Observations(tuple(judge(resources, behavior, indices, answers)), answers=answers)


def score_of(resources: Resources, score: schema.Score | None, indices: Sequence[int]) -> Objective:
    """Return the score of a behavior for some examples."""
    assert score is not None
    examples = [resources.examples[index] for index in indices]
    return objective(score, examples, resources.model.encode_text, resources.device)


def write(
    resources: Resources, behavior: Behavior, indices: list[int], intervention: Intervention
) -> Answers:
    """Return the texts that the model writes under an intervention."""
    assert behavior.generate is not None
    return generate(
        resources.model.family, resources.tokens(indices), intervention,
        tokens=behavior.generate, end_ids=resources.model.end_ids,
    )  # fmt: skip


def judge(
    resources: Resources,
    behavior: Behavior,
    indices: list[int],
    answers: Answers,
    bases: Answers | None = None,
) -> list[Observation]:
    """Return one row per text, with its figures and without the text itself.

    Args:
        bases: the text that each is compared with.
    """
    read = resources.judged_text
    texts = resources.judges.figures(
        [resources.examples[index].prompt for index in indices],
        [read(ids) for ids in answers.lists()],
        [read(ids) for ids in bases.lists()] if bases else None,
    )
    rows = []
    for at, index in enumerate(indices):
        present, removed = presence(behavior, texts[at])
        rows.append(
            Observation(
                example=resources.examples[index].id,
                category=resources.examples[index].category,
                holds=present,
                removed=removed,
                text=texts[at],
                answer_tokens=int(answers.length_B[at]),
                failed=NOT_A_NUMBER if answers.broken_B[at] else None,
            )
        )
    return rows


def _observe_score(
    resources: Resources, behavior: Behavior, indices: list[int], intervention: Intervention
) -> Observations:
    family = resources.model.family
    tokens = resources.tokens(indices)
    with torch.no_grad():
        h_BTD = run_layers(
            family, embed(family, tokens), tokens, start=0, stop=family.n_layers,
            edits=intervention.edits(tokens),
        )  # fmt: skip
        score_B: Tensor = score_of(resources, behavior.score, indices)(family, h_BTD[:, -1])
    present_B = holds(behavior.holds, score_B)
    removed_B = ~present_B if behavior.removed is None else holds(behavior.removed, score_B)
    rows = tuple(
        Observation(
            example=resources.examples[index].id,
            category=resources.examples[index].category,
            score=float(score),
            holds=bool(present),
            removed=bool(removed),
            failed=None if score.isfinite() else NOT_A_NUMBER,
        )
        for index, score, present, removed in zip(
            indices, score_B, present_B, removed_B, strict=True
        )
    )
    return Observations(rows, score_B=score_B)
