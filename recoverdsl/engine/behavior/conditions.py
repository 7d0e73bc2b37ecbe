"""Conditions on the next token: whether they hold for a batch, and by which margin."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from attrs import field, frozen
from torch import Tensor

from recoverdsl.engine.behavior.example_tokens import token_ids
from recoverdsl.engine.model.families import Family
from recoverdsl.errors import UnavailableError
from recoverdsl.language.schema import (
    And,
    Comparison,
    LogitComparison,
    MostLikely,
    Not,
    Or,
    Predicate,
    Probability,
    Rank,
    TopToken,
    leaves,
)
from recoverdsl.sources.data import Example

_OPERATORS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "<": torch.lt,
    "<=": torch.le,
    ">": torch.gt,
    ">=": torch.ge,
}


@frozen(eq=False)
class Condition:
    """A predicate for a batch of examples, each with its own tokens.

    Its margin (B,) is differentiable, above 0 where the predicate holds and below 0 where it does
    not; at 0 the operator decides: `>=` holds, `>` does not, and a tie is no top token.
    """

    predicate: Predicate
    tokens: Mapping[str, Tensor] = field(factory=dict)
    """A token's text in the predicate to its ids (B,)."""

    def __call__(
        self, family: Family, h_BD: Tensor, score_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the margin (B,), and whether the predicate holds (B,).

        What is not a number never holds.

        Args:
            h_BD: the residual stream before the final norm at each prompt's last token.
            score_B: the score of the behavior, where the predicate compares it.

        Raises:
            TypeError: the predicate reads a generated text.
        """
        return _measured(self.predicate, _Read.of(family, h_BD, self, score_B))

    def margin(self, family: Family, h_BD: Tensor) -> Tensor:
        """Return the margin (B,) alone."""
        return self(family, h_BD)[0]

    def take(self, rows: Tensor) -> Condition:
        return Condition(self.predicate, {text: ids[rows] for text, ids in self.tokens.items()})


def condition_of(
    predicate: Predicate,
    examples: Sequence[Example],
    encode: Callable[[str], list[int]],
    device: torch.device,
) -> Condition:
    """Return a predicate for `examples`.

    Args:
        encode: returns the token ids of a text, without special tokens.

    Raises:
        UnavailableError: a text is not one token of this model, or the right one of `most_likely`
            is not among its tokens.
    """
    named = dict(_named(predicate))
    texts = list(named)
    rows = token_ids([(named[text], text) for text in texts], examples, encode)
    for leaf in leaves(predicate):
        if isinstance(leaf, MostLikely):
            for row, example in zip(rows, examples, strict=True):
                _check_choices(leaf, dict(zip(texts, row, strict=True)), example)
    ids_BK = torch.tensor(rows, dtype=torch.long, device=device).view(len(examples), len(texts))
    return Condition(predicate, {text: ids_BK[:, at] for at, text in enumerate(texts)})


def _named(predicate: Predicate) -> Iterator[tuple[str, str]]:
    """Yield the text of each token in a predicate, and how messages show it."""
    for leaf in leaves(predicate):
        match leaf:
            case TopToken(token):
                yield token, f"top_token == {token!r}"
            case Rank(token):
                yield token, f"rank({token!r})"
            case Probability(token):
                yield token, f"probability({token!r})"
            case MostLikely(choices, token):
                yield from ((text, f"{text!r} of most_likely(…)") for text in (*choices, token))
            case LogitComparison(terms):
                yield from ((term.token, f"{term.quantity}({term.token!r})") for term in terms)


def _check_choices(leaf: MostLikely, ids: Mapping[str, int], example: Example) -> None:
    """Raise an error if a row's right token is not one of the choices, or two of these are the same."""
    choices = [ids[text] for text in leaf.choices]
    if ids[leaf.token] not in choices:
        raise UnavailableError(
            f"{leaf.token!r} is not among the tokens of most_likely({', '.join(map(repr, leaf.choices))}) in example {example.id}",
            why="the condition asks which of the listed tokens has the largest logit",
            help="list every value of the column, with the leading space that the column has or lacks",
        )  # fmt: skip
    if len(set(choices)) < len(choices):
        raise UnavailableError(
            f"two tokens of most_likely({', '.join(map(repr, leaf.choices))}) are the same in example {example.id}",
            help="leave out the rows in which they are the same",
        )  # fmt: skip


# --- Margins --------------------------------------------------------------------------------------


@frozen(eq=False)
class _Read:
    """What a condition may read of a batch."""

    logits: Mapping[str, Tensor]
    """A token's text to its logit (B,)."""
    tokens: Mapping[str, Tensor]
    all_BV: Tensor | None
    """The logits of all tokens; None where none of the conditions needs them."""
    normalizer_B: Tensor | None
    """log Σ exp over all logits, where a condition needs it."""
    score_B: Tensor | None

    @classmethod
    def of(
        cls, family: Family, h_BD: Tensor, condition: Condition, score_B: Tensor | None
    ) -> _Read:
        known = list(leaves(condition.predicate))
        normalized = any(
            isinstance(leaf, Probability)
            or (isinstance(leaf, LogitComparison) and any(t.quantity == "logprob" for t in leaf.terms))
            for leaf in known
        )  # fmt: skip
        tokens, all_BV = condition.tokens, None
        if normalized or any(isinstance(leaf, TopToken | Rank) for leaf in known):
            all_BV = family.logits(h_BD)
            logits = {t: all_BV.gather(1, ids[:, None]).squeeze(1) for t, ids in tokens.items()}
        elif tokens:
            some_BK = family.logits(h_BD, torch.stack(list(tokens.values()), dim=1))
            logits = {text: some_BK[:, at] for at, text in enumerate(tokens)}
        else:
            logits = {}
        normalizer_B = all_BV.logsumexp(1) if normalized and all_BV is not None else None
        return cls(logits, tokens, all_BV, normalizer_B, score_B)

    def logprob(self, token: str) -> Tensor:
        assert self.normalizer_B is not None
        return self.logits[token] - self.normalizer_B

    def over(self, token: str, place: int) -> Tensor:
        """Return the token's logit less the `place`-th largest of the others, (B,).

        Raises:
            UnavailableError: the model has no more tokens than that.
        """
        assert self.all_BV is not None
        if place >= self.all_BV.shape[1]:
            raise UnavailableError(
                f"rank({token!r}) is never above {place}: the model has {self.all_BV.shape[1]} tokens"
            )
        others_BV = self.all_BV.scatter(1, self.tokens[token][:, None], -math.inf)
        rival_B = others_BV.amax(1) if place == 1 else others_BV.topk(place, 1).values[:, -1]
        return self.logits[token] - rival_B


def _measured(predicate: Predicate, read: _Read) -> tuple[Tensor, Tensor]:
    """Return the margin of a predicate, and whether it holds."""
    match predicate:
        case Comparison("score", operator, bound):
            assert read.score_B is not None, "the behavior has no score"
            return _compared(read.score_B, operator, bound)
        case LogitComparison(terms, operator, bound):
            total_B = torch.stack(
                [
                    term.weight
                    * (read.logits[term.token] if term.quantity == "logit" else read.logprob(term.token))
                    for term in terms
                ]
            ).sum(0)  # fmt: skip
            return _compared(total_B, operator, bound)
        case Probability(token, operator, bound):
            return _compared(read.logprob(token), operator, math.log(bound))
        case TopToken(token):
            over_B = read.over(token, 1)
            return over_B, over_B > 0
        case Rank(token, operator, bound):
            # `rank < 4` is `rank <= 3`, and `rank >= 4` its negation.
            over_B = read.over(token, bound - (operator in ("<", ">=")))
            return (over_B, over_B > 0) if operator in ("<", "<=") else (-over_B, -over_B >= 0)
        case MostLikely(choices, token):
            right_B = read.tokens[token]
            others_B = [
                torch.where(read.tokens[c] == right_B, -math.inf, read.logits[c]) for c in choices
            ]
            over_B = read.logits[token] - torch.stack(others_B).amax(0)
            return over_B, over_B > 0
        case Not(inner):
            margin_B, holds_B = _measured(inner, read)
            return -margin_B, ~holds_B & margin_B.isfinite()
        case And(parts) | Or(parts):
            margins, held = zip(*(_measured(part, read) for part in parts), strict=True)
            margin_KB, holds_KB = torch.stack(margins), torch.stack(held)
            if isinstance(predicate, And):
                return margin_KB.amin(0), holds_KB.all(0)
            return margin_KB.amax(0), holds_KB.any(0)
    raise TypeError("detectors read a text, not the next token")


def _compared(value_B: Tensor, operator: str, bound: float) -> tuple[Tensor, Tensor]:
    holds_B = _OPERATORS[operator](value_B, bound)
    return (value_B - bound if operator in (">", ">=") else bound - value_B), holds_B
