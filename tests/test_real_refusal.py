"""The shipped refusal audit, cut short, on the real 135M-parameter model: what it must show."""

from __future__ import annotations

import json
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

SPECS = Path(__file__).parent.parent / "specs"
TOKENS = 12
REQUESTS = 32


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, cores: None) -> Any:
    """Return a run of the first requests, answers of 12 tokens, one attack and random directions."""
    folder = tmp_path_factory.mktemp("refusal")
    text = (SPECS / "refusal.rec").read_text()
    attack, noise = text.index("# The published schedule"), text.index("control noise")
    text = (
        text[:attack]
        + text[noise : text.index("control unrelated")]
        + "expect recovery_rate(recover) <= 5%\n"
    )
    for inside in ("saes/", "data/"):
        text = text.replace(f'"{inside}', f'"{SPECS}/{inside}')
    spec = folder / "refusal.rec"
    spec.write_text(text)
    audit = recoverdsl.load(
        spec,
        set={"requests.limit": str(REQUESTS), "answers.generate": f"greedy(tokens = {TOKENS})", "recover.steps": "40"},
        allow_outside=True,
    )  # fmt: skip
    return audit.run(folder / "run", store=folder / "store", reveal=True)


def test_raised_features_make_it_refuse_everyday_requests(run: Any) -> None:
    counts = run.result.counts
    assert counts.base_holds >= 0.9 * REQUESTS
    assert counts.valid_flips >= 4
    assert counts.failed == 0


def test_the_answers_come_back_while_the_features_stay(run: Any) -> None:
    metrics = run.result.attacks["recover"].metrics
    assert metrics["recovery_rate"].value >= 0.75
    assert metrics["base_like_rate"].value >= 0.75
    rows = run.examples[run.examples.name == "recover"]
    assert rows.drift.max() <= 1e-4
    assert rows.clamp_floor_violation.max() <= 1e-4
    assert rows.norm.max() <= 40 * (1 + 1e-5)


def test_random_directions_bring_back_less(run: Any) -> None:
    recovered = run.result.attacks["recover"].metrics["recovery_rate"].value
    assert run.result.controls["noise"].metrics["recovery_rate"].value < 0.5 * recovered


def test_the_unmodified_model_under_plain_hooks_writes_the_same_texts(run: Any) -> None:
    """Another way to the same texts: one request at a time, no cache, the clamps by the SAEs."""
    from sae_lens import SAE

    audit = recoverdsl.load(SPECS / "refusal.rec")
    (block,) = audit.spec.models.values()
    loaded = load_model(source_of(block).locate(audit.fetcher), block.dtype, torch.device("cpu"))
    model, tokenizer = loaded.family.model, loaded.tokenizer
    chosen = run.result.environment["features"]["select features refusal"]
    layers = {"early": 8, "mid": 14, "late": 20}
    saes = {
        name: SAE.load_from_disk(SPECS / f"saes/smollm2-135m/layer{layer}", dtype="float32")
        for name, layer in layers.items()
    }
    requests = {e.id: e.prompt for e in load_examples(audit.spec.data["requests"], audit.fetcher)}
    refusing = load_examples(audit.spec.data["refusing"], audit.fetcher)

    def chat(request: str) -> list[int]:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": request}], tokenize=False, add_generation_prompt=True
        )
        return list(tokenizer(text, add_special_tokens=False).input_ids)

    means: dict[str, Any] = {}
    with torch.no_grad():
        seen: dict[str, list[Any]] = {name: [] for name in layers}
        for example in refusing:
            before = chat(example.prompt)
            ids = before + tokenizer(example.answer, add_special_tokens=False).input_ids
            states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
            for name, layer in layers.items():
                z = saes[name].encode(states[layer + 1][0, len(before) :])
                seen[name].append(z[:, chosen[name]["ids"]])
        means = {name: torch.cat(rows).mean(0) for name, rows in seen.items()}

    with safe_open(run.folder / "perturbations.safetensors", "pt") as file:
        deltas = file.get_tensor("recover/40")
        place = json.loads(file.metadata()["perturbations"])["recover/40"]
    assert place["boundaries"] == [layer + 1 for layer in layers.values()]
    texts = {
        row["example"]: row["text"]
        for row in map(json.loads, (run.folder / "texts.jsonl").read_text().splitlines())
        if row["kind"] == "attack" and row["name"] == "recover"
    }
    before = deltas.shape[2] - place["columns_behind_prompt"]

    for delta_LPD, example in list(zip(deltas, place["examples"], strict=True))[:2]:
        ids = chat(requests[example])
        start = len(ids) - before
        # A shorter prompt's δ is filled with zeros on the left.
        padding = max(0, -start)

        def hook(
            name: str,
            number: int,
            delta_LPD: Any = delta_LPD,
            start: int = start,
            padding: int = padding,
        ) -> Any:
            def act(_module: Any, _inputs: Any, h: Any) -> Any:
                z = saes[name].encode(h)
                clamped = z.clone()
                clamped[:, 1:, chosen[name]["ids"]] = means[name]
                edited = saes[name].decode(clamped) + (h - saes[name].decode(z))
                delta = delta_LPD[number, padding:]
                first = start + padding
                width = min(edited.shape[1] - first, len(delta))
                edited[:, first : first + width] += delta[:width]
                return edited

            return act

        handles = [
            model.model.layers[layer].register_forward_hook(hook(name, number))
            for number, (name, layer) in enumerate(layers.items())
        ]
        with torch.no_grad():
            written: list[int] = []
            while len(written) < TOKENS:
                token = int(model(torch.tensor([ids + written])).logits[0, -1].argmax())
                if token == tokenizer.eos_token_id:
                    break
                written.append(token)
        for handle in handles:
            handle.remove()
        assert tokenizer.decode(written, skip_special_tokens=True) == texts[example]
