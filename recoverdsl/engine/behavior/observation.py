"""The behavior of examples: read off their logits, or off a text that the model writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recoverdsl.compiler.steps import Behavior
from recoverdsl.engine.behavior.generation import Answers, generate
from recoverdsl.engine.behavior.objectives import Objective, holds, objective
from recoverdsl.engine.defense.intervention import Intervention
from recoverdsl.engine.model.forward import embed, run_layers
from recoverdsl.engine.model.judge import holds_of_text
from recoverdsl.engine.resources import Resources
from recoverdsl.language import schema
from recoverdsl.store.steps import Part, Row

NOT_A_NUMBER = "a score, logit or gradient was not a finite number"


def observe(
    resources: Resources, behavior: Behavior, indices: list[int], intervention: Intervention
) -> Part:
    """Rows and tensors of one batch under an intervention: whether the behavior holds, and whether
    it counts as removed."""
    if behavior.generate is None:
        return _observe_score(resources, behavior, indices, intervention)
    answers = write(resources, behavior, indices, intervention)
    rows = judge(resources, behavior, indices, answers)
    return Part(rows, answers.tensors())


def score_of(resources: Resources, score: schema.Score | None, indices: Sequence[int]) -> Objective:
    """The score of a behavior for some examples."""
    assert score is not None
    examples = [resources.examples[index] for index in indices]
    return objective(score, examples, resources.model.encode_text, resources.device)


def write(
    resources: Resources, behavior: Behavior, indices: list[int], intervention: Intervention
) -> Answers:
    """Texts that the model writes under an intervention."""
    assert behavior.generate is not None
    return generate(
        resources.model.family, resources.tokens(indices), intervention,
        tokens=behavior.generate, ends=resources.model.ends,
    )  # fmt: skip


def judge(
    resources: Resources,
    behavior: Behavior,
    indices: list[int],
    answers: Answers,
    bases: Answers | None = None,
) -> list[Row]:
    """One row per text, which says everything of it but the text.

    Args:
        bases: what each text is compared with.
    """
    decode = resources.model.decode
    figures = resources.judging.figures(
        [resources.examples[index].prompt for index in indices],
        [decode(ids) for ids in answers.lists()],
        [decode(ids) for ids in bases.lists()] if bases else None,
    )
    rows: list[Row] = []
    for at, index in enumerate(indices):
        present = holds_of_text(behavior.holds, figures[at])
        removed = not present
        if behavior.removed is not None:
            removed = holds_of_text(behavior.removed, figures[at])
        rows.append(
            {
                "example": resources.examples[index].id,
                "category": resources.examples[index].category,
                "score": None,
                "holds": present,
                "removed": removed,
                "answer_tokens": int(answers.length_B[at]),
                **figures[at],
                "failed": NOT_A_NUMBER if answers.broken_B[at] else None,
            }
        )
    return rows


def _observe_score(
    resources: Resources, behavior: Behavior, indices: list[int], intervention: Intervention
) -> Part:
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
    rows: list[dict[str, Any]] = [
        {
            "example": resources.examples[index].id,
            "category": resources.examples[index].category,
            "score": float(score),
            "holds": bool(present),
            "removed": bool(removed),
            "failed": None if score.isfinite() else NOT_A_NUMBER,
        }
        for index, score, present, removed in zip(
            indices, score_B, present_B, removed_B, strict=True
        )
    ]
    return Part(rows, {"score": score_B})
