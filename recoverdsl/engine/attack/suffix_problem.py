"""A batch of prompts with room for a suffix, and the effect of a suffix on the defended model.

Letters: B example, N token of the suffix, Q column from the first suffix on, A token of the target,
S protected feature, D residual width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from attrs import evolve, frozen
from torch import Tensor

from recoverdsl.compiler.steps import Suffix
from recoverdsl.engine.attack.problem_factory import target_labels
from recoverdsl.engine.behavior.generation import Answers
from recoverdsl.engine.behavior.objectives import AnswerGoal
from recoverdsl.engine.defense.autoencoders import Features
from recoverdsl.engine.defense.intervention import Intervention, SoftTokens
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.model.families import Family
from recoverdsl.engine.model.forward import Prefix, Recorder, Tokens, embed, run_layers
from recoverdsl.engine.resources import Resources
from recoverdsl.errors import UnavailableError


@frozen(eq=False)
class SuffixObjective:
    """The objective of a suffix and its parts, each (B,)."""

    total_B: Tensor
    """The objective: the score less the features' weighted squared drift."""
    score_B: Tensor
    """Log-probability of the target."""
    reached_B: Tensor
    """Whether every token of the target is the most likely one."""


@frozen(eq=False)
class SuffixProblem:
    """All that stays fixed while a suffix changes. A suffix is given by its states at boundary 0."""

    family: Family
    tokens: Tokens
    """Prompts with a suffix of plain tokens in place, and the target after them."""
    length: int
    after_B: Tensor
    """How many of the prompt's tokens come after the suffix."""
    first: int
    """The first of the Q columns: nothing before it changes."""
    intervention: Intervention
    """The clamps."""
    prefix: Prefix
    goal: AnswerGoal
    features: Mapping[int, Features]
    z_def: Mapping[int, Tensor]
    """Protected features (B, A, S) of the defended model without a suffix, at the prompt's last
    token and the target's: the k-th column predicts the k-th target token."""
    keep: float = 0.0
    """Weight of the features' squared drift in the objective."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def columns_BN(self) -> Tensor:
        """The columns of the suffix."""
        start_B = self.tokens.prompt - self.after_B - self.length
        return start_B[:, None] + torch.arange(self.length, device=start_B.device)

    @property
    def plain_BN(self) -> Tensor:
        """The ids of the suffix that is in place."""
        return self.tokens.ids_BT.gather(1, self.columns_BN)

    @property
    def prompts(self) -> Tokens:
        """The prompts with the suffix in place, without the target."""
        return self.tokens.until(self.tokens.prompt)

    def with_ids(self, ids_BN: Tensor) -> Tokens:
        """Return the prompts with a suffix of real tokens."""
        prompts = self.prompts
        return evolve(prompts, ids_BT=prompts.ids_BT.scatter(1, self.columns_BN, ids_BN))

    def states_of(self, ids_BN: Tensor) -> Tensor:
        """Return boundary 0 of a suffix of real tokens, (B, N, D), float32."""
        positions_BN = self.tokens.positions_BT.gather(1, self.columns_BN)
        return self.family.embed(ids_BN, positions_BN).float()

    def under(self, states_BND: Tensor) -> Intervention:
        """Return the clamps together with a suffix."""
        return evolve(self.intervention, soft=SoftTokens(states_BND, self.after_B))

    def objective(self, states_BND: Tensor) -> SuffixObjective:
        """Return the objective of a suffix, differentiable in its states."""
        watch: dict[int, list[Tensor]] = {site: [] for site in self.features if self.keep}
        cut = slice(self.first, None)
        h_BQD = run_layers(
            self.family,
            self.family.embed(self.tokens.ids_BT[:, cut], self.tokens.positions_BT[:, cut]),
            self.tokens, start=0, stop=self.family.n_layers, first=self.first, cache=self.prefix,
            edits=self.under(states_BND).edits(self.tokens, self.first, watch=watch),
        )  # fmt: skip
        score_B, reached_B = self.goal(self.family, h_BQD, self.first)
        if not self.keep:
            return SuffixObjective(score_B, score_B, reached_B)
        start = self.tokens.prompt - 1 - self.first
        z = {site: self.features[site].encode(h[:, start:]) for site, (h,) in watch.items()}
        return SuffixObjective(score_B - self.keep * self._squared_drift(z), score_B, reached_B)

    def features_with(self, states_BND: Tensor) -> dict[int, Tensor]:
        """Return the protected features with a suffix, by boundary; `z_def` has those without."""
        return features_from_last_token(
            self.family, self.tokens, self.under(states_BND), self.features
        )

    def _squared_drift(self, z: Mapping[int, Tensor]) -> Tensor:
        """Return ‖z − z_def‖² / ‖z_def‖², over all sites together, (B,); ‖z − z_def‖² where z_def
        is 0."""
        where_BA1 = self.goal.mask_BA[..., None]
        moved_B = size_B = torch.zeros(len(self), device=where_BA1.device)
        for site, z_BAS in self.z_def.items():
            moved_B = moved_B + ((z[site] - z_BAS) * where_BA1).square().sum((1, 2))
            size_B = size_B + (z_BAS * where_BA1).square().sum((1, 2))
        return moved_B / torch.where(size_B > 0, size_B, 1.0)

    def take(self, rows: Tensor) -> SuffixProblem:
        """Return the problem of some examples."""
        return evolve(
            self, tokens=self.tokens.take(rows), after_B=self.after_B[rows],
            intervention=self.intervention.take(rows), prefix=self.prefix.take(rows),
            goal=self.goal.take(rows), z_def={site: z[rows] for site, z in self.z_def.items()},
        )  # fmt: skip


@torch.no_grad()
def suffix_problem(
    resources: Resources,
    step: Suffix,
    protected: Protected,
    indices: list[int],
    answers: Answers,
    plain: Sequence[int],
) -> SuffixProblem:
    """Return the problem of some examples.

    Args:
        answers: the targets: answers of the undefended model.
        plain: for each example, the token that its suffix is made of at the start.

    Raises:
        UnavailableError: a prompt is too long with its suffix and the answer after it.
    """
    family = resources.model.family
    parts = [resources.prompt_parts[index] for index in indices]
    rows = [
        part.before_ids + [token] * step.tokens + part.after_ids
        for part, token in zip(parts, plain, strict=True)
    ]
    most = max(map(len, rows)) + (step.behavior.generate or 0)
    if most > family.max_positions:
        raise UnavailableError(
            f"a prompt, its suffix and the answer have {most} tokens, and the model reads {family.max_positions}",
            help="take a shorter suffix or shorter answers, or leave out long prompts",
        )
    labels_BA, mask_BA = target_labels(answers.first(step.target_tokens))
    prompts = Tokens.pad(rows, resources.device)
    tokens = prompts.followed_by(labels_BA[:, :-1], mask_BA[:, 1:])
    after_B = torch.tensor([len(part.after_ids) for part in parts], device=resources.device)
    first = prompts.prompt - int(after_B.max()) - step.tokens
    intervention = protected.intervention(step.defense)
    recorder = Recorder(first)
    run_layers(
        family, embed(family, tokens), tokens, start=0, stop=family.n_layers, cache=recorder,
        edits=intervention.edits(tokens),
    )  # fmt: skip
    alone = resources.tokens(indices).followed_by(labels_BA[:, :-1], mask_BA[:, 1:])
    return SuffixProblem(
        family=family, tokens=tokens, length=step.tokens, after_B=after_B, first=first,
        intervention=intervention, prefix=Prefix(recorder.keys, recorder.values),
        goal=AnswerGoal(labels_BA, mask_BA, prompts.prompt - 1),
        features=protected.features,
        z_def=features_from_last_token(family, alone, intervention, protected.features), keep=step.keep,
    )  # fmt: skip


@torch.no_grad()
def features_from_last_token(
    family: Family, tokens: Tokens, intervention: Intervention, features: Mapping[int, Features]
) -> dict[int, Tensor]:
    """Return the protected features by boundary, (B, A, S), from the prompt's last token on."""
    watch: dict[int, list[Tensor]] = {site: [] for site in features}
    run_layers(
        family, embed(family, tokens), tokens, start=0, stop=max(watch),
        edits=intervention.edits(tokens, watch=watch),
    )  # fmt: skip
    return {site: features[site].encode(h[:, tokens.prompt - 1 :]) for site, (h,) in watch.items()}
