"""Conditions on the next token: each margin against the definition of what it measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from recoverdsl.engine.behavior.conditions import Condition, condition_of
from recoverdsl.engine.model.families import Family
from recoverdsl.errors import UnavailableError
from recoverdsl.language import schema
from recoverdsl.language.schema import (
    And,
    LogitComparison,
    MostLikely,
    Not,
    Or,
    Predicate,
    Probability,
    Rank,
    Term,
    TopToken,
)
from recoverdsl.sources.data import Example

V = 9
TOKENS = tuple("abcdefghi")
"""The texts of the tokens 0 to 8."""


@frozen(eq=False)
class Plain(Family):
    """A model whose residual stream is its logits."""

    def positional(self, h_BQD: Tensor, positions_BQ: Tensor) -> Mapping[str, Any]:
        return {}


def family() -> Family:
    head = nn.Linear(V, V, bias=False).requires_grad_(False)
    head.weight.copy_(torch.eye(V))
    return Plain(
        model=head, layers=nn.ModuleList(), final_norm=nn.Identity(), head=head, max_positions=8
    )


MODEL = family()


def encode(text: str) -> list[int]:
    return [TOKENS.index(letter) for letter in text]


def row(**fields: str) -> Example:
    return Example(id="r7", prompt="", fields=fields)


def condition(predicate: Predicate, **fields: str) -> Condition:
    return condition_of(predicate, [row(**fields)], encode, torch.device("cpu"))


def read(predicate: Predicate, logits: list[float]) -> tuple[float, bool]:
    """Return the margin and whether a predicate holds."""
    margin_B, holds_B = condition(predicate)(MODEL, torch.tensor([logits]))
    return float(margin_B), bool(holds_B)


# --- The definitions, in plain Python --------------------------------------------------------------

COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip


def rank(token: str, logits: list[float]) -> int:
    """The last place that a token could have in an order of the logits."""
    own = logits[TOKENS.index(token)]
    return sum(logit >= own for logit in logits)


def probability(token: str, logits: list[float]) -> float:
    return math.exp(logits[TOKENS.index(token)]) / sum(map(math.exp, logits))


def defined(predicate: Predicate, logits: list[float]) -> bool:
    match predicate:
        case TopToken(token):
            own = logits[TOKENS.index(token)]
            return [logit for logit in logits if logit >= own] == [own]
        case Rank(token, operator, bound):
            return COMPARE[operator](rank(token, logits), bound)
        case Probability(token, operator, bound):
            return COMPARE[operator](probability(token, logits), bound)
        case MostLikely(choices, token):
            others = [logits[TOKENS.index(c)] for c in choices if c != token]
            return logits[TOKENS.index(token)] > max(others)
        case LogitComparison(terms, operator, bound):
            total = 0.0
            for term in terms:
                logit = logits[TOKENS.index(term.token)]
                of_all = math.log(sum(map(math.exp, logits))) if term.quantity == "logprob" else 0
                total += term.weight * (logit - of_all)
            return COMPARE[operator](total, bound)
        case Not(inner):
            return not defined(inner, logits)
        case And(parts):
            return all(defined(part, logits) for part in parts)
        case Or(parts):
            return any(defined(part, logits) for part in parts)
    raise TypeError(predicate)


# --- Properties ------------------------------------------------------------------------------------

LOGITS = st.lists(st.integers(-6, 6).map(lambda n: n / 2), min_size=V, max_size=V)
"""Halves from -3 to 3: ties are frequent, and sums of logits exact."""

_token, _operator = st.sampled_from(TOKENS), st.sampled_from(list(COMPARE))
_exact = st.one_of(
    st.builds(TopToken, _token),
    st.builds(Rank, _token, _operator, st.integers(2, V - 1)),
    st.lists(_token, min_size=2, max_size=4, unique=True).flatmap(
        lambda some: st.builds(MostLikely, st.just(tuple(some)), st.sampled_from(some))
    ),
    st.builds(
        LogitComparison,
        st.lists(st.builds(Term, st.sampled_from([1.0, -1.0, 2.0]), st.just("logit"), _token), min_size=1, max_size=3).map(tuple),
        _operator, st.sampled_from([0.0, 0.5, -1.0]),
    ),
)  # fmt: skip
_rounded = st.one_of(
    st.builds(Probability, _token, _operator, st.floats(0.01, 0.99)),
    st.builds(
        LogitComparison,
        st.tuples(st.builds(Term, st.just(1.0), st.just("logprob"), _token)),
        _operator, st.floats(-4, -0.1),
    ),
)  # fmt: skip


def joined(leaf: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.builds(Not, inner),
            st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
            st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        ),
        max_leaves=4,
    )


@settings(max_examples=400, deadline=None)
@given(joined(_exact), LOGITS)
def test_a_condition_holds_as_it_is_defined_ties_included(
    predicate: Predicate, logits: list[float]
) -> None:
    margin, holds = read(predicate, logits)
    assert holds == defined(predicate, logits)
    assert holds if margin > 0 else not holds if margin < 0 else True


@settings(max_examples=200, deadline=None)
@given(joined(st.one_of(_exact, _rounded)), LOGITS)
def test_the_sign_of_the_margin_is_whether_the_condition_holds(
    predicate: Predicate, logits: list[float]
) -> None:
    margin, holds = read(predicate, logits)
    if abs(margin) > 1e-5:
        assert (margin > 0) == holds == defined(predicate, logits)


@settings(max_examples=150, deadline=None)
@given(joined(st.one_of(_exact, _rounded)), st.integers(0, 10**6))
def test_the_gradient_is_that_of_finite_differences(predicate: Predicate, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits_V = torch.randn(V, generator=generator, dtype=torch.float64).float()
    made = condition(predicate)
    h_BD = logits_V[None].clone().requires_grad_(True)
    (gradient_BD,) = torch.autograd.grad(made.margin(MODEL, h_BD).sum(), h_BD)
    step, slopes = 1e-2, []
    for at in range(V):
        shift_BD = torch.zeros(1, V)
        shift_BD[0, at] = step
        high, low = (float(made.margin(MODEL, h_BD.detach() + s)) for s in (shift_BD, -shift_BD))
        here = float(made.margin(MODEL, h_BD.detach()))
        # At a kink, where another token takes over, there are two slopes.
        slopes.append((high - low) / (2 * step) if abs(high + low - 2 * here) < 1e-4 else math.nan)
    smooth_V = torch.tensor(slopes).isfinite()
    assert torch.allclose(gradient_BD[0][smooth_V], torch.tensor(slopes)[smooth_V], atol=5e-3)


def test_a_tie_is_no_top_token_and_takes_the_last_of_its_places() -> None:
    logits = [2.0, 2.0, 1.0, *[0.0] * (V - 3)]
    assert read(TopToken("a"), logits) == (0.0, False)
    assert read(Not(TopToken("a")), logits) == (0.0, True)
    assert not read(Rank("a", "<=", 1), logits)[1]
    assert read(Rank("a", "<=", 2), logits) == (1.0, True)
    assert not read(MostLikely(("a", "b"), "a"), logits)[1]
    assert read(MostLikely(("a", "c"), "a"), logits) == (1.0, True)
    assert read(LogitComparison((Term(1, "logit", "a"), Term(-1, "logit", "b")), ">="), logits) == (0.0, True)  # fmt: skip


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_logit_that_is_no_number_never_holds(broken: float) -> None:
    logits = [broken] * V
    for predicate in (TopToken("a"), Not(TopToken("a")), Rank("a", ">", 3), Probability("a", "<", 0.5)):  # fmt: skip
        assert not read(predicate, logits)[1]


def test_every_example_has_its_own_tokens() -> None:
    rows = [Example(id=str(n), prompt="", fields={"gold": TOKENS[n]}) for n in range(3)]
    made = condition_of(MostLikely(("a", "b", "c"), "{gold}"), rows, encode, torch.device("cpu"))
    h_BD = torch.tensor([[3.0, 2.0, 1.0, *[9.0] * (V - 3)]] * 3)
    assert made(MODEL, h_BD)[0].tolist() == [1.0, -1.0, -2.0]
    rows_B = torch.tensor([2, 0])
    assert made.take(rows_B)(MODEL, h_BD[:2])[0].tolist() == [-2.0, 1.0]


@pytest.mark.parametrize(
    ("predicate", "message"),
    [
        (TopToken("{long}"), "top_token == '{long}' is 2 tokens of this model in example r7"),
        (Rank("{long}", "<=", 2), "rank('{long}') is 2 tokens of this model in example r7"),
        (Probability("{long}", ">", 0.5), "probability('{long}') is 2 tokens"),
        (MostLikely(("a", "{long}"), "a"), "'{long}' of most_likely(…) is 2 tokens"),
        (MostLikely(("a", "b"), "{gold}"), "'{gold}' is not among the tokens of most_likely('a', 'b') in example r7"),
        (MostLikely(("c", "{gold}"), "c"), "two tokens of most_likely('c', '{gold}') are the same in example r7"),
        (TopToken("{none}"), "the data has no column 'none'"),
    ],
)  # fmt: skip
def test_a_row_that_does_not_fit_is_named(predicate: Predicate, message: str) -> None:
    with pytest.raises(UnavailableError, match=r"example r7|no column|2 tokens") as caught:
        condition(predicate, long="ab", gold="c")
    assert message in str(caught.value)


def test_a_rank_beyond_the_vocabulary_is_refused() -> None:
    with pytest.raises(UnavailableError, match="the model has 9 tokens"):
        read(Rank("a", "<=", V), [0.0] * V)


def test_the_leaves_of_a_predicate_come_as_they_are_written() -> None:
    parts = (TopToken("a"), Rank("b", "<", 3), Probability("c", ">", 0.5))
    predicate = And((parts[0], Or((Not(parts[1]), parts[2]))))
    assert tuple(schema.leaves(predicate)) == parts
