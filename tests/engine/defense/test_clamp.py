"""The clamp as a residual edit against the SAE's own encoder and decoder."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from recoverdsl.engine.defense.autoencoders import Autoencoder, Features
from recoverdsl.engine.defense.clamp import Clamp
from recoverdsl.language.schema import ScaleBy, SetTo
from tests.bounds import ENCODE, FEATURES, assert_near
from tests.models import sae

IDS = torch.tensor([3, 40, 7, 63, 11, 20])
LINEAR = ["standard", "jumprelu", "gated"]
VALUES = [SetTo(-5.0), SetTo(0.0), ScaleBy(3.0)]


def features(architecture: str = "jumprelu", **config: object) -> Features:
    return Autoencoder(sae(architecture, **config), boundary=2).features(IDS)


def states(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return residual-stream states (2, 3, 24), and a position mask that differs between the rows."""
    generator = torch.Generator().manual_seed(seed)
    where_BT = torch.tensor([[True, False, True], [False, True, True]])
    return 2 * torch.randn(2, 3, 24, generator=generator), where_BT


def defended(
    autoencoder: Autoencoder,
    h_BTD: Tensor,
    where_BT: Tensor,
    value: SetTo | ScaleBy,
    only_active: bool,
) -> tuple[Tensor, Tensor]:
    """Return D(clamp_S(z; c)) and the reconstruction error h − D(z), feature by feature."""
    z_BTF = autoencoder.encode(h_BTD)
    selected_F = torch.zeros(z_BTF.shape[-1], dtype=torch.bool)
    selected_F[IDS] = True
    acts_BTF = where_BT[..., None] & selected_F & ((z_BTF > 0) | (not only_active))
    target = value.value if isinstance(value, SetTo) else value.factor * z_BTF
    clamped_BTF = torch.where(acts_BTF, target, z_BTF)
    return autoencoder.decode(clamped_BTF), h_BTD - autoencoder.decode(z_BTF)


@pytest.mark.parametrize("only_active", [True, False])
@pytest.mark.parametrize("value", VALUES, ids=str)
@pytest.mark.parametrize("architecture", [*LINEAR, "topk"])
def test_the_edit_is_the_decoded_clamp_plus_the_reconstruction_error(
    architecture: str, value: SetTo | ScaleBy, only_active: bool
) -> None:
    selected = features(architecture, **({"k": 20} if architecture == "topk" else {}))
    h_BTD, where_BT = states()
    edited = Clamp(selected, value, only_active)(h_BTD, where_BT)
    decoded, error = defended(selected.autoencoder, h_BTD, where_BT, value, only_active)
    assert_near(edited, decoded + error, ENCODE + FEATURES)
    assert not torch.allclose(edited[where_BT], h_BTD[where_BT], atol=1e-2)
    assert torch.equal(edited[~where_BT], h_BTD[~where_BT])


def test_the_edit_divides_by_decoder_norms_where_the_sae_does() -> None:
    selected = features("topk", k=20, rescale_acts_by_decoder_norm=True)
    h_BTD, where_BT = states()
    edited = Clamp(selected, SetTo(-5.0), only_active=True)(h_BTD, where_BT)
    decoded, error = defended(selected.autoencoder, h_BTD, where_BT, SetTo(-5.0), only_active=True)
    assert_near(edited, decoded + error, ENCODE + FEATURES)


def slope(function: Callable[[Tensor], Tensor], at: Tensor, along: Tensor, step: float) -> float:
    """Return the central difference of a sum of products, summed in float64."""
    up, down = function(at + step * along), function(at - step * along)
    return float((up.double() - down.double()).sum()) / (2 * step)


@pytest.mark.parametrize("only_active", [True, False])
@pytest.mark.parametrize("value", VALUES, ids=str)
@pytest.mark.parametrize("architecture", LINEAR)
def test_the_gradient_of_the_edit_equals_finite_differences(
    architecture: str, value: SetTo | ScaleBy, only_active: bool
) -> None:
    selected = features(architecture)
    clamp = Clamp(selected, value, only_active)
    h_BTD, where_BT = states()
    weights, *directions = torch.randn(6, *h_BTD.shape, generator=torch.Generator().manual_seed(1))
    h_BTD.requires_grad_(True)
    (gradient,) = torch.autograd.grad((weights * clamp(h_BTD, where_BT)).sum(), h_BTD)
    h_BTD = h_BTD.detach()
    for direction in directions:
        direction = direction / direction.norm()
        below, above = (selected.encode(h_BTD + step * direction) > 0 for step in (-0.01, 0.01))
        assert torch.equal(below, above), "a kink lies between the two ends"
        measured = slope(lambda h: weights * clamp(h, where_BT), h_BTD, direction, 0.01)
        predicted = float((gradient * direction).sum())
        assert predicted == pytest.approx(measured, abs=1e-4 * float(gradient.norm()))


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_an_error_term_without_gradient_has_the_same_value_and_another_gradient(
    value: SetTo | ScaleBy,
) -> None:
    selected = features()
    h_BTD, where_BT = states()
    h_BTD.requires_grad_(True)
    weights = torch.randn(h_BTD.shape, generator=torch.Generator().manual_seed(1))
    decoded, error = defended(selected.autoencoder, h_BTD, where_BT, value, only_active=True)
    edited = Clamp(selected, value, only_active=True)(h_BTD, where_BT)

    def gradient(output: Tensor) -> Tensor:
        return torch.autograd.grad((weights * output).sum(), h_BTD, retain_graph=True)[0]

    wrapped = decoded + error.detach()
    assert_near(edited, wrapped, ENCODE + FEATURES)
    assert_near(gradient(edited), gradient(decoded + error), ENCODE + FEATURES)
    apart = (gradient(edited) - gradient(wrapped)).norm() / gradient(edited).norm()
    assert apart > 0.1


@pytest.mark.parametrize("apply_b_dec_to_input", [True, False])
@pytest.mark.parametrize("architecture", LINEAR)
def test_selected_features_alone_encode_as_in_the_full_sae(
    architecture: str, apply_b_dec_to_input: bool
) -> None:
    selected = features(architecture, apply_b_dec_to_input=apply_b_dec_to_input)
    h_BTD, _ = states()
    full = selected.autoencoder.encode(h_BTD)[..., IDS]
    assert selected.alone.cfg.d_sae == len(IDS)
    assert_near(selected.encode(h_BTD), full, ENCODE)
    assert torch.equal(selected.encode(h_BTD) > 0, full > 0)
    assert 0 < (full > 0).float().mean() < 1


def test_competing_features_are_encoded_with_all_others() -> None:
    selected = features("topk", k=8)
    h_BTD, _ = states()
    assert selected.autoencoder.invariance == "competing"
    assert selected.alone is None
    z_BTS = selected.encode(h_BTD)
    assert torch.equal(z_BTS, selected.autoencoder.encode(h_BTD)[..., IDS])
    without_rivals = selected.autoencoder.sae.W_enc[:, IDS]
    lone = (
        h_BTD - selected.autoencoder.sae.b_dec
    ) @ without_rivals + selected.autoencoder.sae.b_enc[IDS]
    assert ((lone > 0) & (z_BTS == 0)).any(), "no feature lost its place to another"


def test_where_active_tests_the_undefended_activation() -> None:
    selected = features()
    h_BTD, _ = states()
    everywhere = torch.ones(2, 3, dtype=torch.bool)
    z_BTS = selected.encode(h_BTD)
    once = Clamp(selected, SetTo(-5.0), only_active=True)(h_BTD, everywhere)
    # Each feature is judged by h as it was: not by what clamping the others makes of it.
    expected = h_BTD + torch.where(z_BTS > 0, -5.0 - z_BTS, 0.0) @ selected.W_dec_SD
    in_turn = h_BTD
    for at in range(len(IDS)):
        alone = selected.autoencoder.features(IDS[at : at + 1])
        in_turn = Clamp(alone, SetTo(-5.0), only_active=True)(in_turn, everywhere)
    assert_near(once, expected, ENCODE + len(IDS))
    assert not torch.allclose(once, in_turn, atol=0.1)


def test_an_inactive_feature_is_left_alone_only_where_active_is_asked_for() -> None:
    selected = features()
    h_BTD, _ = states()
    everywhere = torch.ones(2, 3, dtype=torch.bool)
    z_BTS = selected.encode(h_BTD)
    silent_BT = ~(z_BTS > 0).any(-1)
    partly_BT = (z_BTS > 0).any(-1) & ~(z_BTS > 0).all(-1)
    assert partly_BT.any()
    active = Clamp(selected, SetTo(2.0), only_active=True)(h_BTD, everywhere)
    always = Clamp(selected, SetTo(2.0), only_active=False)(h_BTD, everywhere)
    assert torch.equal(active[silent_BT], h_BTD[silent_BT])
    pushed = torch.where(z_BTS > 0, 0.0, 2.0) @ selected.W_dec_SD
    assert_near(always - active, pushed, len(IDS) + 1, float(h_BTD.abs().max()))


def test_half_precision_states_are_clamped_in_float32() -> None:
    selected = features()
    h_BTD, where_BT = states()
    clamp = Clamp(selected, SetTo(-5.0), only_active=True)
    edited = clamp(h_BTD.bfloat16(), where_BT)
    assert edited.dtype == torch.float32
    assert torch.equal(edited, clamp(h_BTD.bfloat16().float(), where_BT))
