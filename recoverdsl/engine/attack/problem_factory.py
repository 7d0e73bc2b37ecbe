"""The factory of attack problems: the defended run, cut where δ begins, with the goal of a step."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from attrs import define, evolve, field
from torch import Tensor

from recoverdsl.compiler.steps import Place, ReachBehavior, Recover, columns_after_prompt
from recoverdsl.engine.attack.constraints import kind_of
from recoverdsl.engine.attack.geometry import span
from recoverdsl.engine.attack.problem import AttackProblem
from recoverdsl.engine.behavior.generation import Answers
from recoverdsl.engine.behavior.objectives import AnswerGoal, Goal
from recoverdsl.engine.behavior.observation import goal_of
from recoverdsl.engine.defense.autoencoders import boundary_of
from recoverdsl.engine.defense.intervention import Delta
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.model.forward import Prefix, Recorder, Tokens, embed, run_layers
from recoverdsl.engine.model.positions import position_mask
from recoverdsl.engine.resources import Resources
from recoverdsl.errors import UnavailableError
from recoverdsl.language.schema import Site

KEPT_BYTES = 2**31
"""How much memory recent problems may take: attacks of one spec share them and differ in budgets
only."""


@define
class ProblemFactory:
    """Builds the problems of a run's batches, and keeps recent ones."""

    resources: Resources
    recent: OrderedDict[object, AttackProblem] = field(factory=OrderedDict)

    def problem(
        self,
        step: Recover,
        protected: Protected,
        indices: list[int],
        targets: Answers | None,
        filled: Sequence[int] | None = None,
    ) -> AttackProblem:
        """Return the problem of the first stage of a step.

        Args:
            filled: the examples whose values fill the columns of a goal that is a behavior; its own
                for each if not given.
            targets: the answers that are to be reached, for a goal that is an answer.

        Raises:
            UnavailableError: δ would act nowhere, or has no room.
        """
        key = (
            step.defense, step.behavior, tuple(stage.places for stage in step.stages), step.preserve, step.goal,
            protected, tuple(indices), tuple(filled or ()),
        )  # fmt: skip
        if key not in self.recent:
            self.recent[key] = self._build(step, protected, indices, targets, filled or indices)
            while len(self.recent) > 1 and sum(map(_bytes, self.recent.values())) > KEPT_BYTES:
                self.recent.popitem(last=False)
        self.recent.move_to_end(key)
        return self.recent[key]

    def stage(
        self, problem: AttackProblem, step: Recover, number: int, fixed: Tensor | None
    ) -> AttackProblem:
        """Return the problem of a stage, with the δ of the earlier ones in place."""
        where_BLQ, shared_LQ = self._where(step, number, problem.tokens, problem.sites)
        touched_BQ = torch.stack(
            [self._where(step, n, problem.tokens, problem.sites)[0].any(1) for n in range(number + 1)]
        ).any(0)  # fmt: skip
        cut = slice(problem.first, None)
        return evolve(
            problem,
            where_BLQ=where_BLQ[..., cut],
            shared_LQ=None if shared_LQ is None else shared_LQ[..., cut],
            # After a shorter target there is no token yet whose features could be kept.
            touched_BQ=(touched_BQ & problem.tokens.mask_BT)[..., cut],
            fixed_BLQD=fixed,
        )

    def columns(self, problem: AttackProblem, step: Recover, delta_BLPD: Tensor) -> Tensor:
        """Return a stored δ on the columns of a problem, (B, L, Q, D)."""
        delta = positioned_delta(step, problem.sites, delta_BLPD.to(self.resources.device))
        parts = [delta.at(site, problem.tokens, problem.first) for site in problem.sites]
        return torch.stack(
            [problem.zero_BLQD[:, 0] if part is None else part for part in parts], dim=1
        )

    @torch.no_grad()
    def _build(
        self,
        step: Recover,
        protected: Protected,
        indices: list[int],
        targets: Answers | None,
        filled: Sequence[int],
    ) -> AttackProblem:
        family = self.resources.model.family
        tokens = self.resources.tokens(indices)
        goal: Goal
        if isinstance(step.goal, ReachBehavior):
            goal = goal_of(self.resources, step.goal.behavior, filled, tokens.prompt - 1)
        else:
            assert targets is not None and step.behavior.generate is not None
            labels_BA, mask_BA = target_labels(targets)
            goal = AnswerGoal(labels_BA, mask_BA, tokens.prompt - 1)
            # The last token of a target is predicted, and never read by the model.
            tokens = tokens.followed_by(labels_BA[:, :-1] * mask_BA[:, 1:], mask_BA[:, 1:])
            if _shares(step):
                missing = step.behavior.generate - labels_BA.shape[1]
                padding = labels_BA.new_zeros(len(indices), max(0, missing))
                tokens = tokens.followed_by(padding, padding.bool())

        sites = tuple(sorted({_boundary(place) for stage in step.stages for place in stage.places}))
        features = {site: f for site, f in protected.features.items() if site >= sites[0]}
        bases = {}
        if kind_of(step.preserve).corrects:
            bases = {site: span(f.W_enc_DS) for site, f in features.items()}
            sites = tuple(sorted({*sites, *features}))
        everywhere = [self._where(step, n, tokens, sites)[0] for n in range(len(step.stages))]
        acts_BT = torch.stack(everywhere).any(0).any(1)
        for index, acts in zip(indices, acts_BT.any(1).tolist(), strict=True):
            # A target of one token is predicted by the prompt: that example fails, and not the run.
            if not acts and isinstance(step.goal, ReachBehavior):
                raise UnavailableError(
                    "the attack perturbs no position of this prompt",
                    where=f"example {self.resources.examples[index].id}",
                    help="choose other positions in `perturb`, or leave the example out",
                )
        first = min([tokens.prompt - 1, *acts_BT.any(0).nonzero().flatten().tolist()[:1]])

        intervention = protected.intervention(step.defense)
        top = max([*sites, *features])
        watch: dict[int, list[Tensor]] = {site: [] for site in {*sites, *features}}
        recorder = Recorder(first)
        h_BTD = run_layers(
            family, embed(family, tokens), tokens, start=0, stop=top, cache=recorder,
            edits=intervention.edits(tokens, watch=watch),
        )  # fmt: skip
        if first:
            # The prefix's own columns are enough: attention is causal.
            # No clamp is above `top`, and what acts there has acted.
            run_layers(
                family, h_BTD[:, :first], tokens.until(first),
                start=top, stop=family.n_layers, cache=recorder,
            )  # fmt: skip
        layers = range(sites[0], family.n_layers) if first else ()
        problem = AttackProblem(
            family=family, tokens=tokens, first=first, sites=sites,
            where_BLQ=everywhere[0][..., first:],
            h_def={site: seen[0][:, first:].clone() for site, seen in watch.items()},
            intervention=intervention, features=features,
            prefix=Prefix(
                {layer: recorder.keys[layer] for layer in layers},
                {layer: recorder.values[layer] for layer in layers},
            ),
            goal=goal, bases=bases,
        )  # fmt: skip
        if kind_of(step.preserve).reads_unclamped:
            unclamped = problem.trace(problem.zero_BLQD).unclamped
            problem = evolve(problem, unclamped_def=unclamped)
        return self.stage(problem, step, 0, None)

    def _where(
        self, step: Recover, number: int, tokens: Tokens, sites: Sequence[int]
    ) -> tuple[Tensor, Tensor | None]:
        """Return where a stage's δ acts (B, L, T), and which columns share one vector (L, T)."""
        columns_T = torch.arange(tokens.ids_BT.shape[1], device=tokens.ids_BT.device)
        where_BLT = torch.zeros(
            len(tokens), len(sites), len(columns_T), dtype=torch.bool, device=columns_T.device
        )
        shared_LT = torch.zeros_like(where_BLT[0])
        for place in step.stages[number].places:
            at = sites.index(_boundary(place))
            where_BLT[:, at] |= position_mask(place.positions, tokens)
            if "every_generated_token" in place.positions.include:
                # After a shorter target too: a generated text may be longer.
                after_T = columns_T >= tokens.prompt
                where_BLT[:, at] |= after_T
                shared_LT[at] = after_T
        return where_BLT, shared_LT if _shares(step) else None


def stored_delta(problem: AttackProblem, delta_BLQD: Tensor, after: int) -> Tensor:
    """Return δ as it is stored: with `after` columns after the prompt, whatever the batch's longest
    target."""
    have = delta_BLQD.shape[2] - (problem.tokens.prompt - problem.first)
    return torch.nn.functional.pad(delta_BLQD, (0, 0, 0, after - have))


def positioned_delta(step: Recover, sites: tuple[int, ...], delta_BLPD: Tensor) -> Delta:
    """Return a stored δ with its positions, so that it acts on any stretch of tokens."""
    return Delta(sites, delta_BLPD, delta_BLPD.shape[2] - columns_after_prompt(step))


def target_labels(targets: Answers) -> tuple[Tensor, Tensor]:
    """Return target tokens (B, A) and which of them are real; the last one of a text that ended is
    its end."""
    columns_N = torch.arange(targets.ids_BN.shape[1], device=targets.ids_BN.device)
    mask_BN = columns_N < (targets.length_B + targets.ended_B)[:, None]
    width = max(1, int(mask_BN.any(0).sum()))
    return (targets.ids_BN * mask_BN)[:, :width], mask_BN[:, :width]


def _shares(step: Recover) -> bool:
    return any(
        "every_generated_token" in place.positions.include
        for stage in step.stages
        for place in stage.places
    )


def _boundary(place: Place) -> int:
    return boundary_of(Site("", place.layer, place.side))


def _bytes(problem: AttackProblem) -> int:
    kept = [
        *problem.h_def.values(), *problem.unclamped_def.values(),
        *problem.prefix.keys.values(), *problem.prefix.values.values(),
    ]  # fmt: skip
    return sum(tensor.nbytes for tensor in kept)
