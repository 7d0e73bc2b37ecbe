"""From a step to a `Problem`: the defended run, cut where δ begins, and the goal behind it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import torch
from attrs import define, evolve, field
from torch import Tensor

from recoverdsl.compiler.steps import Place, Recover, columns_behind
from recoverdsl.engine.attack import constraints
from recoverdsl.engine.attack.constraints import Constraint, span
from recoverdsl.engine.attack.jacobian import Jacobian, JacobianSketch
from recoverdsl.engine.attack.problem import Problem
from recoverdsl.engine.behavior.generation import Answers
from recoverdsl.engine.behavior.objectives import AnswerGoal, Goal, ScoreGoal
from recoverdsl.engine.behavior.observation import score_of
from recoverdsl.engine.defense.autoencoders import boundary_of
from recoverdsl.engine.defense.intervention import Delta
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.model.forward import Prefix, Recorder, Tokens, embed, run_layers
from recoverdsl.engine.model.positions import position_mask
from recoverdsl.engine.resources import Resources
from recoverdsl.errors import UnavailableError
from recoverdsl.language.schema import Site

KEPT_BYTES = 2**31
"""How much of lately made problems is kept: attacks of one spec differ in budgets, not in these."""


@define
class Problems:
    """Makes the problems of a run's batches."""

    resources: Resources
    made: OrderedDict[object, Problem] = field(factory=OrderedDict)

    def problem(
        self, step: Recover, protected: Protected, indices: list[int], targets: Answers | None
    ) -> Problem:
        """The problem of the first stage of a step.

        Args:
            targets: the answers that are to be reached, for a goal that is one.

        Raises:
            UnavailableError: δ would act nowhere, or has no room.
        """
        key = (
            step.defense, tuple(stage.places for stage in step.stages), step.preserve, step.goal,
            step.target_tokens, protected.key, tuple(indices),
        )  # fmt: skip
        if key not in self.made:
            self.made[key] = self._make(step, protected, indices, targets)
            while len(self.made) > 1 and sum(map(_bytes, self.made.values())) > KEPT_BYTES:
                self.made.popitem(last=False)
        self.made.move_to_end(key)
        return self.made[key]

    def stage(self, problem: Problem, step: Recover, number: int, fixed: Tensor | None) -> Problem:
        """The problem of a later stage, with the δ of the earlier ones in place."""
        where_BLQ, shared_LQ = self._where(step, number, problem.tokens, problem.sites)
        touched_BQ = torch.stack(
            [self._where(step, n, problem.tokens, problem.sites)[0].any(1) for n in range(number + 1)]
        ).any(0)  # fmt: skip
        cut = slice(problem.first, None)
        return evolve(
            problem,
            where_BLQ=where_BLQ[..., cut],
            shared_LQ=None if shared_LQ is None else shared_LQ[..., cut],
            # Behind a shorter target there is no token yet whose features could be kept.
            touched_BQ=(touched_BQ & problem.tokens.mask_BT)[..., cut],
            fixed_BLQD=fixed,
        )

    @torch.no_grad()
    def _make(
        self, step: Recover, protected: Protected, indices: list[int], targets: Answers | None
    ) -> Problem:
        family = self.resources.model.family
        tokens = self.resources.tokens(indices)
        goal: Goal
        if step.goal == "score":
            objective = score_of(self.resources, step.behavior.score, indices)
            goal = ScoreGoal(objective, step.behavior.holds, tokens.prompt - 1)
        else:
            assert targets is not None and step.behavior.generate is not None
            labels_BA, mask_BA = labels(targets)
            goal = AnswerGoal(labels_BA, mask_BA, tokens.prompt - 1)
            # The last token of a target is read off and never read by the model.
            tokens = tokens.followed_by(labels_BA[:, :-1] * mask_BA[:, 1:], mask_BA[:, 1:])
            if _shares(step):
                missing = step.behavior.generate - labels_BA.shape[1]
                padding = labels_BA.new_zeros(len(indices), max(0, missing))
                tokens = tokens.followed_by(padding, padding.bool())

        sites = tuple(sorted({_boundary(place) for stage in step.stages for place in stage.places}))
        features = {site: f for site, f in protected.features.items() if site >= sites[0]}
        bases = {}
        if step.preserve == "by_construction":
            bases = {site: span(f.W_enc_DS) for site, f in features.items()}
            sites = tuple(sorted({*sites, *features}))
        everywhere = [self._where(step, n, tokens, sites)[0] for n in range(len(step.stages))]
        acts_BT = torch.stack(everywhere).any(0).any(1)
        for index, acts in zip(indices, acts_BT.any(1).tolist(), strict=True):
            # A target of one token is read off the prompt: that example fails, and not the run.
            if not acts and step.goal == "score":
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
            # The prefix's own columns are enough: nothing behind them reaches back.
            # No clamp is above `top`, and what acts there has acted.
            run_layers(
                family, h_BTD[:, :first], tokens.until(first),
                start=top, stop=family.n_layers, cache=recorder,
            )  # fmt: skip
        layers = range(sites[0], family.n_layers) if first else ()
        problem = Problem(
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
        if step.preserve == "jacobian":
            unclamped = problem.trace(problem.zero_BLQD).unclamped
            problem = evolve(problem, unclamped_def=unclamped)
        return self.stage(problem, step, 0, None)

    def _where(
        self, step: Recover, number: int, tokens: Tokens, sites: Sequence[int]
    ) -> tuple[Tensor, Tensor | None]:
        """Where a stage's δ acts (B, L, T), and which columns share one vector (L, T)."""
        columns_T = torch.arange(tokens.ids_BT.shape[1], device=tokens.ids_BT.device)
        where_BLT = torch.zeros(
            len(tokens), len(sites), len(columns_T), dtype=torch.bool, device=columns_T.device
        )
        shared_LT = torch.zeros_like(where_BLT[0])
        for place in step.stages[number].places:
            at = sites.index(_boundary(place))
            where_BLT[:, at] |= position_mask(place.positions, tokens)
            if "every_generated_token" in place.positions.include:
                # Also behind a shorter target: what is generated may go on.
                behind_T = columns_T >= tokens.prompt
                where_BLT[:, at] |= behind_T
                shared_LT[at] = behind_T
        return where_BLT, shared_LT if _shares(step) else None


def constraint(step: Recover, problem: Problem) -> Constraint:
    """What the step's δ must keep.

    Raises:
        UnavailableError: the constraint leaves δ no room, or the SAE has none of its kind.
    """
    if step.preserve == "nothing":
        return constraints.Free()
    if not problem.features:
        raise UnavailableError(
            "δ cannot reach the clamped features from where it acts",
            why="every clamped feature is read at a lower layer",
            help="leave `preserve` out, or perturb at or below the clamped layers",
        )
    if step.preserve == "by_construction":
        _room(problem.bases.values())
        return constraints.ByConstruction()
    if step.preserve == "orthogonal":
        kept = constraints.Orthogonal.to(
            *(problem.features[site].W_enc_DS if site in problem.features else None for site in problem.sites)
        )  # fmt: skip
        if None in kept.bases:
            raise UnavailableError(
                "`orthogonal` binds nothing at a site of δ without clamped features",
                why="none of the selected features is of the SAE that reads it",
                help="take preserve = by_construction(…), or perturb at the clamped sites only",
            )
        _room([basis for basis in kept.bases if basis is not None])
        return kept
    if step.preserve == "jacobian_sketch":
        return JacobianSketch(probes=step.probes)
    for features in problem.features.values():
        if features.bound_S.isnan().any():
            raise UnavailableError(
                "whether a feature of this SAE is active does not depend on its own pre-activation alone",
                why=f"its encoder is {features.autoencoder.invariance}",
                help="take preserve = by_construction(…)",
            )
    return Jacobian()


def _room(bases: Iterable[Tensor]) -> None:
    for basis_DR in bases:
        width, taken = basis_DR.shape
        if taken >= width:
            # δ could only be zero, and an attack that cannot move says nothing of the clamp.
            raise UnavailableError(
                f"a δ orthogonal to {taken} features has no room in {width} dimensions",
                help="protect fewer features, or leave `preserve` out",
            )


def stored(problem: Problem, delta_BLQD: Tensor, behind: int) -> Tensor:
    """δ as it is kept: with `behind` columns after the prompt, whatever the batch's longest target."""
    have = delta_BLQD.shape[2] - (problem.tokens.prompt - problem.first)
    return torch.nn.functional.pad(delta_BLQD, (0, 0, 0, behind - have))


def absolute(step: Recover, sites: tuple[int, ...], delta_BLPD: Tensor) -> Delta:
    """A stored δ as it acts on any stretch of tokens."""
    return Delta(sites, delta_BLPD, delta_BLPD.shape[2] - columns_behind(step))


def labels(targets: Answers) -> tuple[Tensor, Tensor]:
    """Target tokens (B, A) and which are real; a text that ended has its end as the last one."""
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


def _bytes(problem: Problem) -> int:
    kept = [
        *problem.h_def.values(), *problem.unclamped_def.values(),
        *problem.prefix.keys.values(), *problem.prefix.values.values(),
    ]  # fmt: skip
    return sum(tensor.nbytes for tensor in kept)
