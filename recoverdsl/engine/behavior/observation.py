"""The behavior of examples: read from their logits, or judged by a text that the model writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from attrs import frozen
from torch import Tensor

from recoverdsl.compiler.steps import Behavior
from recoverdsl.engine.behavior.conditions import Condition, condition_of
from recoverdsl.engine.behavior.example_tokens import fill, token_ids
from recoverdsl.engine.behavior.generation import Answers, generate
from recoverdsl.engine.behavior.objectives import Objective, ScoreGoal, objective
from recoverdsl.engine.behavior.spelling import spelling_shares
from recoverdsl.engine.behavior.target_token import named_tokens, places, target_of
from recoverdsl.engine.defense.intervention import Intervention
from recoverdsl.engine.model.families import Family
from recoverdsl.engine.model.forward import embed, run_layers
from recoverdsl.engine.model.judge import presence
from recoverdsl.engine.resources import Resources
from recoverdsl.language import schema
from recoverdsl.measure.rows import NOT_A_NUMBER, Observation, TargetPlace
from recoverdsl.sources.data import Example


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


def score_of(
    resources: Resources, score: schema.Score | schema.Predicate, indices: Sequence[int]
) -> Callable[[Family, Tensor], Tensor]:
    """Return the score of a behavior for some examples, or the margin of its condition."""
    if isinstance(score, schema.Score):
        return _objective(resources, score, indices)
    return _condition(resources, score, indices).margin


def goal_of(
    resources: Resources, behavior: Behavior, indices: Sequence[int], column: int = 0
) -> ScoreGoal:
    """Return a behavior that is read from the logits, as the goal of some examples.

    Args:
        indices: the examples whose values fill the columns that the behavior names.
        column: that of the prompts' last token.
    """
    objective = _objective(resources, behavior.score, indices) if behavior.score else None
    condition = _condition(resources, behavior.holds, indices)
    return ScoreGoal(objective, condition, column, _target(resources, behavior, indices))


def _target(resources: Resources, behavior: Behavior, indices: Sequence[int]) -> Tensor | None:
    """Return the token that a behavior is about in some examples, (B,)."""
    text = target_of(behavior)
    if text is None:
        return None
    examples = [resources.examples[index] for index in indices]
    ids = token_ids([(repr(text), text)], examples, resources.model.encode_text)
    return torch.tensor(ids, dtype=torch.long, device=resources.device)[:, 0]


def _objective(resources: Resources, score: schema.Score, indices: Sequence[int]) -> Objective:
    examples = [resources.examples[index] for index in indices]
    return objective(score, examples, resources.model.encode_text, resources.device)


def _condition(
    resources: Resources, predicate: schema.Predicate, indices: Sequence[int]
) -> Condition:
    examples = [resources.examples[index] for index in indices]
    return condition_of(predicate, examples, resources.model.encode_text, resources.device)


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
    written = [read(ids) for ids in answers.lists()]
    texts = resources.judges.figures(
        [resources.examples[index].prompt for index in indices],
        written,
        [read(ids) for ids in bases.lists()] if bases else None,
    )
    rows = []
    for at, index in enumerate(indices):
        says = partial(_says, written[at], resources.examples[index])
        present, removed = presence(behavior, texts[at], says)
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


def _says(written: str, example: Example, text: str) -> bool:
    """Return whether a text was written, with the example's own words in place of columns."""
    return written.strip() == fill(text, example).strip()


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
        h_BD = h_BTD[:, -1]
        goal = goal_of(resources, behavior, indices)
        score_B, present_B = goal.at(family, h_BD)
        removed_B = ~present_B
        if behavior.removed is not None:
            removed = _condition(resources, behavior.removed, indices)
            _, removed_B = removed(family, h_BD, score_B)
    targets: Sequence[TargetPlace | None] = [None] * len(indices)
    if goal.target_B is not None:
        targets = places(family, h_BD, goal.target_B)
    examples = [resources.examples[index] for index in indices]
    spellings = spelling_shares(
        family, h_BD, named_tokens(behavior), examples, resources.model.encode_text
    )
    rows = tuple(
        Observation(
            example=resources.examples[index].id,
            category=resources.examples[index].category,
            score=float(score),
            target=target,
            spelling=spelling,
            holds=bool(present),
            removed=bool(removed),
            failed=None if score.isfinite() else NOT_A_NUMBER,
        )
        for index, score, target, spelling, present, removed in zip(
            indices, score_B, targets, spellings, present_B, removed_B, strict=True
        )
    )
    return Observations(rows, score_B=score_B)
