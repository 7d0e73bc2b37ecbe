"""The objectives of an attack: a score read from the logits, or the log-probability of a whole
answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from attrs import frozen
from torch import Tensor

from recoverdsl.engine.model.families import Family
from recoverdsl.errors import UnavailableError
from recoverdsl.language.schema import And, Comparison, Not, Or, Predicate, Score
from recoverdsl.sources.data import Example

_OPERATORS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "<": torch.lt,
    "<=": torch.le,
    ">": torch.gt,
    ">=": torch.ge,
}


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
    """The score of a behavior at the prompt's last token, in `column`; reached when the behavior
    holds."""

    objective: Objective
    predicate: Predicate
    column: int

    def __call__(self, family: Family, h_BQD: Tensor, first: int) -> tuple[Tensor, Tensor]:
        score_B = self.objective(family, h_BQD[:, self.column - first])
        return score_B, holds(self.predicate, score_B.detach())

    def take(self, rows: Tensor) -> ScoreGoal:
        return ScoreGoal(self.objective.take(rows), self.predicate, self.column)


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


def fill(text: str, example: Example) -> str:
    """Return a text with each `{column}` replaced by the example's value; no other formatting is
    understood.

    Raises:
        UnavailableError: the data has no such column.
    """

    def value(match: re.Match[str]) -> str:
        try:
            return example.fields[match[1]]
        except KeyError:
            raise UnavailableError(
                f"the data has no column '{match[1]}', which {text!r} names",
                why=f"columns: {', '.join(example.fields)}",
            ) from None

    return re.sub(r"\{(\w+)\}", value, text)


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
    tokens = []
    for example in examples:
        row = []
        for term in score.terms:
            ids = encode(fill(term.token, example))
            if len(ids) != 1:
                raise UnavailableError(
                    f"{term.quantity}({term.token!r}) is {len(ids)} tokens of this model in example {example.id}",
                    help="choose words that are one token, with their leading space",
                )
            row.append(ids[0])
        tokens.append(row)
    return Objective(
        weights_K=torch.tensor([term.weight for term in score.terms], device=device),
        tokens_BK=torch.tensor(tokens, device=device),
        normalized_K=torch.tensor(
            [term.quantity == "logprob" for term in score.terms], device=device
        ),
    )


def holds(predicate: Predicate, score_B: Tensor) -> Tensor:
    """Return whether the behavior is present, (B,) boolean. A score that is not a number never holds.

    Raises:
        TypeError: the predicate names a detector, which reads a text.
    """
    if isinstance(predicate, Comparison):
        return _OPERATORS[predicate.operator](score_B, predicate.right)
    if isinstance(predicate, Not):
        return ~holds(predicate.of, score_B) & score_B.isfinite()
    if isinstance(predicate, And | Or):
        parts = torch.stack([holds(part, score_B) for part in predicate.parts])
        return parts.all(0) if isinstance(predicate, And) else parts.any(0)
    raise TypeError("detectors read a text, not a score")
