"""The token that a behavior is about: its place among all next tokens."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from recoverdsl.compiler.steps import Behavior
from recoverdsl.engine.model.families import Family
from recoverdsl.language.schema import (
    Comparison,
    LogitComparison,
    MostLikely,
    Probability,
    Rank,
    Term,
    TopToken,
    leaves,
    tokens_of,
)
from recoverdsl.measure.rows import TargetPlace


def target_of(behavior: Behavior) -> str | None:
    """Return the one token that a behavior is about, as its text in the spec; None if there is none.

    That is the token which its condition names; of a sum of logits, the first that raises it.
    """
    named = set(_named(behavior))
    return named.pop() if len(named) == 1 else None


def named_tokens(behavior: Behavior) -> list[str]:
    """Return the texts of all tokens that a behavior names, in its score and in its condition."""
    score = [term.token for term in behavior.score.terms] if behavior.score else []
    return [*score, *(token for leaf in leaves(behavior.holds) for token in tokens_of(leaf))]


def _named(behavior: Behavior) -> Iterator[str]:
    if behavior.generate is not None:
        return
    score = behavior.score.terms if behavior.score else ()
    for leaf in leaves(behavior.holds):
        match leaf:
            case TopToken(token) | Rank(token) | Probability(token) | MostLikely(_, token):
                yield token
            case LogitComparison(terms, operator):
                yield from _raised(terms, 1 if operator in (">", ">=") else -1)
            case Comparison():
                yield from _raised(score)


def _raised(terms: tuple[Term, ...], sign: int = 1) -> Iterator[str]:
    """Yield the first token that raises a sum."""
    yield from [term.token for term in terms if sign * term.weight > 0][:1]


@torch.no_grad()
def places(family: Family, h_BD: Tensor, target_B: Tensor) -> list[TargetPlace | None]:
    """Return the place of one token per example among all next tokens; None where a logit is not a
    finite number.

    Tokens with the same logit all take the last of their places.

    Args:
        h_BD: the residual stream before the final norm at each prompt's last token.
    """
    logits_BV = family.logits(h_BD)
    own_B1 = logits_BV.gather(1, target_B[:, None])
    rank_B = (logits_BV >= own_B1).sum(1)
    probability_B = (own_B1.squeeze(1) - logits_BV.logsumexp(1)).exp()
    finite_B = logits_BV.isfinite().all(1)
    return [
        TargetPlace(rank=rank, probability=probability) if finite else None
        for rank, probability, finite in zip(
            rank_B.tolist(), probability_B.tolist(), finite_B.tolist(), strict=True
        )
    ]
