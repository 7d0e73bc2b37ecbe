"""Scores and predicates of behaviors, evaluated on logits."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from attrs import frozen
from torch import Tensor

from recoverdsl.engine.data import Example
from recoverdsl.engine.families import Family
from recoverdsl.errors import UnavailableError
from recoverdsl.language.schema import And, Comparison, Not, Or, Predicate, Score

_OPERATORS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "<": torch.lt,
    "<=": torch.le,
    ">": torch.gt,
    ">=": torch.ge,
}


@frozen(eq=False)
class Objective:
    """A behavior's score for a batch: Σ_k weight_k · quantity(token_k) at each example's last token.

    `tokens_BK` holds the token of each term. `normalized_K` is true where the term is a
    log-probability.
    """

    weights_K: Tensor
    tokens_BK: Tensor
    normalized_K: Tensor

    def __call__(self, family: Family, h_BD: Tensor) -> Tensor:
        """Scores (B,) from the residual stream before the final norm."""
        if self.normalized_K.any():
            logits_BV = family.logits(h_BD)
            logits_BK = logits_BV.gather(1, self.tokens_BK)
            logits_BK = logits_BK - logits_BV.logsumexp(1, keepdim=True) * self.normalized_K
        else:
            logits_BK = family.logits(h_BD, self.tokens_BK)
        return (logits_BK * self.weights_K).sum(1)

    def take(self, rows: Tensor) -> Objective:
        return Objective(self.weights_K, self.tokens_BK[rows], self.normalized_K)


def fill(text: str, example: Example) -> str:
    """Replaces `{column}` by the example's value. No other formatting is understood."""

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
    """The score of `examples`.

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
    """Whether the behavior is present, (B,) boolean. A score that is not a number never holds."""
    if isinstance(predicate, Comparison):
        return _OPERATORS[predicate.operator](score_B, predicate.right)
    if isinstance(predicate, Not):
        return ~holds(predicate.of, score_B) & score_B.isfinite()
    if isinstance(predicate, And | Or):
        parts = torch.stack([holds(part, score_B) for part in predicate.parts])
        return parts.all(0) if isinstance(predicate, And) else parts.any(0)
    raise NotImplementedError("the compiler refuses detectors of generated text")
