"""Constraints hold for δ of any kind and encoder columns however they depend on each other."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recoverdsl.engine.attack.constraints.orthogonal import Orthogonal
from recoverdsl.engine.attack.geometry import into_ball, norm, normalized
from tests.bounds import assert_near, rounding

D = 16


@st.composite
def columns(draw: st.DrawFn) -> Tensor:
    """Return encoder columns (16, S): few or many, of any rank, with copies, near-copies and zeros."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    rank = draw(st.integers(1, D))
    count = draw(st.integers(1, 2 * D))
    A_DS = torch.randn(D, rank, generator=generator) @ torch.randn(rank, count, generator=generator)
    A_DS = A_DS * 10 ** draw(st.floats(-4, 4))
    if draw(st.booleans()):
        A_DS = torch.cat([A_DS, -2 * A_DS[:, :3]], dim=1)
    if draw(st.booleans()):
        near = A_DS[:, :2] * (
            1 + 10 ** draw(st.floats(-9, -2)) * torch.randn(D, 1, generator=generator)
        )
        A_DS = torch.cat([A_DS, near], dim=1)
    if draw(st.booleans()):
        A_DS = torch.cat([A_DS, torch.zeros(D, 1)], dim=1)
    return A_DS


@st.composite
def deltas(draw: st.DrawFn, A_DS: Tensor) -> Tensor:
    """Return δ (3, 1, 2, 16) of any size, some of them mostly or wholly in the span of the columns."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    inside = torch.randn(3, 1, 2, A_DS.shape[1], generator=generator) @ A_DS.T
    outside = torch.randn(3, 1, 2, D, generator=generator)
    share = draw(st.sampled_from([0.0, 1e-9, 1e-4, 1.0]))
    return 10 ** draw(st.floats(-3, 3)) * (normalized(inside) + share * normalized(outside))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_protected_feature_reads_a_constrained_delta(data: st.DataObject) -> None:
    A_DS = data.draw(columns())
    delta = Orthogonal.to(A_DS)(data.draw(deltas(A_DS)))
    read = (delta.double() @ A_DS.double()).abs()
    bound = 1e-5 * A_DS.double().norm() * delta.double().norm(dim=-1, keepdim=True)
    assert (read <= bound).all()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_constraining_twice_is_constraining_once(data: st.DataObject) -> None:
    A_DS = data.draw(columns())
    constraint = Orthogonal.to(A_DS)
    once = constraint(data.draw(deltas(A_DS)))
    assert (norm(constraint(once) - once) <= 1e-5 * norm(once)).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(1, D - 4))
def test_a_delta_that_no_feature_reads_passes_unchanged(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    A_DS = torch.randn(D, count, generator=generator)
    free = torch.linalg.svd(A_DS.double())[0][:, count:].float()
    delta = torch.randn(3, 1, 2, D - count, generator=generator) @ free.T
    assert_near(Orthogonal.to(A_DS)(delta), delta, 2 * D)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 5))
def test_copies_of_a_feature_take_no_further_direction(seed: int, count: int) -> None:
    A_DS = torch.randn(D, count, generator=torch.Generator().manual_seed(seed))
    with_copies = torch.cat([A_DS, 0.125 * A_DS, -A_DS[:, :1]], dim=1)
    (basis_DR,) = Orthogonal.to(with_copies).bases
    assert basis_DR is not None and basis_DR.shape == (D, count)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(D, 3 * D), size=st.floats(-3, 3))
def test_as_many_features_as_dimensions_leave_no_delta(seed: int, count: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    constraint = Orthogonal.to(torch.randn(D, count, generator=generator))
    delta = constraint(10**size * torch.randn(3, 1, 2, D, generator=generator))
    assert torch.equal(delta, torch.zeros(3, 1, 2, D))


def test_features_that_read_nothing_constrain_nothing() -> None:
    delta = torch.randn(3, 1, 2, D)
    assert torch.equal(Orthogonal.to(torch.zeros(D, 4))(delta), delta)


def test_each_position_is_constrained_by_itself() -> None:
    A_DS = torch.eye(D)[:, :1]
    delta = torch.zeros(1, 1, 2, D)
    delta[0, 0, 0, 0], delta[0, 0, 1, 1] = 1.0, 1e-9
    kept = Orthogonal.to(A_DS)(delta)
    assert torch.equal(kept[0, 0, 0], torch.zeros(D))
    assert torch.equal(kept[0, 0, 1], delta[0, 0, 1])


def test_what_is_left_of_one_position_is_not_judged_by_the_size_of_another() -> None:
    """All of the first is read by the feature, and what is left of it is rounding; the second is free."""
    generator = torch.Generator().manual_seed(0)
    A_DS = torch.randn(D, 3, generator=generator)
    delta = torch.zeros(1, 1, 2, D)
    delta[0, 0, 0] = A_DS @ torch.randn(3, generator=generator)
    delta[0, 0, 1] = 100 * torch.linalg.svd(A_DS)[0][:, 3]
    kept = Orthogonal.to(A_DS)(delta)
    assert torch.equal(kept[0, 0, 0], torch.zeros(D))
    assert_near(kept[0, 0, 1], delta[0, 0, 1], 2 * D)


def test_each_site_is_constrained_by_its_own_features_and_a_site_without_any_is_free() -> None:
    A_DS, B_DS = torch.eye(D)[:, :1], torch.eye(D)[:, 1:3]
    delta = torch.ones(2, 3, 2, D)
    expected = delta.clone()
    expected[:, 0, :, :1] = 0
    expected[:, 2, :, 1:3] = 0
    assert torch.equal(Orthogonal.to(A_DS, None, B_DS)(delta), expected)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.floats(-6, 6), radius=st.floats(-6, 6))
def test_a_ball_bounds_the_norm_and_keeps_the_direction(
    seed: int, size: float, radius: float
) -> None:
    delta = 10**size * torch.randn(4, 2, 3, D, generator=torch.Generator().manual_seed(seed))
    delta[0] = 0.0
    radius_B = torch.tensor([10**radius, 10**radius, 1e9, 10**radius])
    inside = into_ball(delta, radius_B)
    assert (norm(inside) <= radius_B * (1 + rounding(delta[0].numel(), 1.0))).all()
    assert_near(normalized(inside), normalized(delta), delta[0].numel())
    within_B = norm(delta) <= radius_B
    assert torch.equal(inside[within_B], delta[within_B])
    ratio = norm(inside[~within_B]) / radius_B[~within_B]
    assert_near(ratio, torch.ones_like(ratio), delta[0].numel())
