"""What a δ comes to: figures on the target, the text that is written with it, figures on that text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import evolve, frozen
from torch import Tensor

from recoverdsl.compiler.steps import Recover, columns_behind
from recoverdsl.engine.attack import search as attacks
from recoverdsl.engine.attack.problem import Problem
from recoverdsl.engine.attack.problem_factory import absolute, stored
from recoverdsl.engine.behavior.generation import Answers
from recoverdsl.engine.behavior.observation import NOT_A_NUMBER, judge, write
from recoverdsl.engine.defense.intervention import Delta, Intervention
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.model.forward import Tokens, embed, run_layers
from recoverdsl.engine.resources import Resources
from recoverdsl.measure.features import Monitored, Perturbed, example_figures
from recoverdsl.store.steps import Part, Row

FIGURES = (
    "norm", "relative_norm", "activation_drift", "decode_drift", "drift",
    "clamp_floor_violation", "reactivated_fraction", "violation",
)  # fmt: skip
"""Figures of `example_figures` that a row of the example table holds."""

NO_OTHER = "no other example has an answer that is unlike its own"

NOWHERE = "the target leaves no token at which δ could act"


@frozen(eq=False)
class Batch:
    """Some valid flips."""

    indices: list[int]
    bases: Answers | None = None
    """What the undefended model answered them, where the behavior is judged by a text."""
    others: Answers | None = None
    """What it answered another example each."""
    alone: Sequence[int] = ()
    """Places in the batch of examples for which no other example has an unlike answer."""


def play(
    resources: Resources,
    step: Recover,
    problem: Problem,
    protected: Protected,
    batch: Batch,
    outcome: attacks.Outcome,
    told: bool = True,
) -> Part:
    """What the δ of one batch comes to: rows of figures, and δ as it is kept.

    Args:
        told: whether a text is written with δ in place, to be judged. Else δ is judged by
            whether it reached its goal.
    """
    figures = _figures(problem, outcome.delta_BLQD)
    rows: list[Row] = [
        {
            "example": resources.examples[index].id,
            "category": resources.examples[index].category,
            "recovered": bool(outcome.recovered_B[at]),
            "reached": bool(outcome.recovered_B[at]),
            "score_recovered": float(outcome.score_B[at]),
            "steps": int(outcome.steps_B[at]),
            "zero_reactivation": bool(figures["reactivated_count"][at] == 0),
            **{name: float(figures[name][at]) for name in FIGURES},
            "failed": NOT_A_NUMBER if outcome.failed_B[at] else None,
        }
        for at, index in enumerate(batch.indices)
    ]
    for at, row in enumerate(rows):
        if step.goal == "another_answer" and at in batch.alone:
            row["failed"] = NO_OTHER
        elif not problem.where_BLQ[at].any():
            row["failed"] = NOWHERE
    delta_BLPD = stored(problem, outcome.delta_BLQD, columns_behind(step))
    sites_BL = torch.tensor(problem.sites).expand(len(rows), -1)
    tensors = {"delta": delta_BLPD, "sites": sites_BL}
    if told and step.behavior.generate is not None:
        delta = absolute(step, problem.sites, delta_BLPD)
        intervention = protected.intervention(step.defense).with_delta(delta)
        answers = write(resources, step.behavior, batch.indices, intervention)
        _tell(resources, step, rows, batch, answers)
        _trajectory(resources, rows, problem, batch, intervention, answers)
        tensors |= answers.tensors()
    return Part(rows, tensors)


def _tell(
    resources: Resources, step: Recover, rows: list[Row], batch: Batch, answers: Answers
) -> None:
    """Adds what is to be said of the texts."""
    other = step.goal == "another_answer"
    targets = batch.others if other else batch.bases
    for row, said in zip(
        rows, judge(resources, step.behavior, batch.indices, answers, targets), strict=True
    ):
        # With another example's answer as the goal, what counts is whether that was bought.
        row["recovered"] = (said["base_like"] or row["reached"]) if other else said["holds"]
        row["failed"] = row["failed"] or said["failed"]
        row |= {
            name: said[name] for name in said if name not in ("example", "category", "score", "holds", "removed", "failed")
        }  # fmt: skip


@torch.no_grad()
def _figures(problem: Problem, delta_BLQD: Tensor) -> dict[str, Tensor]:
    """Figures over the perturbed positions, on the prompt and the target."""
    whole = evolve(problem, bases={}, fixed_BLQD=None)
    states = whole.states(delta_BLQD)
    monitored = [
        Monitored(
            z_def_BPS=features.encode(problem.h_def[site]),
            z_rec_BPS=features.encode(states[site]), W_dec_SD=features.W_dec_SD,
        )
        for site, features in problem.features.items()
    ]  # fmt: skip
    perturbed = [
        Perturbed(
            delta_BPD=delta_BLQD[:, at], h_def_BPD=problem.h_def[site],
            W_enc_DS=problem.features[site].W_enc_DS if site in problem.features else None,
        )
        for at, site in enumerate(problem.sites)
    ]  # fmt: skip
    # A vector for all generated tokens is also where the target has none; features are not.
    acts_BQ = problem.touched_BQ | (delta_BLQD != 0).any(dim=3).any(dim=1)
    of_delta = example_figures([], perturbed, acts_BQ)
    of_features = example_figures(monitored, [], problem.touched_BQ)
    return of_features | {n: of_delta[n] for n in ("norm", "relative_norm", "violation")}


@torch.no_grad()
def _trajectory(
    resources: Resources,
    rows: list[Row],
    problem: Problem,
    batch: Batch,
    intervention: Intervention,
    answers: Answers,
) -> None:
    """Adds drift and floor violation on the text that was generated, and whether a feature woke there.

    The baseline is the defended model on the same tokens.
    """
    if not problem.features:
        return
    # The last token of a text that was cut is read off and never read by the model.
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
    disturbed = _states(tokens, intervention, problem)
    figures = example_figures(
        [
            Monitored(
                z_def_BPS=features.encode(defended[site]),
                z_rec_BPS=features.encode(disturbed[site]), W_dec_SD=features.W_dec_SD,
            )
            for site, features in problem.features.items()
        ],
        [],
        where_BT,
    )  # fmt: skip
    for at, row in enumerate(rows):
        row["generated_drift"] = float(figures["drift"][at])
        row["generated_clamp_floor_violation"] = float(figures["clamp_floor_violation"][at])
        row["zero_reactivation"] &= bool(figures["reactivated_count"][at] == 0)


def _states(tokens: Tokens, intervention: Intervention, problem: Problem) -> dict[int, Tensor]:
    family = problem.family
    watch: dict[int, list[Tensor]] = {site: [] for site in problem.features}
    run_layers(
        family, embed(family, tokens), tokens, start=0, stop=max(watch),
        edits=intervention.edits(tokens, watch=watch),
    )  # fmt: skip
    return {site: seen[0] for site, seen in watch.items()}


def _nonzero(delta: Delta, site: int, tokens: Tokens) -> Tensor:
    delta_BTD = delta.at(site, tokens, 0)
    if delta_BTD is None:
        return torch.zeros_like(tokens.mask_BT)
    return (delta_BTD != 0).any(-1)
