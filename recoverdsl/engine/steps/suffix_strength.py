"""The step that tries harder where a suffix failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from attrs import evolve, frozen

from recoverdsl.compiler.steps import Suffix, TryHarderSuffix
from recoverdsl.engine.attack.seeds import seed_of
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.resources import Resources
from recoverdsl.engine.steps.evaluation import FlipBatch
from recoverdsl.engine.steps.executor import Progress, executes
from recoverdsl.engine.steps.strength import FailureExecutor, tried_of
from recoverdsl.engine.steps.suffix import Begun, Suffixes, attack, begin
from recoverdsl.measure.rows import Recovery
from recoverdsl.measure.strength import SuffixStrengthRow


@frozen(eq=False)
class SuffixStrengthRecord:
    """The searches on the examples that a suffix did not recover: the record of a step."""

    rows: tuple[SuffixStrengthRow, ...]
    failures: int
    """How many examples the suffix did not recover, of which these are a sample."""


@executes(TryHarderSuffix)
class TryHarderSuffixExecutor(FailureExecutor[TryHarderSuffix, SuffixStrengthRecord]):
    """Tries harder on some of the valid flips that a suffix did not recover."""

    record = SuffixStrengthRecord

    def compute(self, batch: range, progress: Progress) -> SuffixStrengthRecord:
        places = [self.places[at] for at in batch]
        found = self.work.output.record(self.node.inputs["found"], Suffixes).rows
        rows = try_harder(
            self.work.resources, self.step, self.work.protected(self.node),
            self.work.flip_batch(self.node, places), [found[at] for at in places],
        )  # fmt: skip
        return SuffixStrengthRecord(rows, len(self.missed))


def try_harder(
    resources: Resources,
    step: TryHarderSuffix,
    protected: Protected,
    batch: FlipBatch,
    found: Sequence[Recovery],
) -> tuple[SuffixStrengthRow, ...]:
    """Return other searches for some valid flips that a suffix did not recover: with twice the steps
    and passes, and for real tokens by random swaps.

    Args:
        found: the suffix's own rows of these examples.
    """
    suffix = step.suffix
    own = [seed_of(0, row.example) for row in found]
    more = attack(resources, longer(suffix), protected, batch, own)
    unguided: Sequence[Recovery | None] = [None] * len(found)
    if suffix.optimizer is None:
        drawn = [seed_of(step.seed, f"random search {row.example}") for row in found]
        unguided = attack(resources, suffix, protected, batch, drawn, guided=False).rows
    starts = _start(begin(resources, suffix, protected, batch, own))
    return tuple(
            SuffixStrengthRow(
                example=row.example, attack=tried_of(row), start=start, gradient=gradient,
                longer=tried_of(again), unguided=None if random is None else tried_of(random),
            )
            for row, (start, gradient), again, random in zip(
                found, starts, more.rows, unguided, strict=True
            )
    )  # fmt: skip


def longer(suffix: Suffix) -> Suffix:
    """Return the suffix with twice the steps and passes."""
    passes = suffix.forward_passes
    return evolve(suffix, steps=2 * suffix.steps, forward_passes=passes and 2 * passes)


def _start(begun: Begun) -> Iterator[tuple[float, float]]:
    """Yield each example's score with the suffix that its search begins with, and the length of its
    gradient."""
    states_BND = begun.kind.states(begun.problem, begun.start).detach().requires_grad_(True)
    with torch.enable_grad():
        score_B = begun.problem.objective(states_BND).score_B
        (gradient,) = torch.autograd.grad(score_B.sum(), states_BND)
    yield from zip(score_B.tolist(), gradient.flatten(1).norm(dim=1).tolist(), strict=True)
