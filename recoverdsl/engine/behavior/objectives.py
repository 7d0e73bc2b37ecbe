"""The objectives of an attack: a score read from the logits, or the log-probability of a whole
answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from attrs import frozen
from torch import Tensor

from recoverdsl.engine.behavior.conditions import Condition
from recoverdsl.engine.behavior.example_tokens import token_ids
from recoverdsl.engine.model.families import Family
from recoverdsl.language.schema import Score
from recoverdsl.sources.data import Example


class Goal(Protocol):
    """Scores a batch from the residual stream before the final norm, and says which examples have
    reached the goal.

    Args:
        h_BQD: the columns from `first` on.

    Returns:
        Scores (B,), differentiable, and whether each example has reached the goal (B,).
    """

    def __call__(self, family: Family, h_BQD: Tensor, first: int) -> tuple[Tensor, Tensor]: ...

    def take(self, rows: Tensor) -> Goal: ...


@frozen(eq=False)
class Objective:
    """A behavior's score for a batch: Σ_k weight_k · quantity(token_k) at each prompt's last token.

    `tokens_BK` holds the token of each term. `normalized_K` is true where the term is a
    log-probability.
    """

    weights_K: Tensor
    tokens_BK: Tensor
    normalized_K: Tensor

    def __call__(self, family: Family, h_BD: Tensor) -> Tensor:
        """Return scores (B,) from the residual stream before the final norm, (B, d_model)."""
        if self.normalized_K.any():
            logits_BV = family.logits(h_BD)
            logits_BK = logits_BV.gather(1, self.tokens_BK)
            logits_BK = logits_BK - logits_BV.logsumexp(1, keepdim=True) * self.normalized_K
        else:
            logits_BK = family.logits(h_BD, self.tokens_BK)
        return (logits_BK * self.weights_K).sum(1)

    def take(self, rows: Tensor) -> Objective:
        return Objective(self.weights_K, self.tokens_BK[rows], self.normalized_K)


@frozen(eq=False)
class ScoreGoal:
    """A behavior at the prompt's last token, in `column`; reached when its condition holds.

    Its score is the objective, or without one the margin of the condition.
    """

    objective: Objective | None
    condition: Condition
    column: int = 0
    target_B: Tensor | None = None
    """The token that the behavior is about, where it has one."""

    def __call__(self, family: Family, h_BQD: Tensor, first: int) -> tuple[Tensor, Tensor]:
        return self.at(family, h_BQD[:, self.column - first])

    def at(self, family: Family, h_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores and whether the behavior holds from the states of that column, (B, d_model)."""
        if self.objective is None:
            return self.condition(family, h_BD)
        score_B = self.objective(family, h_BD)
        _, holds_B = self.condition(family, h_BD, score_B.detach())
        return score_B, holds_B

    def take(self, rows: Tensor) -> ScoreGoal:
        objective = self.objective and self.objective.take(rows)
        target_B = None if self.target_B is None else self.target_B[rows]
        return ScoreGoal(objective, self.condition.take(rows), self.column, target_B)


@frozen(eq=False)
class AnswerGoal:
    """The log-probability of a target answer after the prompt, in nats, summed over its tokens.

    Reached when every token of the target is the most likely one: greedy decoding then writes it.

    Args:
        labels_BA: the target's tokens, the first one read off `column`, the prompt's last.
        mask_BA: true at real tokens.
    """

    labels_BA: Tensor
    mask_BA: Tensor
    column: int

    def __call__(self, family: Family, h_BQD: Tensor, first: int) -> tuple[Tensor, Tensor]:
        start = self.column - first
        h_ND = h_BQD[:, start : start + self.labels_BA.shape[1]][self.mask_BA]
        logprob_N, likeliest_N = family.logprob(h_ND, self.labels_BA[self.mask_BA])
        # Not an in-place scatter, which autograd could not follow.
        score_B = torch.zeros(self.mask_BA.shape, device=h_ND.device).masked_scatter(
            self.mask_BA, logprob_N
        )
        reached_BA = torch.ones_like(self.mask_BA).masked_scatter(self.mask_BA, likeliest_N)
        return score_B.sum(1), reached_BA.all(1)

    def take(self, rows: Tensor) -> AnswerGoal:
        return AnswerGoal(self.labels_BA[rows], self.mask_BA[rows], self.column)


def objective(
    score: Score,
    examples: Sequence[Example],
    encode: Callable[[str], list[int]],
    device: torch.device,
) -> Objective:
    """Return the objective of `examples`.

    Args:
        encode: returns the token ids of a text, without special tokens.

    Raises:
        UnavailableError: a term's text is not one token of this model.
    """
    named = [(f"{term.quantity}({term.token!r})", term.token) for term in score.terms]
    tokens = token_ids(named, examples, encode)
    return Objective(
        weights_K=torch.tensor([term.weight for term in score.terms], device=device),
        tokens_BK=torch.tensor(tokens, device=device),
        normalized_K=torch.tensor(
            [term.quantity == "logprob" for term in score.terms], device=device
        ),
    )
