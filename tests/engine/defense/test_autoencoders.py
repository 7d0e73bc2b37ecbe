"""SAEs that fit a model, and the errors for those that do not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from recoverdsl.engine.defense.autoencoders import (
    INVARIANCE,
    Autoencoder,
    boundary_of,
    checked_autoencoder,
    load_sae,
)
from recoverdsl.errors import UnavailableError
from recoverdsl.language.schema import Site
from tests.models import jumprelu, sae

OUTPUT_1 = Site("tiny", 1, "output")
CPU = torch.device("cpu")


def adopted(made: Any, site: Site = OUTPUT_1) -> Autoencoder:
    return checked_autoencoder(made, name="mid", site=site, n_layers=4, d_model=24)


def refusal(made: Any, site: Site = OUTPUT_1) -> UnavailableError:
    with pytest.raises(UnavailableError) as caught:
        adopted(made, site)
    assert caught.value.where == "sae mid"
    return caught.value


def test_an_sae_without_a_hook_is_taken_where_the_spec_says() -> None:
    assert adopted(jumprelu()).boundary == 2


@pytest.mark.parametrize(
    ("hook", "site"),
    [
        ("blocks.1.hook_resid_post", Site("tiny", 1, "output")),
        ("blocks.1.hook_resid_post", Site("tiny", 2, "input")),
        ("blocks.2.hook_resid_pre", Site("tiny", 1, "output")),
        ("blocks.0.hook_resid_pre", Site("tiny", 0, "input")),
        ("blocks.3.hook_resid_post", Site("tiny", 3, "output")),
    ],
)
def test_an_sae_is_taken_at_the_boundary_of_its_hook(hook: str, site: Site) -> None:
    assert adopted(jumprelu(hook_name=hook), site).boundary == boundary_of(site)


def test_an_sae_of_another_width_is_refused() -> None:
    error = refusal(jumprelu(d_in=32))
    assert "32" in error.what
    assert "24" in error.what


@pytest.mark.parametrize(
    ("hook", "reads"),
    [
        ("blocks.3.hook_resid_pre", "tiny.layers[3].input"),
        ("blocks.1.hook_resid_pre", "tiny.layers[1].input"),
        ("blocks.2.hook_resid_post", "tiny.layers[2].output"),
        ("blocks.0.hook_resid_post", "tiny.layers[0].output"),
    ],
)
def test_an_sae_trained_elsewhere_says_what_it_reads(hook: str, reads: str) -> None:
    error = refusal(jumprelu(hook_name=hook))
    assert hook in error.what
    assert "tiny.layers[1].output" in error.what
    assert error.help == f"write `reads = {reads}`"


@pytest.mark.parametrize(
    "hook",
    [
        "blocks.1.attn.hook_z",
        "blocks.1.hook_attn_out",
        "blocks.1.hook_mlp_out",
        "blocks.1.mlp.hook_post",
        "blocks.1.hook_resid_mid",
    ],
)
def test_an_sae_of_anything_but_the_residual_stream_is_refused(hook: str) -> None:
    error = refusal(jumprelu(hook_name=hook))
    assert hook in error.what
    assert "not the residual stream" in error.what


@pytest.mark.parametrize(
    "kind",
    ["layer_norm", "constant_norm_rescale", "expected_average_only_in", "covariance_whitening"],
)
def test_an_sae_that_normalizes_its_input_is_refused(kind: str) -> None:
    assert kind in refusal(sae("standard", normalize_activations=kind)).what


def test_an_sae_of_separate_heads_is_refused() -> None:
    made = jumprelu()
    made.cfg.reshape_activations = "hook_z"
    assert "attention heads" in refusal(made).what


CENTERED = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}


def test_an_sae_of_centered_weights_is_refused_where_a_mean_is_read() -> None:
    assert "centered writing weights" in refusal(jumprelu(**CENTERED)).what
    adopted(jumprelu(model_from_pretrained_kwargs={"center_writing_weights": False}))


@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "topk"])
@pytest.mark.parametrize("shifted", [True, False])
def test_an_sae_of_centered_weights_reads_the_stream_less_its_mean(
    architecture: str, shifted: bool
) -> None:
    config = {"k": 8} if architecture == "topk" else {}
    made = sae(architecture, apply_b_dec_to_input=shifted, **config)
    made.cfg.metadata.model_from_pretrained_kwargs = CENTERED["model_from_pretrained_kwargs"]
    before = {name: value.clone() for name, value in made.state_dict().items()}
    h_ND = torch.randn(9, 24, generator=torch.Generator().manual_seed(0)) + 3.0
    centered_ND = h_ND - h_ND.mean(dim=1, keepdim=True)
    taken = checked_autoencoder(
        made, name="mid", site=OUTPUT_1, n_layers=4, d_model=24, mean_is_unused=True
    )
    assert torch.allclose(taken.encode(h_ND), made.encode(centered_ND), atol=1e-5)
    features = taken.features(torch.tensor([3, 8, 21]))
    assert torch.allclose(features.encode(h_ND), taken.encode(h_ND)[:, [3, 8, 21]], atol=1e-5)
    if architecture != "topk":
        active_NS = (h_ND @ features.W_enc_DS) > features.bound_S
        assert torch.equal(active_NS, features.encode(h_ND) > 0)
    # The SAE itself is left as it was.
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


@pytest.mark.parametrize("layer", [4, 40, -1])
def test_a_layer_beyond_the_model_is_refused(layer: int) -> None:
    error = refusal(jumprelu(), Site("tiny", layer, "output"))
    assert f"layers[{layer}]" in error.what
    assert "0 to 3" in error.what


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["W_enc", "W_dec", "b_enc", "b_dec", "threshold"])
def test_weights_that_are_not_finite_are_refused(name: str, value: float) -> None:
    made = jumprelu()
    getattr(made, name).flatten()[3] = value
    assert "not finite" in refusal(made).what


def test_a_checked_sae_is_frozen_and_encodes_in_float32() -> None:
    made = sae("jumprelu").to(torch.bfloat16).requires_grad_(True)
    autoencoder = adopted(made)
    assert not any(value.requires_grad for value in autoencoder.sae.parameters())
    h_BTD = torch.randn(2, 3, 24)
    assert autoencoder.encode(h_BTD.bfloat16()).dtype == torch.float32
    assert autoencoder.features(torch.tensor([3, 8])).encode(h_BTD).dtype == torch.float32


@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "gated"])
def test_orthogonality_keeps_the_features_of_a_linear_sae(architecture: str) -> None:
    assert INVARIANCE[architecture] == "linear"
    assert largest_move(architecture) < 1e-4


def test_orthogonality_does_not_keep_features_that_compete() -> None:
    assert INVARIANCE["topk"] == "competing"
    assert largest_move("topk", k=8) > 0.1


def largest_move(architecture: str, **config: Any) -> float:
    """Return the largest change of a feature under a large δ that is orthogonal to their encoder
    columns."""
    from recoverdsl.engine.attack.constraints.orthogonal import Orthogonal

    autoencoder = adopted(sae(architecture, **config))
    features = autoencoder.features(torch.tensor([3, 8, 21, 40]))
    generator = torch.Generator().manual_seed(0)
    h_BTD, delta = torch.randn(2, 4, 5, 24, generator=generator)
    moved = h_BTD + Orthogonal.to(features.W_enc_DS)(10 * delta[:, None])[:, 0]
    assert (features.encode(h_BTD) > 0).any()
    return float((features.encode(moved) - features.encode(h_BTD)).abs().max())


@pytest.mark.parametrize("norms", [None, 1.0, 1.3], ids=["any", "1", "1.3"])
def test_matching_pursuit_is_the_plain_loop_state_by_state(norms: float | None) -> None:
    """Whatever else is in the batch, in float32 as in float64."""
    made = sae("matching_pursuit")
    if norms is not None:
        made.W_dec.data = norms * torch.nn.functional.normalize(made.W_dec.data, dim=1)
    autoencoder, ids = adopted(made), torch.tensor([40, 3, 8, 21])
    h_BTD = 3 * torch.randn(4, 5, 24, generator=torch.Generator().manual_seed(0))
    found = autoencoder.encode(h_BTD)
    expected = torch.stack([torch.stack([pursuit(made, h_D) for h_D in h_TD]) for h_TD in h_BTD])
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)
    assert torch.equal(autoencoder.features(ids).encode(h_BTD), found[..., ids])
    assert (found > 0).sum(-1).min() >= 3


def pursuit(made: Any, h_D: torch.Tensor) -> torch.Tensor:
    """Return the activations (64,) of a state in float64: the feature that the remainder has most of is
    taken out of it, until that adds none to those that are there."""
    W_dec = made.W_dec.double()
    left_D = h_D.double() - made.b_dec.double()
    z_F = torch.zeros(len(W_dec), dtype=torch.float64)
    for _ in range(len(left_D)):
        reads_F = W_dec @ left_D
        best, there = int(reads_F.argmax()), int((z_F != 0).sum())
        if reads_F[best] > 0:
            z_F[best] += reads_F[best]
            left_D = left_D - reads_F[best] * W_dec[best]
        if int((z_F != 0).sum()) == there or left_D.norm() < made.cfg.residual_threshold:
            break
    return z_F


# --- Loading ----------------------------------------------------------------------------------


def saved(folder: Path) -> Path:
    jumprelu(hook_name="blocks.1.hook_resid_post").save_model(folder)
    return folder


def test_a_saved_sae_loads_with_its_weights_and_hook(tmp_path: Path) -> None:
    loaded = load_sae(saved(tmp_path), CPU)
    h_BTD = torch.randn(2, 3, 24)
    assert torch.equal(loaded.encode(h_BTD), jumprelu().encode(h_BTD))
    assert adopted(loaded).boundary == 2


def cut_weights(folder: Path) -> None:
    path = folder / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:200])


def pickled_weights(folder: Path) -> None:
    torch.save({"W_enc": torch.zeros(2)}, folder / "sae_weights.safetensors")


def other_shapes(folder: Path) -> None:
    path = folder / "sae_weights.safetensors"
    jumprelu(d_sae=32).save_model(folder / "other")
    path.write_bytes((folder / "other" / path.name).read_bytes())


BREAKS: dict[str, Callable[[Path], object]] = {
    "cut weights": cut_weights,
    "pickled weights": pickled_weights,
    "weights of another size": other_shapes,
    "no weights": lambda folder: (folder / "sae_weights.safetensors").unlink(),
    "no cfg.json": lambda folder: (folder / "cfg.json").unlink(),
    "cut cfg.json": lambda folder: (folder / "cfg.json").write_text('{"d_in": 24,'),
    "empty cfg.json": lambda folder: (folder / "cfg.json").write_text("{}"),
    "unknown architecture": lambda folder: (folder / "cfg.json").write_text(
        '{"architecture": "mystery", "d_in": 24, "d_sae": 64}'
    ),
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_broken_folder_cannot_be_loaded(how: str, tmp_path: Path) -> None:
    BREAKS[how](saved(tmp_path))
    with pytest.raises(UnavailableError) as caught:
        load_sae(tmp_path, CPU)
    assert caught.value.where == str(tmp_path)
    assert "cfg.json" in (caught.value.help or "")
    assert caught.value.why
