"""The shipped audit with fewer prompts on the real 135M-parameter model: what it must show, and that
it is so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import recoverdsl
from recoverdsl.engine.model.loaded_model import load_model
from recoverdsl.sources.data import load_examples
from recoverdsl.sources.registry import source_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
SPEC = ROOT / "specs" / "ioi.rec"
PROMPTS = 24


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, cores: None) -> Any:
    """Return a run of the first prompts with the strong clamp alone, without the searches of least norms and
    the giver's name."""
    folder = tmp_path_factory.mktemp("ioi")
    text = SPEC.read_text()
    for name in ("gentle", "on_gentle", "preference", "gentle_unrelated", "giver", "gentle_noise"):
        text, cut = re.subn(rf"(?ms)^\w+ {name} .*?^}}$", "", text)
        assert cut == 1
    text = re.sub(r"(?m)^expect .*on_gentle.*$", "", text)
    text = text.replace('"saes/', f'"{SPEC.parent}/saes/')
    text = "".join(line for line in text.splitlines(True) if "smallest_norm" not in line)
    spec = folder / "ioi.rec"
    spec.write_text(text)
    audit = recoverdsl.load(
        spec,
        set={
            "prompts.limit": str(PROMPTS), "ranking_prompts.rows": "128..175",
            "projected.limit": "norm <= [4, 30]", "projected.steps": "60", "projected.checks": "0",
            "noise.draws": "2",
        },
        allow_outside=True,
    )  # fmt: skip
    return audit.run(folder / "run", store=folder / "store")


def test_the_clamp_flips_enough_prompts(run: Any) -> None:
    counts = run.result.counts
    assert counts.examples == PROMPTS
    assert counts.base_holds >= 0.80 * PROMPTS
    assert counts.valid_flips >= 0.60 * PROMPTS
    assert counts.failed == 0


def test_orthogonal_recovery_is_nearly_complete_and_leaves_the_features_alone(run: Any) -> None:
    metrics = run.result.attacks["projected"].metrics
    assert metrics["recovery_rate"].value >= 0.95
    assert metrics["zero_reactivation_recovery"].value >= 0.99
    assert metrics["drift"].value <= 1e-4
    assert metrics["drift"].n == run.result.counts.valid_flips
    assert metrics["violation"].value <= 1e-5


def test_the_clamp_makes_the_recipient_unlikely_and_the_attack_the_top_token(run: Any) -> None:
    rows = run.examples[(run.examples.kind == "attack") & (run.examples.limit == 30)]
    assert (rows.rank_base == 1).all()
    assert (rows.rank_defended > 1).all()
    assert rows.rank_defended.median() > 10
    assert (rows.rank_recovered[rows.recovered] == 1).all()


def test_random_directions_of_the_same_norm_do_little(run: Any) -> None:
    assert run.result.controls["noise"].metrics["recovery_rate"].value <= 0.10


def test_a_name_of_another_prompt_takes_a_larger_budget(run: Any) -> None:
    (found,) = [one for one in run.result.specificities if one.control == "unrelated"]
    four, thirty = found.budgets
    assert (four.norm, thirty.norm) == (4, 30)
    assert four.own > four.other
    assert thirty.other >= 0.8 * thirty.n, "at norm 30 anything can be written"


def test_a_larger_budget_recovers_no_fewer(run: Any) -> None:
    rates = [b.metrics["recovery_rate"].value for b in run.result.attacks["projected"].budgets]
    assert rates == sorted(rates)
    assert rates[0] < rates[-1]


def test_the_perturbations_recover_in_the_unmodified_model_with_plain_hooks(run: Any) -> None:
    """Another way to the same numbers: whole sequences one by one, the clamp by the SAE itself."""
    from sae_lens import SAE

    audit = recoverdsl.load(SPEC)
    (block,) = audit.spec.models.values()
    loaded = load_model(source_of(block).locate(audit.fetcher), block.dtype, torch.device("cpu"))
    model, tokenizer = loaded.family.model, loaded.tokenizer
    sae = SAE.load_from_disk(SPEC.parent / "saes/smollm2-135m/layer14", dtype="float32")
    (selected,) = run.result.environment["features"]["select features ioi_features"].values()
    ids = selected["ids"]

    with safe_open(run.folder / "perturbations.safetensors", "pt") as file:
        deltas = file.get_tensor("projected/30")
        described = json.loads(file.metadata()["perturbations"])["projected/30"]
    assert described["boundaries"] == [15]
    assert described["columns_behind_prompt"] == 0
    examples = {e.id: e for e in load_examples(audit.spec.data["prompts"], audit.fetcher)}
    rows = run.examples[(run.examples.name == "projected") & (run.examples.limit == 30)]
    rows = rows[rows.kind == "attack"].set_index("example")

    for delta_QD, name in list(zip(deltas[:, 0], described["examples"], strict=True))[:12]:
        fields = examples[name].fields

        def hook(_module: Any, _inputs: Any, h: Any, delta_QD: Any = delta_QD) -> Any:
            z = sae.encode(h)
            clamped = z.clone()
            clamped[:, 1:, ids] = torch.where(z[:, 1:, ids] > 0, -5.0, z[:, 1:, ids])
            edited = sae.decode(clamped) + (h - sae.decode(z))
            return torch.cat([edited[:, :-1], edited[:, -1:] + delta_QD[-1]], dim=1)

        handle = model.model.layers[14].register_forward_hook(hook)
        with torch.no_grad():
            logits = model(torch.tensor([tokenizer(examples[name].prompt).input_ids])).logits[0, -1]
        handle.remove()
        io = tokenizer(" " + fields["io"]).input_ids[0]
        rivals = logits.clone()
        rivals[io] = -torch.inf
        margin = (logits[io] - rivals.max()).item()
        assert margin == pytest.approx(rows.score_recovered[name], abs=2e-3)
        assert (margin > 0) == rows.recovered[name]
        assert int((logits > logits[io]).sum()) + 1 == rows.rank_recovered[name]
