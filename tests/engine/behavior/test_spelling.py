"""The shares of the tokens that a behavior names, and of other spellings, for planted logits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recoverdsl.engine.behavior.spelling import spelling_shares
from recoverdsl.sources.data import Example

VOCABULARY = ["A", " A", "B", " B", "a", "\nA", "else", "Anna", " Anna"]


def encode(text: str) -> list[int]:
    return [VOCABULARY.index(text)] if text in VOCABULARY else [0, 0]


def family(probabilities: dict[str, float]) -> Any:
    """Return what reads the same probabilities off every state."""
    p_V = torch.tensor([probabilities.get(word, 0.0) for word in VOCABULARY])
    return SimpleNamespace(logits=lambda h_BD: p_V.log().clamp(min=-1e4).expand(len(h_BD), -1))


def shares(probabilities: dict[str, float], texts: list[str], **fields: str) -> tuple[float, float]:
    (found,) = spelling_shares(
        family(probabilities), torch.zeros(1, 3), texts, [Example("0", "", fields)], encode
    )
    assert found is not None
    return found.named, found.other


def test_choices_without_the_space_hold_what_those_with_it_do_not() -> None:
    likely = {"A": 0.5, "B": 0.26, " A": 0.0001, "else": 0.2399}
    assert shares(likely, [" A", " B"]) == (pytest.approx(0.0001), pytest.approx(0.76))
    assert shares(likely, ["A", "B"]) == (pytest.approx(0.76), pytest.approx(0.0001))


def test_case_and_a_line_end_are_other_spellings_too() -> None:
    assert shares({"A": 0.25, "a": 0.25, "\nA": 0.5}, ["A"]) == (
        pytest.approx(0.25),
        pytest.approx(0.75),
    )


def test_a_token_counts_once_and_as_named_if_it_is() -> None:
    assert shares({"A": 0.5, " A": 0.5}, ["A", " A", "A"]) == (pytest.approx(1.0), 0.0)


def test_columns_are_filled() -> None:
    assert shares({"Anna": 0.75, " Anna": 0.25}, [" {io}"], io="Anna") == (
        pytest.approx(0.25), pytest.approx(0.75),
    )  # fmt: skip


def test_logits_that_are_no_numbers_have_no_shares() -> None:
    broken = SimpleNamespace(
        logits=lambda h_BD: torch.full((len(h_BD), len(VOCABULARY)), torch.nan)
    )
    made: Any = broken
    assert spelling_shares(made, torch.zeros(1, 3), ["A"], [Example("0", "", {})], encode) == [None]
