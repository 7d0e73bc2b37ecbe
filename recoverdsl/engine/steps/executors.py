"""What the steps with a δ compute. A step's result is rows of figures and tensors, per example."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from attrs import define, evolve, field
from torch import Tensor

from recoverdsl.compiler.steps import (
    FindSmallestNorm,
    RandomDirections,
    Recover,
    SplitDelta,
    Stage,
    Suffix,
    columns_behind,
)
from recoverdsl.engine.attack import search as attacks
from recoverdsl.engine.attack import suffixes
from recoverdsl.engine.attack.delta_parts import split
from recoverdsl.engine.attack.problem import Effort, Problem
from recoverdsl.engine.attack.problem_factory import Problems, absolute, constraint, stored
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.resources import Resources
from recoverdsl.engine.steps.evaluation import Batch, play
from recoverdsl.language import schema
from recoverdsl.store.steps import Part, Row

Progress = Callable[[int], None]


@define
class Executors:
    """Computes parts of steps for batches of valid flips, on shared resources."""

    resources: Resources
    problems: Problems = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.problems = Problems(self.resources)

    def recover(
        self, step: Recover, protected: Protected, batch: Batch, progress: Progress = lambda _: None
    ) -> Part:
        problem = self._problem(step, protected, batch)
        problem = evolve(problem, effort=Effort.none(problem.members_B))
        fixed: Tensor | None = None
        steps_B = torch.zeros(len(problem), dtype=torch.long, device=self.resources.device)
        failed_B = torch.zeros(len(problem), dtype=torch.bool, device=self.resources.device)
        for number, stage in enumerate(step.stages):
            now = self.problems.stage(problem, step, number, fixed)
            last = number == len(step.stages) - 1
            outcome = attacks.recover(
                now, self._attack(step, stage, now), self._limit(problem, stage.limit),
                progress=progress if last else lambda _: None,
            )  # fmt: skip
            fixed = outcome.delta_BLQD
            steps_B, failed_B = steps_B + outcome.steps_B, failed_B | outcome.failed_B
        outcome = evolve(outcome, steps_B=steps_B, failed_B=failed_B)
        passes, gradients = (
            spent_B.tolist() for spent_B in (problem.effort.forward_passes_B, problem.effort.gradients_B)
        )  # fmt: skip
        part = play(self.resources, step, now, protected, batch, outcome)
        for row, forward_passes, gradient_steps in zip(part.rows, passes, gradients, strict=True):
            row["forward_passes"], row["gradient_steps"] = forward_passes, gradient_steps
        return part

    def find_smallest_norm(
        self,
        step: FindSmallestNorm,
        protected: Protected,
        batch: Batch,
        found: Part,
        progress: Progress = lambda _: None,
    ) -> Part:
        problem = self._problem(step.recover, protected, batch)
        device = self.resources.device
        rows = found.rows
        start = attacks.Outcome(
            delta_BLQD=self._columns(problem, step.recover, found.tensors["delta"]),
            score_B=torch.tensor([row["score_recovered"] for row in rows], device=device),
            recovered_B=torch.tensor([row["reached"] for row in rows], device=device),
            steps_B=torch.tensor([row["steps"] for row in rows], device=device),
            failed_B=torch.tensor([row["failed"] is not None for row in rows], device=device),
        )
        # Long steps first turn δ into the best direction, short ones then settle there.
        attack = attacks.Attack(
            optimizer=lambda radius_B: attacks.SteepestAscent(
                radius_B, lambda t: max(0.1, 1 - t / step.steps)
            ),
            constraint=constraint(step.recover, problem),
            steps=step.steps,
        )
        outcome = attacks.smallest_norm(problem, start, attack, step.within, progress)
        return play(self.resources, step.recover, problem, protected, batch, outcome, told=False)

    def random_directions(self, step: RandomDirections, protected: Protected, batch: Batch) -> Part:
        recover = step.recover
        problem = self._problem(recover, protected, batch)
        ids = [self.resources.examples[index].id for index in batch.indices]
        # Whether a text is back is seen when it is written, so each draw is played to its end.
        best: Part | None = None
        for draw in range(step.draws):
            fixed: Tensor | None = None
            failed_B = torch.zeros(len(problem), dtype=torch.bool, device=self.resources.device)
            for number, stage in enumerate(recover.stages):
                now = self.problems.stage(problem, recover, number, fixed)
                outcome = attacks.random_direction(
                    now, constraint(recover, now), self._limit(problem, stage.limit),
                    [_seed(step.seed, id, number) + draw for id in ids],
                )  # fmt: skip
                fixed, failed_B = outcome.delta_BLQD, failed_B | outcome.failed_B
            outcome = evolve(outcome, failed_B=failed_B)
            part = play(self.resources, recover, now, protected, batch, outcome)
            best = part if best is None else _better(best, part)
        assert best is not None
        return best

    def split_delta(
        self, step: SplitDelta, protected: Protected, batch: Batch, found: Part
    ) -> Part:
        """Each part of δ alone, and δ without it: a row for each, example by example."""
        problem = self._problem(step.recover, protected, batch)
        total = self._columns(problem, step.recover, found.tensors["delta"])
        last = self.problems.stage(problem, step.recover, len(step.recover.stages) - 1, None)
        whole = evolve(last, bases={})
        parts = split(whole, self.resources.autoencoders, total, step.parts)
        failed_B = torch.tensor([row["failed"] is not None for row in found.rows])
        played: dict[tuple[str, str], list[Row]] = {}
        written: dict[str, Tensor] = {}
        for name, part in parts.items():
            for how, delta in (("alone", part), ("without", total - part)):
                outcome = _as_it_is(whole, delta, failed_B.to(delta.device))
                made_part = play(self.resources, step.recover, whole, protected, batch, outcome)
                played[name, how] = list(made_part.rows)
                written |= {
                    f"{kept} {name} {how}": made_part.tensors[kept]
                    for kept in ("answer", "length")
                    if kept in made_part.tensors
                }
        rows = [
            {**made[at], "part": name, "how": how}
            for at in range(len(batch.indices))
            for (name, how), made in played.items()
        ]
        behind = columns_behind(step.recover)
        return Part(
            [{"example": found.rows[at]["example"], "parts": rows[at * len(played) : (at + 1) * len(played)]}
             for at in range(len(batch.indices))],
            {
                "sites": torch.tensor(problem.sites).expand(len(batch.indices), -1),
                **{f"part {name}": stored(problem, part, behind) for name, part in parts.items()},
                **written,
            },
        )  # fmt: skip

    def suffix(
        self, step: Suffix, protected: Protected, batch: Batch, progress: Progress = lambda _: None
    ) -> Part:
        assert batch.bases is not None
        seeds = [_seed(0, self.resources.examples[index].id) for index in batch.indices]
        return suffixes.attack(
            self.resources, step, protected, batch.indices, batch.bases, seeds, progress
        )

    # --- Shared -----------------------------------------------------------------------------------

    def _problem(self, step: Recover, protected: Protected, batch: Batch) -> Problem:
        targets = batch.others if step.goal == "another_answer" else batch.bases
        if targets is not None:
            targets = targets.first(step.target_tokens)
        return self.problems.problem(step, protected, batch.indices, targets)

    def _limit(self, problem: Problem, limit: float) -> Tensor:
        return torch.full((len(problem),), limit, device=self.resources.device)

    def _attack(self, step: Recover, stage: Stage, problem: Problem) -> attacks.Attack:
        lr = stage.optimizer.lr
        return attacks.Attack(
            optimizer=(
                (lambda _: attacks.Adam(lr))
                if isinstance(stage.optimizer, schema.Adam)
                else (lambda limit_B: attacks.SteepestAscent(torch.full_like(limit_B, lr)))
            ),
            constraint=constraint(step, problem),
            steps=stage.steps,
            stop_when_recovered=step.stop == "recovered",
            forward_passes=step.forward_passes,
        )

    def _columns(self, problem: Problem, step: Recover, delta_BLPD: Tensor) -> Tensor:
        """A stored δ on the columns of a problem."""
        delta = absolute(step, problem.sites, delta_BLPD.to(self.resources.device))
        parts = [delta.at(site, problem.tokens, problem.first) for site in problem.sites]
        return torch.stack(
            [problem.zero_BLQD[:, 0] if part is None else part for part in parts], dim=1
        )


@torch.no_grad()
def _as_it_is(problem: Problem, delta_BLQD: Tensor, failed_B: Tensor) -> attacks.Outcome:
    """What a given δ comes to, without a search."""
    score_B, reached_B = problem.score(delta_BLQD)
    failed_B = failed_B | ~score_B.isfinite()
    return evolve(
        attacks.Outcome.none(problem), delta_BLQD=delta_BLQD, score_B=score_B,
        recovered_B=reached_B & ~failed_B, failed_B=failed_B,
    )  # fmt: skip


def _better(a: Part, b: Part) -> Part:
    """Row by row the draw that recovered, or else the one with the higher score, failures last."""

    def rank(row: Row) -> tuple[bool, bool, float]:
        return (row["failed"] is None, row["recovered"], row["score_recovered"])

    second = [rank(y) > rank(x) for x, y in zip(a.rows, b.rows, strict=True)]
    rows = [y if take else x for x, y, take in zip(a.rows, b.rows, second, strict=True)]
    mask = torch.tensor(second)
    tensors = {
        name: torch.where(mask.view(-1, *[1] * (a.tensors[name].dim() - 1)), b.tensors[name], a.tensors[name])
        for name in a.tensors
    }  # fmt: skip
    return Part(rows, tensors)


def _seed(seed: int, example: str, stage: int = 0) -> int:
    """A seed of the example's own, whatever batch it is in."""
    text = f"{seed}:{example}" + (f":{stage}" if stage else "")
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
