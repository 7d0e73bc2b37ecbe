"""The side effects of clamps on texts, compared with the same by plain hooks, one text at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from attrs import evolve
from torch import Tensor

from recoverdsl.engine.behavior.side_effects import (
    TextEffects,
    effects_on_text,
    moved_states,
)
from recoverdsl.engine.defense.intervention import Intervention
from recoverdsl.engine.model.families import adapt
from recoverdsl.engine.model.forward import Tokens
from recoverdsl.language.schema import Positions, ScaleBy
from tests.engine.rigs import ANSWERED, CLAMPED, Plain, Rig, each_family, mixed, rig

TEXTS = [
    ([5, 9, 33, 2], [17, 41, 8]),
    ([41], [12]),
    ([12, 60, 7], [3, 3, 28, 19, 50]),
    ([3, 3, 28, 19, 50, 44, 8, 21], [22, 35, 1, 14, 6]),
]
"""Prompts, each with what follows it."""

Range = Callable[[int, int], tuple[int, int]]

PLACES: dict[str, tuple[Positions, Range]] = {
    "everywhere but first": (ANSWERED, lambda prompt, whole: (1, whole)),
    "prompt but first": (
        Positions(("every_token",), ("first",)), lambda prompt, whole: (1, max(1, prompt)),
    ),
    "last of the prompt": (Positions(("last_token",)), lambda prompt, whole: (prompt - 1, prompt)),
    "after the prompt": (Positions(("generated",)), lambda prompt, whole: (prompt, whole)),
}  # fmt: skip
"""Where clamps act, with the first position and the one at which they end, by the length of the
prompt and of the whole text."""


def batch(texts: list[tuple[list[int], list[int]]] = TEXTS) -> Tokens:
    return Tokens.in_parts([a for a, _ in texts], [b for _, b in texts], torch.device("cpu"))


def effects(made: Rig, intervention: Intervention) -> TextEffects:
    return effects_on_text(made.resources.model.family, batch(), intervention)


@torch.no_grad()
def by_hooks(base: Plain, defended: Plain, first: int, ids: list[int]) -> list[float]:
    """Return the count of compared tokens, their KL(defended‖base), and their losses without and under
    the clamps: sums over a text, from float64 probabilities token by token."""
    before, after = (plain.logits(ids).double() for plain in (base, defended))
    counted, kl, losses = 0, 0.0, [0.0, 0.0]
    for at in range(first, len(ids) - 1):
        p, q = (torch.softmax(logits[at], dim=0) for logits in (after, before))
        kl += float((p * (p / q).log()).sum())
        losses[0] -= float(q[ids[at + 1]].log())
        losses[1] -= float(p[ids[at + 1]].log())
        counted += 1
    return [counted, kl, *losses]


@torch.no_grad()
def moves_by_hooks(defended: Plain, places: range, ids: list[int]) -> dict[int, Tensor]:
    """Return by site how far the clamps move the states of a text, as a share of their length."""
    after: dict[int, Tensor] = {}
    before: dict[int, Tensor] = {}
    defended.logits(ids, before=after, unclamped=before)
    return {
        site: torch.stack(
            [(after[site][at] - before[site][at]).norm() / before[site][at].norm() for at in places]
        )
        for site in CLAMPED
        if len(places)
    }


@each_family
@pytest.mark.parametrize("where", PLACES)
def test_effects_on_texts_are_those_of_plain_hooks(kind: str, where: str) -> None:
    made = rig(kind)
    positions, range_of = PLACES[where]
    intervention, plain = mixed(made)
    found = effects(made, evolve(intervention, at=positions))
    moves: dict[int, list[Tensor]] = {site: [] for site in CLAMPED}
    for row, (prompt, after) in zip(found.rows, TEXTS, strict=True):
        ids = prompt + after
        first, stop = range_of(len(prompt), len(ids))
        clamped = evolve(plain, spared=first, until=stop)
        nowhere = first >= stop
        expected = by_hooks(made.undefended, clamped, len(ids) if nowhere else first, ids)
        actual = [row.tokens, row.kl, row.loss_base, row.loss_defended]
        assert actual == pytest.approx(expected, rel=1e-3, abs=1e-4)
        for site, shares in moves_by_hooks(clamped, range(first, stop), ids).items():
            moves[site].append(shares)
    together = torch.cat([torch.cat(moves[site]) for site in sorted(CLAMPED)])
    assert sorted(found.moved_P.tolist()) == pytest.approx(sorted(together.tolist()), rel=1e-3, abs=1e-5)  # fmt: skip
    assert sum(row.kl for row in found.rows) > 0.01


def test_moves_of_states_are_the_same_without_the_layers_above() -> None:
    made = rig()
    intervention, _ = mixed(made)
    found = effects(made, intervention).moved_P
    assert len(found) == len(CLAMPED) * sum(len(a) + len(b) - 1 for a, b in TEXTS)
    alone = moved_states(made.resources.model.family, batch(), intervention).moved_P
    assert torch.allclose(alone, found, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_clamp_that_changes_nothing_has_no_effect_at_all(dtype: torch.dtype) -> None:
    made = rig(to=ScaleBy(1.0))
    family = adapt(made.plain.model.to(dtype))
    found = effects_on_text(family, batch(), made.intervention)
    assert [row.kl for row in found.rows] == [0.0] * len(TEXTS)
    assert all(row.loss_defended == row.loss_base for row in found.rows)
    assert not found.moved_P.any() and len(found.moved_P)


def test_half_precision_changes_the_figures_by_its_rounding_alone() -> None:
    made = rig()
    exact = effects(made, made.intervention)
    rounded = effects_on_text(
        adapt(made.plain.model.to(torch.bfloat16)), batch(), made.intervention
    )
    for one, other in zip(exact.rows, rounded.rows, strict=True):
        assert other.tokens == one.tokens
        for name in ("kl", "loss_base", "loss_defended"):
            assert getattr(other, name) == pytest.approx(getattr(one, name), rel=0.1, abs=0.1)
    assert torch.allclose(rounded.moved_P, exact.moved_P, rtol=0.1, atol=0.02)


def test_no_text_depends_on_the_rest_of_its_batch() -> None:
    made = rig()
    together = effects(made, made.intervention)
    for row, text in zip(together.rows, TEXTS, strict=True):
        tokens = batch([text])
        (alone,) = effects_on_text(made.resources.model.family, tokens, made.intervention).rows
        assert alone.tokens == row.tokens
        for name in ("kl", "loss_base", "loss_defended"):
            assert getattr(alone, name) == pytest.approx(getattr(row, name), rel=1e-4, abs=1e-5)


def test_divergence_has_a_direction() -> None:
    """KL(defended‖base) and KL(base‖defended) differ here, and the first is the one that is taken."""
    made = rig()
    (found, *_) = effects(made, made.intervention).rows
    ids = [*TEXTS[0][0], *TEXTS[0][1]]
    _, right, *_ = by_hooks(made.undefended, made.plain, 1, ids)
    _, wrong, *_ = by_hooks(made.plain, made.undefended, 1, ids)
    assert abs(right - wrong) > 0.005 * right
    assert found.kl == pytest.approx(right, rel=1e-4)


def test_logits_are_compared_a_few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = rig()
    whole = effects(made, made.intervention)
    monkeypatch.setattr("recoverdsl.engine.behavior.side_effects.LOGITS", 2 * 61)
    for one, other in zip(whole.rows, effects(made, made.intervention).rows, strict=True):
        assert other.kl == pytest.approx(one.kl, rel=1e-5, abs=1e-7)
        assert other.loss_defended == pytest.approx(one.loss_defended, rel=1e-5)
