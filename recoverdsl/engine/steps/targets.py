"""The step that chooses, for each valid flip, the row that fills the target of a control."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from recoverdsl.compiler.steps import Behavior, ChooseTargets
from recoverdsl.engine.behavior.example_tokens import fill
from recoverdsl.engine.behavior.observation import goal_of
from recoverdsl.engine.behavior.target_token import named_tokens, places
from recoverdsl.engine.defense.intervention import Intervention
from recoverdsl.engine.model.forward import embed, run_layers
from recoverdsl.engine.resources import Resources
from recoverdsl.engine.steps.evaluation import NO_UNLIKE_TOKENS, THERE_ALREADY
from recoverdsl.engine.steps.executor import FlipExecutor, Progress, executes
from recoverdsl.engine.steps.target_records import ChosenTarget, ChosenTargets
from recoverdsl.language.schema.forms import names_a_column
from recoverdsl.measure.rows import TargetPlace, WithoutDelta


@executes(ChooseTargets)
class TargetsExecutor(FlipExecutor[ChooseTargets, ChosenTargets]):
    """Takes the next row, in the order of the data, whose target the models do not reach by themselves."""

    record = ChosenTargets

    @torch.no_grad()
    def compute(self, batch: range, progress: Progress) -> ChosenTargets:
        resources, behavior = self.work.resources, self.step.goal.behavior
        flips = self.work.flips(self.node)
        indices = [flips[at] for at in batch]
        clamp = self.work.protected(self.node).intervention(self.step.defense)
        states = [_last_states(resources, indices, i) for i in (Intervention(), clamp)]
        another = self.step.goal.example == "another"
        candidates = [
            unlike_rows(resources, behavior, flips, at) if another else iter([flips[at]])
            for at in batch
        ]
        why = NO_UNLIKE_TOKENS if another else THERE_ALREADY
        chosen = [ChosenTarget(missing=why)] * len(indices)
        open_rows = list(range(len(indices)))
        while open_rows:
            tried = [
                (at, row) for at in open_rows if (row := next(candidates[at], None)) is not None
            ]
            if not tried:
                break
            found = dict(zip(tried, _figures(resources, behavior, tried, states), strict=True))
            for (at, row), without in found.items():
                if without is not None:
                    chosen[at] = ChosenTarget(row=row, without=without)
            open_rows = [at for at, _ in tried if chosen[at].row is None]
        return ChosenTargets(tuple(chosen))


def unlike_rows(
    resources: Resources, behavior: Behavior, flips: Sequence[int], at: int
) -> Iterator[int]:
    """Yield the other valid flips, from the next on, whose filled tokens are all different from those of
    the example at a place, and do not occur in its prompt.

    A token that the behavior names in every example, as one of several choices, may occur.
    """
    examples, encode = resources.examples, resources.model.encode_text
    texts = named_tokens(behavior)
    filled = [text for text in texts if names_a_column(text)]
    fixed = {id for text in texts if text not in filled for id in encode(text)}
    own = {id for text in filled for id in encode(fill(text, examples[flips[at]]))}
    prompt, ids = examples[flips[at]].prompt, set(resources.prompts[flips[at]])
    for other in (*flips[at + 1 :], *flips[:at]):
        words = [fill(text, examples[other]) for text in filled]
        tokens = {word: set(encode(word)) for word in words}
        if any(ids_of & own for ids_of in tokens.values()):
            continue
        free = [word for word, ids_of in tokens.items() if not ids_of <= fixed]
        if not any(tokens[word] & ids or _occurs(word, prompt) for word in free):
            yield other


def _occurs(word: str, prompt: str) -> bool:
    """Return whether a text has a word, with other characters than letters and digits around it."""
    plain = word.strip()
    return bool(plain) and re.search(rf"(?<!\w){re.escape(plain)}(?!\w)", prompt) is not None


def _figures(
    resources: Resources,
    behavior: Behavior,
    tried: Sequence[tuple[int, int]],
    states: Sequence[Tensor],
) -> list[WithoutDelta | None]:
    """Return the figures of a target in some examples; None where it is there already.

    Args:
        tried: places in the batch, and the examples that fill the target there.
        states: the states (B, d_model) at the last token without the clamp and under it.
    """
    family, goal = resources.model.family, goal_of(resources, behavior, [row for _, row in tried])
    at_N = torch.tensor([at for at, _ in tried], device=resources.device)
    base_ND, defended_ND = (h_BD[at_N] for h_BD in states)
    scores: list[list[float]] = []
    held: list[list[bool]] = []
    place: list[Sequence[TargetPlace | None]] = []
    for h_ND in (base_ND, defended_ND):
        score_N, holds_N = goal.at(family, h_ND)
        scores.append(score_N.tolist())
        held.append(holds_N.tolist())
        place.append([None] * len(tried) if goal.target_B is None else places(family, h_ND, goal.target_B))  # fmt: skip
    return [
        None
        if held[0][n] or held[1][n]
        else WithoutDelta.of((scores[0][n], scores[1][n]), place[0][n], place[1][n])
        for n in range(len(tried))
    ]  # fmt: skip


def _last_states(resources: Resources, indices: list[int], intervention: Intervention) -> Tensor:
    """Return the residual stream before the final norm at each prompt's last token, (B, d_model)."""
    family, tokens = resources.model.family, resources.tokens(indices)
    h_BTD = run_layers(
        family, embed(family, tokens), tokens, start=0, stop=family.n_layers,
        edits=intervention.edits(tokens),
    )  # fmt: skip
    return h_BTD[:, -1]
