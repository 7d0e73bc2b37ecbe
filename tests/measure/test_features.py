"""Figures of a batch against a plain loop, and the cases in which a ratio has no value."""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np
import pytest
import torch

from recoverdsl.measure.features import Monitored, Perturbed, delta_figures, feature_figures
from tests.bounds import assert_near, near

B, P, S, D = 5, 3, 4, 7


def batch(seed: int) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        "z_def_BPS": torch.randn(B, P, S, generator=g).clamp(min=0),
        "z_rec_BPS": torch.randn(B, P, S, generator=g).clamp(min=0),
        "delta_BPD": torch.randn(B, P, D, generator=g),
        "h_def_BPD": torch.randn(B, P, D, generator=g),
        "W_enc_DS": torch.randn(D, S, generator=g),
        "W_dec_SD": torch.randn(S, D, generator=g),
    }


def figures_of(
    *sites: dict[str, torch.Tensor], where_BP: torch.Tensor | None = None, eta: float = 0.0
) -> dict[str, torch.Tensor]:
    """Return the figures (B,) by name of a batch whose features are monitored at each site where δ
    is added."""
    if where_BP is None:
        where_BP = torch.ones(sites[0]["delta_BPD"].shape[:2], dtype=torch.bool)
    monitored = [Monitored(b["z_def_BPS"], b["z_rec_BPS"], b["W_dec_SD"]) for b in sites]
    perturbed = [Perturbed(b["delta_BPD"], b["h_def_BPD"], b["W_enc_DS"]) for b in sites]
    return by_name(
        feature_figures(monitored, where_BP, eta=eta), delta_figures(perturbed, where_BP)
    )


def by_name(*records: list[Any]) -> dict[str, torch.Tensor]:
    """Return the figures of several lists of records, (B,), by name."""
    return {
        name: torch.tensor([getattr(figures, name) for figures in one], dtype=torch.float32)
        for one in records
        for name in attrs.fields_dict(type(one[0]))
    }


def by_hand(b: dict[str, np.ndarray], i: int, eta: float) -> dict[str, float]:
    enc, dec = b["W_enc_DS"], b["W_dec_SD"]
    moved = decoded = below = z2 = d2 = h2 = 0.0
    count, leak = 0, 0.0
    for p in range(P):
        step = [float(b["z_rec_BPS"][i, p, s]) - float(b["z_def_BPS"][i, p, s]) for s in range(S)]
        for s in range(S):
            before, after = float(b["z_def_BPS"][i, p, s]), float(b["z_rec_BPS"][i, p, s])
            moved += (after - before) ** 2
            below += max(before - after, 0) ** 2
            z2 += before**2
            count += before <= 0 and after > eta
            along = sum(float(enc[d, s]) * float(b["delta_BPD"][i, p, d]) for d in range(D))
            column = sum(float(enc[d, s]) ** 2 for d in range(D))
            length = sum(float(b["delta_BPD"][i, p, d]) ** 2 for d in range(D))
            leak = max(leak, abs(along) / math.sqrt(column * length))
        for d in range(D):
            decoded += sum(step[s] * float(dec[s, d]) for s in range(S)) ** 2
            d2 += float(b["delta_BPD"][i, p, d]) ** 2
            h2 += float(b["h_def_BPD"][i, p, d]) ** 2
    return {
        "activation_drift": math.sqrt(moved),
        "decode_drift": math.sqrt(decoded),
        "drift": math.sqrt(moved / z2),
        "active_drift": math.sqrt(moved / z2),
        "clamp_floor_violation": math.sqrt(below / z2),
        "reactivated_count": count,
        "reactivated_fraction": count / (P * S),
        "norm": math.sqrt(d2),
        "relative_norm": math.sqrt(d2 / h2),
        "violation": leak,
    }


@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_figures_agree_with_a_plain_loop(eta: float) -> None:
    tensors = batch(0)
    figures = figures_of(tensors, eta=eta)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    for i in range(B):
        expected = by_hand(arrays, i, eta)
        assert set(figures) == set(expected)
        for name, value in expected.items():
            assert figures[name].shape == (B,)
            assert figures[name].dtype == torch.float32
            assert float(figures[name][i]) == near(value, 1), name


def test_drift_is_zero_where_nothing_moved_and_undefined_from_zero() -> None:
    b = batch(1)
    b["z_def_BPS"] = torch.zeros(B, P, S)
    b["z_rec_BPS"] = torch.zeros(B, P, S)
    b["z_rec_BPS"][1, 0, 0] = 2.0
    b["z_rec_BPS"][2, 0, 0] = -2.0
    figures = figures_of(b)
    assert figures["drift"][0] == 0
    assert torch.isnan(figures["drift"][1])
    assert figures["active_drift"].isnan().all()
    assert figures["activation_drift"][1] == 2.0
    assert figures["clamp_floor_violation"][1] == 0
    assert torch.isnan(figures["clamp_floor_violation"][2])


def test_active_drift_is_that_of_the_flips_with_something_to_drift() -> None:
    b = batch(1)
    b["z_def_BPS"][:2] = 0
    b["z_rec_BPS"][0] = 0
    figures = figures_of(b)
    assert figures["drift"][0] == 0
    assert figures["drift"][1].isnan()
    assert figures["active_drift"][:2].isnan().all()
    assert torch.equal(figures["active_drift"][2:], figures["drift"][2:])
    assert (figures["active_drift"][2:] > 0).all()


def test_no_perturbation_is_zero_everywhere() -> None:
    b = batch(2)
    b["delta_BPD"] = torch.zeros(B, P, D)
    b["z_rec_BPS"] = b["z_def_BPS"].clone()
    assert b["z_def_BPS"].flatten(1).any(1).all()
    figures = figures_of(b)
    for name, figure in figures.items():
        assert torch.equal(figure, torch.zeros(B)), name


def test_violation_sees_what_is_smaller_than_float32_rounding() -> None:
    b = batch(3)
    basis, _ = torch.linalg.qr(b["W_enc_DS"].double())
    delta = b["delta_BPD"].double()
    delta = delta - (delta @ basis) @ basis.T
    b["delta_BPD"] = delta
    # A dot product of D terms in float64, over the product of the lengths.
    assert float(figures_of(b)["violation"].max()) < D * torch.finfo(torch.float64).eps


def leaning(cosine: float, size: float, among: int) -> dict[str, torch.Tensor]:
    """Return a batch whose δ has a planted cosine with one column of each example, and is orthogonal to
    the others; `size` is the length of δ there, beside a δ of length 1 at every other position."""
    b = batch(4)
    columns, _ = torch.linalg.qr(
        torch.randn(D, D, generator=torch.Generator().manual_seed(1)).double()
    )
    scales_S = torch.tensor([0.01, 1.0, 7.0, 300.0]).double()
    b["W_enc_DS"] = columns[:, :S] * scales_S
    b["delta_BPD"] = columns[:, S].expand(B, P, D).clone()
    free_D = columns[:, S + 1]
    for i in range(B):
        b["delta_BPD"][i, i % P] = size * (
            cosine * columns[:, (i + among) % S] + math.sqrt(1 - cosine**2) * free_D
        )
    return b


@pytest.mark.parametrize("cosine", [1.0, 0.3, 1e-4, 1e-9])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e4])
def test_violation_is_the_planted_cosine_with_one_column(cosine: float, size: float) -> None:
    """However long the column is, and however small a part of δ the position has."""
    for among in range(S):
        found = figures_of(leaning(cosine, size, among))["violation"]
        torch.testing.assert_close(found, torch.full((B,), cosine), rtol=1e-6, atol=1e-15)


def test_violation_does_not_fall_with_more_features_and_positions() -> None:
    b = leaning(0.3, 1.0, 0)
    few = figures_of(b)["violation"]
    b["W_enc_DS"] = torch.cat([b["W_enc_DS"], b["W_enc_DS"].new_zeros(D, 60)], 1)
    b["W_dec_SD"] = torch.zeros(S + 60, D)
    b["z_def_BPS"] = b["z_rec_BPS"] = torch.zeros(B, P, S + 60)
    assert torch.equal(figures_of(b)["violation"], few)


def test_relative_figures_do_not_depend_on_scale() -> None:
    b = batch(5)
    small = figures_of(b)
    b = {name: tensor * 8 for name, tensor in b.items()}
    large = figures_of(b)
    for name in ("drift", "clamp_floor_violation", "relative_norm", "violation"):
        assert_near(small[name], large[name], 1)


def by_position(b: dict[str, torch.Tensor], change: Any) -> dict[str, torch.Tensor]:
    """Return a batch with `change` applied to every tensor that has positions."""
    return {name: change(x) if name.endswith(("BPS", "BPD")) else x for name, x in b.items()}


def test_positions_that_are_left_out_count_as_if_they_were_not_there() -> None:
    b = batch(7)
    where_BP = torch.tensor([[True, False, True], [False, True, True], *[[True, False, False]] * 3])
    figures = figures_of(b, where_BP=where_BP)
    for i in range(B):
        alone = figures_of(by_position(b, lambda x, i=i: x[i : i + 1, where_BP[i]]))
        for name, figure in figures.items():
            assert_near(figure[i], alone[name][0], 1)


def test_norms_of_several_sites_are_those_of_all_their_positions_together() -> None:
    one, other = batch(8), batch(9)
    shared = {"W_enc_DS": one["W_enc_DS"], "W_dec_SD": one["W_dec_SD"]}
    together = {name: torch.cat([one[name], other[name]], 1) for name in one.keys() - shared.keys()}
    whole, apart = figures_of(together | shared), figures_of(one, other | shared)
    for name in whole.keys() - {"violation"}:
        assert_near(whole[name], apart[name], 1)


def test_violation_is_that_of_the_site_where_it_is_largest() -> None:
    sites = [batch(9), batch(10)]
    each_LB = torch.stack([figures_of(site)["violation"] for site in sites])
    assert torch.equal(figures_of(*sites)["violation"], each_LB.amax(0))
    assert len(set(each_LB.argmax(0).tolist())) == 2


def test_wrong_shape_is_named() -> None:
    b = batch(6)
    b["W_dec_SD"] = b["W_dec_SD"].T
    with pytest.raises(ValueError, match="W_dec_SD"):
        figures_of(b)
    with pytest.raises(ValueError, match="eta"):
        figures_of(batch(6), eta=-1)


def test_without_protected_features_where_delta_is_nothing_is_said_of_a_violation() -> None:
    b = batch(11)
    where_BP = torch.ones(B, P, dtype=torch.bool)
    (first, *_) = delta_figures([Perturbed(b["delta_BPD"], b["h_def_BPD"])], where_BP)
    assert math.isnan(first.violation)
    assert first.norm > 0


@pytest.mark.parametrize(
    "name", ["z_rec_BPS", "h_def_BPD", "delta_BPD", "z_def_BPS", "W_enc_DS", "W_dec_SD"]
)
def test_a_tensor_of_another_shape_is_named(name: str) -> None:
    b = batch(12)
    b[name] = b[name][:-1]
    with pytest.raises(ValueError, match=rf"\b{name} (of|with) "):
        figures_of(b, where_BP=torch.ones(B, P, dtype=torch.bool))
