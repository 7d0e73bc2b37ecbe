"""What each kind of step computes. A step's result is rows of figures and tensors, per example."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from attrs import define, field, frozen
from torch import Tensor

from recoverdsl.compiler.steps import (
    Defense,
    Disturbance,
    FindSmallestNorm,
    RandomDirections,
    Recover,
    RunBase,
    RunDefended,
    SelectFeatures,
)
from recoverdsl.engine import constraints
from recoverdsl.engine import recover as attacks
from recoverdsl.engine.clamp import Clamp
from recoverdsl.engine.forward import Prefix, Recorder, Tokens, embed, run_layers
from recoverdsl.engine.objectives import Objective, holds, objective
from recoverdsl.engine.positions import position_mask
from recoverdsl.engine.resources import Resources
from recoverdsl.engine.saes import Features
from recoverdsl.errors import UnavailableError
from recoverdsl.language import schema
from recoverdsl.measure.features import example_figures
from recoverdsl.store.steps import Part, Row

NOT_A_NUMBER = "a score or gradient was not a finite number"

FIGURES = (
    "norm", "relative_norm", "activation_drift", "decode_drift", "drift",
    "clamp_floor_violation", "reactivated_fraction", "violation",
)  # fmt: skip
"""Figures of `example_figures` that a row of the example table holds."""


@frozen(eq=False)
class DefendedState:
    """A batch under the clamp, cut at the first perturbed column: what attacks start from."""

    tokens: Tokens
    first: int
    h_def_BQD: Tensor
    where_BQ: Tensor
    prefix: Prefix

    @property
    def bytes(self) -> int:
        kept = [self.h_def_BQD, *self.prefix.keys.values(), *self.prefix.values.values()]
        return sum(tensor.nbytes for tensor in kept)


@define
class Executors:
    """Computes parts of steps for ranges of examples, on shared resources."""

    resources: Resources
    states: OrderedDict[object, DefendedState] = field(factory=OrderedDict)
    """Defended states made lately: attacks of one spec differ in their budgets, not in these."""

    # --- Without δ ---

    def run_base(self, step: RunBase, indices: list[int]) -> Part:
        return self._judge(step, indices, None)

    def run_defended(self, step: RunDefended, features: Features, indices: list[int]) -> Part:
        return self._judge(step, indices, self._clamp(step.defense, features))

    def _judge(self, step: RunBase | RunDefended, indices: list[int], clamp: Clamp | None) -> Part:
        family = self.resources.model.family
        tokens = self.resources.tokens(indices)
        edits = {}
        if clamp is not None and isinstance(step, RunDefended):
            where_BT = position_mask(step.defense.at, tokens)
            edits[clamp.features.autoencoder.boundary] = lambda h_BTD: clamp(h_BTD, where_BT).to(
                h_BTD.dtype
            )
        with torch.no_grad():
            h_BTD = run_layers(
                family, embed(family, tokens), tokens, start=0, stop=family.n_layers, edits=edits
            )
            score_B = self._objective(step.score, indices)(family, h_BTD[:, -1])
        present_B = holds(step.holds, score_B)
        return Part(
            [
                {
                    "example": self.resources.examples[index].id,
                    "score": float(score),
                    "holds": bool(present),
                    "failed": None if score.isfinite() else NOT_A_NUMBER,
                }
                for index, score, present in zip(indices, score_B, present_B, strict=True)
            ],
            {"score": score_B},
        )

    def attribution(self, step: SelectFeatures, indices: list[int]) -> Part:
        """Activation × gradient of every feature, summed over positions: (B, d_sae)."""
        assert step.score is not None and step.positions is not None
        family, sae = self.resources.model.family, self.resources.autoencoder
        tokens = self.resources.tokens(indices)
        where_BT = position_mask(step.positions, tokens)
        with torch.no_grad():
            h_BTD = run_layers(family, embed(family, tokens), tokens, start=0, stop=sae.boundary)
        h_BTD.requires_grad_(True)
        with torch.enable_grad():
            top_BTD = run_layers(family, h_BTD, tokens, start=sae.boundary, stop=family.n_layers)
            score_B = self._objective(step.score, indices)(family, top_BTD[:, -1])
            (gradient_BTD,) = torch.autograd.grad(score_B.sum(), h_BTD)
        with torch.no_grad():
            # ∂score/∂z_f is the gradient along the feature's decoder row.
            z_BTF = sae.encode(h_BTD.detach()) * where_BT[..., None]
            effect_BF = (z_BTF * (gradient_BTD.float() @ sae.W_dec_FD.T)).sum(1)
        effect_BF = effect_BF.nan_to_num(0.0, 0.0, 0.0)
        return Part(
            [{"example": self.resources.examples[i].id} for i in indices], {"effect": effect_BF}
        )

    # --- With δ ---

    def recover(
        self,
        step: Recover,
        features: Features,
        indices: list[int],
        progress: Callable[[int], None] = lambda done: None,
    ) -> Part:
        problem = self._problem(step, features, indices)
        limit_B = torch.full((len(indices),), step.limit, device=self.resources.device)
        outcome = attacks.recover(problem, self._attack(step, features), limit_B, progress=progress)
        return self._part(problem, features, indices, outcome)

    def find_smallest_norm(
        self,
        step: FindSmallestNorm,
        features: Features,
        indices: list[int],
        found: Part,
        progress: Callable[[int], None] = lambda done: None,
    ) -> Part:
        problem = self._problem(step.recover, features, indices)
        device = self.resources.device
        start = attacks.Outcome(
            delta_BQD=_columns(found.tensors["delta"].to(device), problem.h_def_BQD.shape[1]),
            score_B=torch.tensor([row["score_recovered"] for row in found.rows], device=device),
            recovered_B=torch.tensor([row["recovered"] for row in found.rows], device=device),
            steps_B=torch.tensor([row["steps"] for row in found.rows], device=device),
            failed_B=torch.tensor([row["failed"] is not None for row in found.rows], device=device),
        )
        # Long steps first turn δ into the best direction, short ones then settle there.
        attack = attacks.Attack(
            optimizer=lambda radius_B: attacks.SteepestAscent(
                radius_B, lambda t: max(0.1, 1 - t / step.steps)
            ),
            constraint=self._constraint(step.recover.disturbance, features),
            steps=step.steps,
        )
        outcome = attacks.smallest_norm(problem, start, attack, step.within, progress)
        return self._part(problem, features, indices, outcome)

    def random_directions(
        self, step: RandomDirections, features: Features, indices: list[int]
    ) -> Part:
        problem = self._problem(step, features, indices)
        limit_B = torch.full((len(indices),), step.limit, device=self.resources.device)
        seeds = [_seed(step.seed, self.resources.examples[index].id) for index in indices]
        constraint = self._constraint(step.disturbance, features)
        outcome = attacks.random_direction(problem, constraint, limit_B, seeds, step.draws)
        return self._part(problem, features, indices, outcome)

    # --- Shared ---

    def _objective(self, score: schema.Score, indices: Sequence[int]) -> Objective:
        resources = self.resources
        examples = [resources.examples[index] for index in indices]
        return objective(score, examples, resources.model.encode_text, resources.device)

    def _clamp(self, defense: Defense, features: Features) -> Clamp:
        return Clamp(features, defense.to, defense.when == "active")

    def _constraint(self, disturbance: Disturbance, features: Features) -> constraints.Constraint:
        if disturbance.preserve == "orthogonal":
            constraint = constraints.Orthogonal.to(features.W_enc_DS)
            width, taken = constraint.basis_DR.shape
            if taken >= width:
                # δ could only be zero, and an attack that cannot move says nothing of the clamp.
                raise UnavailableError(
                    f"a δ orthogonal to {len(features.ids_S)} features has no room in {width} dimensions",
                    help="protect fewer features, or leave `preserve` out",
                )
            return constraint
        return constraints.Free()

    def _attack(self, step: Recover, features: Features) -> attacks.Attack:
        lr = step.optimizer.lr
        return attacks.Attack(
            optimizer=(
                (lambda _: attacks.Adam(lr))
                if isinstance(step.optimizer, schema.Adam)
                else (lambda limit_B: attacks.SteepestAscent(torch.full_like(limit_B, lr)))
            ),
            constraint=self._constraint(step.disturbance, features),
            steps=step.steps,
            stop_when_recovered=step.stop == "recovered",
        )

    def _problem(
        self, step: Recover | RandomDirections, features: Features, indices: list[int]
    ) -> attacks.Problem:
        family = self.resources.model.family
        state = self._state(step.defense, step.disturbance, features, indices)
        return attacks.Problem(
            family=family, boundary=features.autoencoder.boundary, tokens=state.tokens, first=state.first,
            h_def_BQD=state.h_def_BQD, where_BQ=state.where_BQ, prefix=state.prefix,
            objective=self._objective(step.score, indices), predicate=step.holds,
        )  # fmt: skip

    def _state(
        self, defense: Defense, disturbance: Disturbance, features: Features, indices: list[int]
    ) -> DefendedState:
        key = (defense, disturbance.positions, tuple(features.ids_S.tolist()), tuple(indices))
        if key not in self.states:
            self.states[key] = self._make_state(defense, disturbance, features, indices)
            while (
                len(self.states) > 1 and sum(state.bytes for state in self.states.values()) > 2**31
            ):
                self.states.popitem(last=False)
        self.states.move_to_end(key)
        return self.states[key]

    @torch.no_grad()
    def _make_state(
        self, defense: Defense, disturbance: Disturbance, features: Features, indices: list[int]
    ) -> DefendedState:
        family, boundary = self.resources.model.family, features.autoencoder.boundary
        tokens = self.resources.tokens(indices)
        where_BT = position_mask(disturbance.positions, tokens)
        for index, acts in zip(indices, where_BT.any(1).tolist(), strict=True):
            if not acts:
                raise UnavailableError(
                    "the attack perturbs no position of this prompt",
                    where=f"example {self.resources.examples[index].id}",
                    help="choose other positions in `perturb`, or leave the example out",
                )
        first = int(where_BT.any(0).nonzero()[0])
        h_BTD = run_layers(family, embed(family, tokens), tokens, start=0, stop=boundary)
        h_def_BTD = self._clamp(defense, features)(h_BTD, position_mask(defense.at, tokens))
        recorder = Recorder(first)
        if first:
            # The prefix's own columns are enough: nothing behind them reaches back.
            before = Tokens(tokens.ids_BT[:, :first], tokens.mask_BT[:, :first])
            run_layers(
                family, h_def_BTD[:, :first].to(family.dtype), before,
                start=boundary, stop=family.n_layers, cache=recorder,
            )  # fmt: skip
        return DefendedState(
            tokens,
            first,
            h_def_BTD[:, first:],
            where_BT[:, first:],
            Prefix(recorder.keys, recorder.values),
        )

    def _part(
        self,
        problem: attacks.Problem,
        features: Features,
        indices: list[int],
        outcome: attacks.Outcome,
    ) -> Part:
        figures = self._figures(problem, features, outcome.delta_BQD)
        rows: list[Row] = []
        for at, index in enumerate(indices):
            failed = bool(outcome.failed_B[at])
            row: Row = {
                "example": self.resources.examples[index].id,
                "recovered": bool(outcome.recovered_B[at]),
                "score_recovered": float(outcome.score_B[at]),
                "steps": int(outcome.steps_B[at]),
                "zero_reactivation": bool(figures["reactivated_count"][at] == 0),
                **{name: float(figures[name][at]) for name in FIGURES},
                "failed": NOT_A_NUMBER if failed else None,
            }
            rows.append(row)
        return Part(rows, {"delta": outcome.delta_BQD})

    @torch.no_grad()
    def _figures(
        self, problem: attacks.Problem, features: Features, delta_BQD: Tensor
    ) -> dict[str, Tensor]:
        """Figures over exactly the perturbed positions, whose number may differ by example."""
        if problem.where_BQ.all():
            groups = [(slice(None), slice(None))]
        else:
            groups = [
                (slice(row, row + 1), where_Q.nonzero().squeeze(1))
                for row, where_Q in enumerate(problem.where_BQ)
            ]
        made = []
        for rows, positions in groups:
            h_def, delta = problem.h_def_BQD[rows, positions], delta_BQD[rows, positions]
            made.append(
                example_figures(
                    z_def_BPS=features.encode(h_def), z_rec_BPS=features.encode(h_def + delta),
                    delta_BPD=delta, h_def_BPD=h_def,
                    W_enc_DS=features.W_enc_DS, W_dec_SD=features.W_dec_SD,
                )
            )  # fmt: skip
        return {name: torch.cat([figures[name] for figures in made]) for name in made[0]}


def _columns(delta_BQD: Tensor, columns: int) -> Tensor:
    """The last columns of a δ, filled with zeros on the left: columns count from the prompt's end."""
    missing = max(0, columns - delta_BQD.shape[1])
    return torch.nn.functional.pad(delta_BQD, (0, 0, missing, 0))[:, -columns:]


def _seed(seed: int, example: str) -> int:
    """A seed of the example's own, whatever batch it is in."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{example}".encode()).digest()[:6], "big")
