"""The step that searches a suffix of tokens in place of a δ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from attrs import frozen
from torch import Tensor

from recoverdsl.compiler.steps import Suffix
from recoverdsl.engine.attack.gcg import Gcg, RandomSwaps, TypableTokens
from recoverdsl.engine.attack.optimizers import optimizer_of
from recoverdsl.engine.attack.seeds import seed_of
from recoverdsl.engine.attack.suffix_problem import (
    SuffixProblem,
    features_from_last_token,
    suffix_problem,
)
from recoverdsl.engine.attack.suffix_search import SoftSuffix, SuffixKind, search, soft_start
from recoverdsl.engine.behavior.generation import Answers, generate
from recoverdsl.engine.behavior.observation import judge
from recoverdsl.engine.defense.autoencoders import Features
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.resources import Resources
from recoverdsl.engine.steps.evaluation import FlipBatch, is_back, with_generated
from recoverdsl.engine.steps.executor import FlipExecutor, Progress, executes
from recoverdsl.engine.steps.table_record import Replay, TableRecord
from recoverdsl.measure.features import FeatureFigures, Monitored, feature_figures
from recoverdsl.measure.keys import PartKey
from recoverdsl.measure.rows import NOT_A_NUMBER, Effort, Recovery


@frozen(eq=False)
class Suffixes(TableRecord):
    """Suffixes of some valid flips, and their figures: the record of a step."""

    rows: tuple[Recovery, ...]
    answers: Answers
    suffix_BND: Tensor | None = None
    """Trained embeddings; None for real tokens."""
    suffix_ids_BN: Tensor | None = None
    """Real tokens; None for trained embeddings."""

    def replays(self) -> Iterator[tuple[PartKey | None, Replay]]:
        yield None, Replay(self.rows, self.answers, self.suffix_ids_BN)


@executes(Suffix)
class SuffixExecutor(FlipExecutor[Suffix, Suffixes]):
    """Searches a suffix."""

    record = Suffixes

    def compute(self, batch: range, progress: Progress) -> Suffixes:
        resources, flips = self.work.resources, self.work.flip_batch(self.node, batch)
        seeds = [seed_of(0, resources.examples[index].id) for index in flips.indices]
        protected = self.work.protected(self.node)
        return attack(resources, self.step, protected, flips, seeds, progress)


@frozen(eq=False)
class Begun:
    """A search of suffixes before its first step."""

    problem: SuffixProblem
    kind: SuffixKind
    start: Tensor
    """The suffixes to begin with, as `kind` represents them."""


def begin(
    resources: Resources,
    step: Suffix,
    protected: Protected,
    batch: FlipBatch,
    seeds: Sequence[int],
    *,
    guided: bool = True,
) -> Begun:
    """Return the search of a suffix for each example; for the arguments and errors see `attack`."""
    targets = batch.others if step.example == "another" else batch.bases
    assert targets is not None
    typable = TypableTokens.of(resources.model)
    parts = [resources.prompt_parts[index] for index in batch.indices]
    soft = step.optimizer is not None
    plain = [typable.plain[0] if soft else typable.start_token(part, step.tokens) for part in parts]
    problem = suffix_problem(resources, step, protected, batch.indices, targets, plain)
    if step.optimizer is not None:
        unlimited_B = torch.full((len(problem),), torch.inf, device=problem.family.device)
        optimizer = optimizer_of(step.optimizer, unlimited_B, step.steps)
        return Begun(problem, SoftSuffix(optimizer), soft_start(problem, seeds))
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    swaps = Gcg if guided else RandomSwaps
    kind = swaps(typable, parts, generators, step.candidates, step.top)
    return Begun(problem, kind, problem.plain_BN)


def attack(
    resources: Resources,
    step: Suffix,
    protected: Protected,
    batch: FlipBatch,
    seeds: Sequence[int],
    progress: Progress = lambda done: None,
    *,
    guided: bool = True,
) -> Suffixes:
    """Return a suffix for each example, the text that the model writes with it, and its figures.

    Args:
        seeds: one per example, so that its suffix does not depend on the rest of the batch.
        guided: whether swaps of real tokens follow the gradient; else they are drawn at random.

    Raises:
        UnavailableError: a prompt is too long with its suffix and the answer after it, or none of
            the tokenizer's tokens can be a suffix.
    """
    begun = begin(resources, step, protected, batch, seeds, guided=guided)
    problem, kind, indices = begun.problem, begun.kind, batch.indices
    soft, other = step.optimizer is not None, step.example == "another"
    targets = batch.others if other else batch.bases
    found = search(
        problem, kind, begun.start, step.steps, step.stop == "recovered", progress, step.forward_passes
    )  # fmt: skip
    states_BND = kind.states(problem, found.suffix)

    z_rec = problem.features_with(states_BND)
    figures = suffix_figures(problem.features, problem.z_def, z_rec, problem.goal.mask_BA)
    prompts, intervention = problem.prompts, problem.under(states_BND)
    if not soft:
        prompts, intervention = problem.with_ids(found.suffix), problem.intervention
    assert step.behavior.generate is not None
    answers = generate(
        problem.family, prompts, intervention,
        tokens=step.behavior.generate, end_ids=resources.model.end_ids,
    )  # fmt: skip
    # The model never reads the last token of an answer that was cut.
    read = (answers.ids_BN[:, :-1], answers.mask_BN[:, :-1])
    alone = resources.tokens(indices).followed_by(*read)
    written = suffix_figures(
        problem.features,
        features_from_last_token(problem.family, alone, problem.intervention, problem.features),
        features_from_last_token(
            problem.family, prompts.followed_by(*read), intervention, problem.features
        ),
        torch.nn.functional.pad(read[1], (1, 0), value=True),
    )
    rows = tuple(
        with_generated(
            Recovery(
                example=observed.example,
                category=observed.category,
                recovered=is_back(observed, bool(found.reached_B[at]), other=other),
                reached=bool(found.reached_B[at]),
                score_recovered=float(found.score_B[at]),
                steps=int(found.steps_B[at]),
                effort=Effort(
                    forward_passes=float(found.passes_B[at]),
                    gradient_steps=float(found.steps_B[at] + 1),
                ),
                features=figures[at],
                zero_reactivation=figures[at].reactivated_count == 0,
                text=observed.text,
                answer_tokens=observed.answer_tokens,
                failed=batch.missing.get(at)
                or (NOT_A_NUMBER if found.failed_B[at] else observed.failed),
            ),
            written[at],
        )
        for at, observed in enumerate(judge(resources, step.behavior, indices, answers, targets))
    )
    if soft:
        return Suffixes(rows, answers, suffix_BND=found.suffix)
    return Suffixes(rows, answers, suffix_ids_BN=found.suffix)


def suffix_figures(
    features: Mapping[int, Features],
    z_def: Mapping[int, Tensor],
    z_rec: Mapping[int, Tensor],
    where_BA: Tensor,
) -> list[FeatureFigures]:
    """Return how far a suffix moves protected features: the prompt's last token and the answer's tokens,
    each compared with the same token without a suffix."""
    monitored = [Monitored(z_def[site], z_rec[site], at.W_dec_SD) for site, at in features.items()]
    return feature_figures(monitored, where_BA)
