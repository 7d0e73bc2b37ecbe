"""The evaluation of a δ: figures on the target, the text that is generated with it, figures on that
text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from attrs import evolve, field, frozen
from torch import Tensor

from recoverdsl.compiler.steps import ReachAnswer, Recover, columns_after_prompt
from recoverdsl.engine.attack.problem import AttackProblem, Trace
from recoverdsl.engine.attack.problem_factory import positioned_delta, stored_delta
from recoverdsl.engine.attack.search import Outcome
from recoverdsl.engine.behavior.generation import Answers
from recoverdsl.engine.behavior.objectives import ScoreGoal
from recoverdsl.engine.behavior.observation import judge, write
from recoverdsl.engine.behavior.target_token import places
from recoverdsl.engine.defense.intervention import Delta, Intervention
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.model.forward import Tokens, embed, run_layers
from recoverdsl.engine.resources import Resources
from recoverdsl.engine.steps.table_record import Replay, TableRecord
from recoverdsl.measure.features import (
    DeltaFigures,
    FeatureFigures,
    Monitored,
    Perturbed,
    delta_figures,
    feature_figures,
)
from recoverdsl.measure.keys import PartKey
from recoverdsl.measure.rows import (
    NOT_A_NUMBER,
    Effort,
    GeneratedFigures,
    Observation,
    Recovery,
    TargetPlace,
)

NO_UNLIKE_ANSWER = "no other example has an answer that is unlike its own"
"""Why an example failed for whose control there is no target."""

NO_UNLIKE_TOKENS = "no other valid flip has a target that is unlike its own and not there already"
"""Why an example failed for whose control no other row fills the target."""

THERE_ALREADY = "the target is there already, without the clamp or under it"
"""Why an example failed whose control has nothing to reach."""

NO_POSITION = "the target leaves no token at which δ could act"
"""Why an example failed whose target is too short."""


@frozen(eq=False)
class FlipBatch:
    """Some valid flips."""

    indices: list[int]
    bases: Answers | None = None
    """The undefended model's answers, where the behavior is judged by a text."""
    others: Answers | None = None
    """Its answers to other examples, unlike their own: one for each."""
    filled: Sequence[int] | None = None
    """The example whose values fill the columns of the goal, for each: another one, for a control."""
    missing: Mapping[int, str] = field(factory=dict)
    """Places in the batch of examples that a control has no target for, with the reason."""


@frozen(eq=False)
class Recoveries(TableRecord):
    """δ of some valid flips, and its figures: the record of a step."""

    rows: tuple[Recovery, ...]
    delta_BLPD: Tensor
    """δ on the last columns of the prompt and those after it, see `columns_after_prompt`."""
    sites_BL: Tensor
    """The boundaries at which it acts, the same in every row."""
    answers: Answers | None = None
    """The texts that are generated with δ in place; None where none is."""

    def replays(self) -> Iterator[tuple[PartKey | None, Replay]]:
        yield None, Replay(self.rows, self.answers)

    def deltas(self) -> Iterator[tuple[str | None, Tensor]]:
        yield None, self.delta_BLPD

    def boundaries(self) -> list[int]:
        return [int(site) for site in self.sites_BL[0]]


def evaluate(
    resources: Resources,
    step: Recover,
    problem: AttackProblem,
    protected: Protected,
    batch: FlipBatch,
    outcome: Outcome,
    *,
    write_texts: bool = True,
    efforts: Sequence[Effort] | None = None,
) -> Recoveries:
    """Return the figures of the δ of one batch, and the δ in the form in which it is stored.

    Args:
        write_texts: whether a text is generated with δ in place, to be judged. Else δ is judged by
            whether it reached its goal.
        efforts: the cost of the search for each example.
    """
    rows = []
    for at, (delta, features, target) in enumerate(
        zip(*_figures(problem, outcome.delta_BLQD), strict=True)
    ):
        failed = NOT_A_NUMBER if outcome.failed_B[at] else None
        if at in batch.missing:
            failed = batch.missing[at]
        elif not problem.where_BLQ[at].any():
            failed = NO_POSITION
        example = resources.examples[batch.indices[at]]
        rows.append(
            Recovery(
                example=example.id,
                category=example.category,
                recovered=bool(outcome.recovered_B[at]),
                reached=bool(outcome.recovered_B[at]),
                score_recovered=float(outcome.score_B[at]),
                rank_recovered=target.rank if target else None,
                probability_recovered=target.probability if target else None,
                steps=int(outcome.steps_B[at]),
                effort=efforts[at] if efforts else None,
                delta=delta,
                features=features,
                zero_reactivation=features.reactivated_count == 0,
                failed=failed,
            )
        )
    delta_BLPD = stored_delta(problem, outcome.delta_BLQD, columns_after_prompt(step))
    answers = None
    if write_texts and step.behavior.generate is not None:
        placed = positioned_delta(step, problem.sites, delta_BLPD)
        intervention = protected.intervention(step.defense).with_delta(placed)
        answers = write(resources, step.behavior, batch.indices, intervention)
        rows = _with_texts(resources, step, rows, batch, answers)
        rows = _with_generated(resources, rows, problem, batch, intervention, answers)
    sites_BL = torch.tensor(problem.sites).expand(len(rows), -1)
    return Recoveries(tuple(rows), delta_BLPD, sites_BL, answers)


def _with_texts(
    resources: Resources, step: Recover, rows: list[Recovery], batch: FlipBatch, answers: Answers
) -> list[Recovery]:
    """Return the rows judged by the texts that were generated."""
    other = isinstance(step.goal, ReachAnswer) and step.goal.example == "another"
    targets = batch.others if other else batch.bases
    judged = judge(resources, step.behavior, batch.indices, answers, targets)
    return [
        evolve(
            row,
            recovered=is_back(observed, row.reached, other=other),
            text=observed.text,
            answer_tokens=observed.answer_tokens,
            failed=row.failed or observed.failed,
        )
        for row, observed in zip(rows, judged, strict=True)
    ]  # fmt: skip


def is_back(observed: Observation, reached: bool, *, other: bool) -> bool:
    """Return whether a text shows that the behavior is back; with another example's answer as the goal,
    whether that was elicited."""
    if other:
        return bool((observed.text and observed.text.figures.base_like) or reached)
    return observed.holds


@torch.no_grad()
def _figures(
    problem: AttackProblem, delta_BLQD: Tensor
) -> tuple[list[DeltaFigures], list[FeatureFigures], list[TargetPlace | None]]:
    """Return figures over the perturbed positions, on the prompt and the target, and the place of the
    token that the goal is about."""
    whole, goal = evolve(problem, bases={}, fixed_BLQD=None), problem.goal
    targets: list[TargetPlace | None] = [None] * len(problem)
    if isinstance(goal, ScoreGoal) and goal.target_B is not None:
        trace, family = Trace(), problem.family
        h_BQD = whole.run(delta_BLQD, family.n_layers, trace)
        states = {site: trace.final[site] for site in problem.features}
        targets = places(family, h_BQD[:, goal.column - problem.first], goal.target_B)
    else:
        states = whole.states(delta_BLQD)
    monitored = _monitored(problem, problem.h_def, states)
    perturbed = [
        Perturbed(
            delta_BPD=delta_BLQD[:, at], h_def_BPD=problem.h_def[site],
            W_enc_DS=problem.features[site].W_enc_DS if site in problem.features else None,
        )
        for at, site in enumerate(problem.sites)
    ]  # fmt: skip
    # A vector for all generated tokens also acts where the target has none; features are not read there.
    acts_BQ = problem.touched_BQ | (delta_BLQD != 0).any(dim=3).any(dim=1)
    features = feature_figures(monitored, problem.touched_BQ)
    return delta_figures(perturbed, acts_BQ), features, targets


@torch.no_grad()
def _with_generated(
    resources: Resources,
    rows: list[Recovery],
    problem: AttackProblem,
    batch: FlipBatch,
    intervention: Intervention,
    answers: Answers,
) -> list[Recovery]:
    """Return the rows with drift and clamp-floor violation on the text that was generated, where
    reactivated features count too.

    The baseline is the defended model on the same tokens.
    """
    if not problem.features:
        return rows
    # The model never reads the last token of a text that was cut.
    tokens = resources.tokens(batch.indices).followed_by(
        answers.ids_BN[:, :-1], answers.mask_BN[:, :-1]
    )
    delta = intervention.delta
    assert delta is not None
    columns_T = torch.arange(tokens.ids_BT.shape[1], device=tokens.ids_BT.device)
    # Every token that was generated counts, whether δ acts there or only reaches it.
    acts_BT = torch.stack([_nonzero(delta, site, tokens) for site in delta.sites]).any(0)
    where_BT = (acts_BT | (columns_T >= tokens.prompt - 1)) & tokens.mask_BT
    defended = _states(tokens, intervention.with_delta(None), problem)
    perturbed = _states(tokens, intervention, problem)
    figures = feature_figures(_monitored(problem, defended, perturbed), where_BT)
    return [with_generated(row, own) for row, own in zip(rows, figures, strict=True)]


def with_generated(row: Recovery, figures: FeatureFigures) -> Recovery:
    """Return a row with the figures of the text that was generated."""
    return evolve(
        row,
        generated=GeneratedFigures(
            generated_drift=figures.drift,
            generated_clamp_floor_violation=figures.clamp_floor_violation,
        ),
        zero_reactivation=row.zero_reactivation and figures.reactivated_count == 0,
    )


def _monitored(
    problem: AttackProblem, defended: Mapping[int, Tensor], recovered: Mapping[int, Tensor]
) -> list[Monitored]:
    """Return the protected features of two states (B, P, D) by boundary."""
    return [
        Monitored(
            z_def_BPS=features.encode(defended[site]),
            z_rec_BPS=features.encode(recovered[site]),
            W_dec_SD=features.W_dec_SD,
        )
        for site, features in problem.features.items()
    ]


def _states(
    tokens: Tokens, intervention: Intervention, problem: AttackProblem
) -> dict[int, Tensor]:
    """Return the residual stream (B, T, D) at the boundary of each protected feature."""
    family = problem.family
    watch: dict[int, list[Tensor]] = {site: [] for site in problem.features}
    run_layers(
        family, embed(family, tokens), tokens, start=0, stop=max(watch),
        edits=intervention.edits(tokens, watch=watch),
    )  # fmt: skip
    return {site: seen[0] for site, seen in watch.items()}


def _nonzero(delta: Delta, site: int, tokens: Tokens) -> Tensor:
    """Return where δ is not zero at one site, (B, T)."""
    delta_BTD = delta.at(site, tokens, 0)
    if delta_BTD is None:
        return torch.zeros_like(tokens.mask_BT)
    return (delta_BTD != 0).any(-1)
