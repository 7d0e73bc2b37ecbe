"""Suffix-only forward passes against the unmodified model."""

import pytest
import torch

from recoverdsl.engine.model.families import adapt
from recoverdsl.engine.model.forward import Prefix, Recorder, Tokens, embed, run_layers
from recoverdsl.errors import UnavailableError
from tests.bounds import PASS, WIDTH, assert_near, rounding
from tests.models import FAMILIES, llama


def prompts(seed: int = 0, count: int = 5) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 12, (count,), generator=generator).tolist()
    return [torch.randint(1, 61, (length,), generator=generator).tolist() for length in lengths]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_padded_batch_gives_the_logits_of_the_model_alone(name: str) -> None:
    model = FAMILIES[name]()
    family = adapt(model)
    rows = prompts()
    tokens = Tokens.pad(rows, family.device)
    h_BTD = run_layers(family, embed(family, tokens), tokens, start=0, stop=family.n_layers)
    logits_BV = family.logits(h_BTD[:, -1])
    for row, logits_V in zip(rows, logits_BV, strict=True):
        alone_V = model(torch.tensor([row])).logits[0, -1]
        assert_near(logits_V, alone_V, PASS)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("first", [1, 4, 10])
@pytest.mark.parametrize("boundary", [0, 2, 4])
def test_a_suffix_over_a_prefix_gives_the_logits_of_the_whole(
    name: str, first: int, boundary: int
) -> None:
    model = FAMILIES[name]()
    family = adapt(model)
    tokens = Tokens.pad([*prompts(1), list(range(1, 12))], family.device)
    h_BTD = run_layers(family, embed(family, tokens), tokens, start=0, stop=boundary)
    recorder = Recorder(first)
    whole = run_layers(family, h_BTD, tokens, start=boundary, stop=4, cache=recorder)
    prefix = Prefix(recorder.keys, recorder.values)
    suffix = run_layers(
        family, h_BTD[:, first:], tokens, start=boundary, stop=4, first=first, cache=prefix
    )
    assert_near(suffix[:, -1], whole[:, -1], PASS)


@pytest.mark.parametrize("name", FAMILIES)
def test_some_logits_are_those_of_the_full_head(name: str) -> None:
    family = adapt(FAMILIES[name]())
    h_ND = torch.randn(7, family.d_model)
    tokens_NK = torch.randint(0, 61, (7, 3))
    assert_near(family.logits(h_ND, tokens_NK), family.logits(h_ND).gather(1, tokens_NK), 2 * WIDTH)


def test_an_edit_at_a_boundary_is_a_hook_on_the_layer_below() -> None:
    model = llama()
    family = adapt(model)
    tokens = Tokens.pad([[5, 9, 11, 3]], family.device)
    change = torch.randn(24)
    edited = run_layers(
        family, embed(family, tokens), tokens, start=0, stop=4, edits={2: lambda h: h + change}
    )

    handle = model.model.layers[1].register_forward_hook(
        lambda _module, _inputs, output: output + change
    )
    hooked = model(tokens.ids_BT).logits[0, -1]
    handle.remove()
    assert_near(family.logits(edited[:, -1])[0], hooked, PASS)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_mean_of_the_stream_is_unused_where_the_family_says_so(name: str) -> None:
    family = adapt(FAMILIES[name]())
    tokens = Tokens.pad(prompts(), family.device)

    def logits(shift: float) -> torch.Tensor:
        edits = {2: lambda h: h + shift}
        h_BTD = run_layers(family, embed(family, tokens), tokens, start=0, stop=4, edits=edits)
        return family.logits(h_BTD[:, -1])

    here = logits(0.0)
    apart = (here - logits(3.0)).abs().max()
    assert (apart < rounding(PASS, float(here.abs().max()))) == family.mean_is_unused


def test_an_unknown_family_says_what_is_missing() -> None:
    model = llama()
    model.config.model_type = "mamba"
    with pytest.raises(UnavailableError, match="mamba") as caught:
        adapt(model)
    assert "families.py" in str(caught.value)
