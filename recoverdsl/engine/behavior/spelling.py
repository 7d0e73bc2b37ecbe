"""The spellings of the tokens that a behavior names: whether the model means another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from recoverdsl.engine.behavior.example_tokens import fill
from recoverdsl.engine.model.families import Family
from recoverdsl.measure.rows import SpellingShares
from recoverdsl.sources.data import Example


@torch.no_grad()
def spelling_shares(
    family: Family,
    h_BD: Tensor,
    texts: Sequence[str],
    examples: Sequence[Example],
    encode: Callable[[str], list[int]],
) -> list[SpellingShares | None]:
    """Return the probabilities of the named tokens and of their other spellings, for each example; None
    where a logit is not a finite number.

    Args:
        h_BD: the residual stream before the final norm at each prompt's last token.
        texts: the tokens that a behavior names, as the spec has them.
        encode: returns the token ids of a text, without special tokens.
    """
    probability_BV = family.logits(h_BD).float().softmax(1)
    shares: list[SpellingShares | None] = []
    for probability_V, example in zip(probability_BV, examples, strict=True):
        words = [fill(text, example) for text in texts]
        named = {id for word in words for id in encode(word)}
        others = {
            ids[0]
            for word in words
            for spelling in _spellings(word)
            if len(ids := encode(spelling)) == 1
        } - named
        finite = bool(probability_V.isfinite().all())
        shares.append(
            SpellingShares(_sum(probability_V, named), _sum(probability_V, others))
            if finite
            else None
        )
    return shares


def _spellings(word: str) -> Iterator[str]:
    """Yield a word with and without a space or line end before it, and with either first letter."""
    plain = word.strip()
    for begun in (plain, plain[:1].swapcase() + plain[1:]):
        yield from (begun, f" {begun}", f"\n{begun}")


def _sum(probability_V: Tensor, ids: set[int]) -> float:
    return float(probability_V[sorted(ids)].sum()) if ids else 0.0
