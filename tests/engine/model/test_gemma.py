"""Gemma 1 and 2, and the SAEs that were made for them, against transformers and sae_lens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from recoverdsl.engine.behavior.generation import generate
from recoverdsl.engine.defense.autoencoders import checked_autoencoder, load_sae_release
from recoverdsl.engine.defense.intervention import Intervention
from recoverdsl.engine.model.families import _LogProb, adapt
from recoverdsl.engine.model.forward import Prefix, Recorder, Tokens, embed, run_layers
from recoverdsl.engine.model.loaded_model import load_model
from recoverdsl.errors import UnavailableError
from recoverdsl.language.schema import Release, Site
from recoverdsl.sources.releases import find
from tests.bounds import ENCODE, PASS, WIDTH, assert_near
from tests.models import gemma, gemma2, llama, save, tokenizer

CPU = torch.device("cpu")
MODELS = {"gemma": gemma, "gemma2": gemma2}
each_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


def prompts(seed: int = 0, count: int = 5) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 12, (count,), generator=generator).tolist()
    return [torch.randint(1, 61, (length,), generator=generator).tolist() for length in lengths]


def logits_of(model: Any, rows: list[list[int]]) -> Tensor:
    """Return our logits of a padded batch after each row's last token."""
    family = adapt(model)
    tokens = Tokens.pad(rows, CPU)
    h_BTD = run_layers(family, embed(family, tokens), tokens, start=0, stop=family.n_layers)
    return family.logits(h_BTD[:, -1])


def alone(model: Any, rows: list[list[int]]) -> Tensor:
    """Return the unmodified model's logits, one row at a time."""
    return torch.stack([model(torch.tensor([row])).logits[0, -1] for row in rows]).float()


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert_near(ours, theirs, PASS)


def assert_close_in_bfloat16(ours: Tensor, theirs: Tensor) -> None:
    """Assert that two results differ no more than 8 bits let two orders of the same sums differ."""
    assert (ours - theirs).std() < 0.02 * theirs.std()


CLOSE = {torch.float32: assert_close, torch.bfloat16: assert_close_in_bfloat16}
each_dtype = pytest.mark.parametrize("dtype", CLOSE, ids=str)


# --- Forward ----------------------------------------------------------------------------------


@each_model
@each_dtype
def test_logits_are_those_of_the_model_alone(make: Callable[[], Any], dtype: torch.dtype) -> None:
    model = make().to(dtype)
    rows = prompts()
    CLOSE[dtype](logits_of(model, rows), alone(model, rows))


@each_model
def test_the_embeddings_are_scaled_once_and_in_the_dtype_of_the_model(
    make: Callable[[], Any],
) -> None:
    model = make().bfloat16()
    tokens = Tokens.pad([list(range(1, 9))], CPU)
    first = model(tokens.ids_BT, output_hidden_states=True).hidden_states[0]
    assert torch.equal(embed(adapt(model), tokens), first)
    plain = model.model.embed_tokens
    # As in transformers 5.0, where the model scaled and not its embedding module.
    model.model.embed_tokens = nn.Embedding.from_pretrained(plain.weight)
    assert torch.equal(embed(adapt(model), tokens), first)


@pytest.mark.parametrize("cap", ["final_logit_softcapping", "attn_logit_softcapping"])
def test_both_softcaps_matter_to_the_small_model(cap: str) -> None:
    rows = prompts()
    without = gemma2(**{cap: None})
    assert (logits_of(without, rows) - logits_of(gemma2(), rows)).abs().max() > 0.05
    assert_near(logits_of(without, rows), alone(without, rows), PASS)


@each_model
def test_generated_tokens_are_those_of_transformers(make: Callable[[], Any]) -> None:
    model = make()
    rows = prompts(2)
    answers = generate(
        adapt(model), Tokens.pad(rows, CPU), Intervention(), tokens=12, end_ids=frozenset()
    )
    for row, ours in zip(rows, answers.lists(), strict=True):
        theirs = model.generate(
            torch.tensor([row]), attention_mask=torch.ones(1, len(row)), max_new_tokens=12,
            do_sample=False, eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        assert ours == theirs[0, len(row) :].tolist()


# --- Edits and gradients ----------------------------------------------------------------------


def score_ours(model: Any, delta: Tensor, boundary: int, first: int) -> Tensor:
    """Return a log-probability after δ at one boundary, run over a prefix."""
    family = adapt(model)
    tokens = Tokens.pad([[5, 9, 11, 3, 40, 17]], CPU)
    with torch.no_grad():
        h_BTD = run_layers(family, embed(family, tokens), tokens, start=0, stop=boundary)
        recorder = Recorder(first)
        run_layers(family, h_BTD, tokens, start=boundary, stop=4, cache=recorder)
    h_BQD = run_layers(
        family, h_BTD[:, first:] + delta, tokens, start=boundary, stop=4, first=first,
        cache=Prefix(recorder.keys, recorder.values),
    )  # fmt: skip
    return family.logprob(h_BQD[:, -1], torch.tensor([7]))[0][0]


def score_theirs(model: Any, delta: Tensor, boundary: int, first: int) -> Tensor:
    def hook(_module: Any, _inputs: Any, output: Tensor) -> Tensor:
        return output + nn.functional.pad(delta, (0, 0, first, 0))

    handle = model.model.layers[boundary - 1].register_forward_hook(hook)
    logits_V: Tensor = model(torch.tensor([[5, 9, 11, 3, 40, 17]])).logits[0, -1]
    handle.remove()
    return logits_V.log_softmax(0)[7]


@each_model
@pytest.mark.parametrize("boundary", [1, 2, 4])
def test_an_edit_at_a_boundary_is_a_hook_on_the_layer_below(
    make: Callable[[], Any], boundary: int
) -> None:
    model = make()
    scores, gradients = [], []
    for score in (score_ours, score_theirs):
        delta = torch.randn(3, 24, generator=torch.Generator().manual_seed(1)).requires_grad_()
        value = score(model, delta, boundary, 3)
        scores.append(float(value.detach()))
        gradients.append(torch.autograd.grad(value, delta)[0])
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    assert gradients[0].norm() > 0
    assert (gradients[0] - gradients[1]).norm() <= 1e-4 * gradients[1].norm()


@each_model
def test_the_gradient_of_a_score_equals_finite_differences(make: Callable[[], Any]) -> None:
    model = make().double()
    generator = torch.Generator().manual_seed(3)
    delta = torch.randn(3, 24, generator=generator).double().requires_grad_()
    (gradient,) = torch.autograd.grad(score_ours(model, delta, 2, 3), delta)
    for _ in range(4):
        direction = torch.randn(3, 24, generator=generator).double()
        direction = 2e-3 * direction / direction.norm()
        rise = score_ours(model, delta.detach() + direction, 2, 3)
        fall = score_ours(model, delta.detach() - direction, 2, 3)
        predicted = 2 * (gradient * direction).sum()
        assert (rise.double() - fall - predicted).abs() <= 1e-3 * gradient.norm() * 4e-3


@pytest.mark.parametrize("softcap", [2.0, None])
@pytest.mark.parametrize("rows", [1, 3, 7])
def test_the_logprob_and_its_gradient_are_those_of_the_capped_logits(
    softcap: float | None, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_LogProb, "LOGITS", 61 * rows)
    model = gemma2(final_logit_softcapping=softcap)
    family = adapt(model)
    generator = torch.Generator().manual_seed(0)
    tokens_N = torch.randint(0, 61, (7,), generator=generator)
    weight_N = torch.randn(7, generator=generator)
    h_ND = 3 * torch.randn(7, 24, generator=generator)
    tokens_N[2] = family.logits(h_ND)[2].argmax()

    h_ND.requires_grad_()
    logits_NV = model.lm_head(model.model.norm(h_ND))
    if softcap:
        logits_NV = (logits_NV / softcap).tanh() * softcap
    assert_near(family.logits(h_ND), logits_NV, 2 * WIDTH)
    expected_N = logits_NV.log_softmax(1).gather(1, tokens_N[:, None])[:, 0]
    (expected_ND,) = torch.autograd.grad((expected_N * weight_N).sum(), h_ND)

    logprob_N, likeliest_N = family.logprob(h_ND, tokens_N)
    (gradient_ND,) = torch.autograd.grad((logprob_N * weight_N).sum(), h_ND)
    assert_near(logprob_N, expected_N, 2 * WIDTH + 61)
    assert_near(gradient_ND, expected_ND, 2 * (2 * WIDTH + 61))
    assert torch.equal(likeliest_N, logits_NV.argmax(1) == tokens_N)
    assert likeliest_N[2]


# --- Models and SAEs that are refused ---------------------------------------------------------


def test_a_text_as_long_as_the_window_is_read_whole_and_a_longer_one_refused() -> None:
    model = gemma2()
    family = adapt(model)
    assert family.max_positions == 32
    assert adapt(gemma2(sliding_window=100)).max_positions == 64
    assert adapt(gemma2(layer_types=["full_attention"] * 4)).max_positions == 64
    row = torch.randint(1, 61, (33,), generator=torch.Generator().manual_seed(0)).tolist()
    rows = [row[:32], row[:5]]
    assert_near(logits_of(model, rows), alone(model, rows), PASS)
    with pytest.raises(UnavailableError, match="33 tokens, and the model reads 32"):
        logits_of(model, [row, row[:5]])
    # A batch may be wider than its longest text.
    wide = Tokens.pad(rows, CPU)
    padding = torch.zeros(2, 4, dtype=torch.long)
    wide = Tokens(
        torch.cat([padding, wide.ids_BT], 1), torch.cat([padding.bool(), wide.mask_BT], 1)
    )
    h_BTD = run_layers(family, embed(family, wide), wide, start=0, stop=4)
    assert_near(family.logits(h_BTD[:, -1]), alone(model, rows), PASS)


def test_attention_that_leaves_out_the_softcap_is_refused() -> None:
    model = gemma2()
    model.config._attn_implementation = "sdpa"
    with pytest.raises(UnavailableError, match="softcapping"):
        adapt(model)


@each_model
def test_attention_in_both_directions_is_refused(make: Callable[[], Any]) -> None:
    model = make()
    model.config.use_bidirectional_attention = True
    with pytest.raises(UnavailableError, match="follows"):
        adapt(model)


# --- Loading ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "attention"), [(gemma, "sdpa"), (gemma2, "eager"), (llama, "sdpa")]
)
@each_dtype
def test_a_loaded_model_gives_the_logits_of_transformers(
    make: Callable[[], Any], attention: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    save(make(), tokenizer([f" w{index}" for index in range(1, 61)]), tmp_path)
    family = load_model(tmp_path, str(dtype).removeprefix("torch."), CPU).family
    assert family.model.config._attn_implementation == attention
    assert family.additive_masks == (attention == "eager")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=dtype, attn_implementation=attention
    ).eval()
    rows = prompts()
    with torch.no_grad():
        CLOSE[dtype](logits_of(family.model, rows), alone(theirs, rows))


# --- Gemma Scope ------------------------------------------------------------------------------


@pytest.fixture
def scope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Let sae_lens load a small SAE in the format of Gemma Scope, with its own loader, from a folder."""
    generator = np.random.default_rng(0)
    weights = {
        "w_enc": generator.normal(size=(24, 64)), "w_dec": generator.normal(size=(64, 24)),
        "b_enc": generator.normal(size=64), "b_dec": generator.normal(size=24),
        "threshold": generator.uniform(0.5, 2, size=64),
    }  # fmt: skip
    np.savez(tmp_path / "params.npz", **{name: w.astype("float32") for name, w in weights.items()})
    asked: list[str] = []

    def fetch(name: str) -> Path:
        asked.append(name)
        return tmp_path / "params.npz"

    monkeypatch.setattr(
        "sae_lens.saes.sae.get_config_overrides", lambda *_: {"d_in": 24, "d_sae": 64}
    )
    return {
        "fetch": fetch,
        "asked": asked,
        **{name: torch.tensor(w).float() for name, w in weights.items()},
    }


@pytest.mark.parametrize(
    ("release", "repository"),
    [
        ("gemma-scope-2b-pt-res-canonical", "google/gemma-scope-2b-pt-res"),
        ("gemma-scope-9b-it-res-canonical", "google/gemma-scope-9b-it-res"),
    ],
)
def test_gemma_scope_is_taken_at_the_output_of_its_layer(
    release: str, repository: str, scope: dict[str, Any]
) -> None:
    made = load_sae_release(release, "layer_20/width_16k/canonical", CPU, scope["fetch"])
    place = find(Release(release, "layer_20/width_16k/canonical"))
    assert place.repository == repository
    assert place.path.startswith("layer_20/width_16k/average_l0_")
    assert scope["asked"] == [f"{place.path}/params.npz"]
    taken = checked_autoencoder(
        made, name="scope", site=Site("gemma", 20, "output"), n_layers=26, d_model=24
    )
    assert taken.boundary == 21
    assert taken.invariance == "linear"
    h_ND = torch.randn(9, 24, generator=torch.Generator().manual_seed(0))
    before_NF = h_ND @ scope["w_enc"] + scope["b_enc"]
    z_NF = before_NF.relu() * (before_NF > scope["threshold"])
    assert_near(taken.encode(h_ND), z_NF, ENCODE)
    ids = torch.tensor([3, 8, 21])
    features = taken.features(ids)
    assert_near(features.encode(h_ND), z_NF[:, ids], ENCODE)
    assert torch.allclose(features.bound_S, (scope["threshold"] - scope["b_enc"])[ids])
    assert torch.equal(features.W_dec_SD, scope["w_dec"][ids])


def test_gemma_scope_at_another_layer_is_refused(scope: dict[str, Any]) -> None:
    made = load_sae_release(
        "gemma-scope-2b-pt-res-canonical", "layer_12/width_16k/canonical", CPU, scope["fetch"]
    )
    with pytest.raises(UnavailableError) as caught:
        checked_autoencoder(
            made, name="scope", site=Site("gemma", 20, "output"), n_layers=26, d_model=24
        )
    assert caught.value.help == "write `reads = gemma.layers[12].output`"


@pytest.mark.parametrize(
    ("release", "id"),
    [
        ("gemma-scope-2b-pt-mlp-canonical", "layer_20/width_16k/canonical"),
        ("gemma-scope-2b-pt-att-canonical", "layer_20/width_16k/canonical"),
        ("gemma-scope-2b-pt-res", "embedding/width_4k/average_l0_6"),
    ],
)
def test_gemma_scope_of_anything_but_the_residual_stream_is_refused(
    release: str, id: str, scope: dict[str, Any]
) -> None:
    made = load_sae_release(release, id, CPU, scope["fetch"])
    with pytest.raises(UnavailableError, match="not the residual stream"):
        checked_autoencoder(
            made, name="scope", site=Site("gemma", 20, "output"), n_layers=26, d_model=24
        )
