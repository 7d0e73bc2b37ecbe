"""Runs in which a text has to be one thing for an attack and another for its control."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers

import recoverdsl
from tests.run import answers

WILD = """\
attack wild {
  perturb  = mid at [last_token, target_tokens]
  maximize = logprob(base_answer)
  preserve = by_construction(refusal)
  limit    = norm <= 400
  steps    = 1
  with     = adam(lr = 1000)
  checks   = 0
}

control noise { of = wild; with = random_direction; draws = 2 }
control unrelated { of = wild; target = base_answer of another_example }

expect recovery_rate(wild) <= 20%
"""
"""One step that is far too long: texts that do not refuse, and that are not all the base answer."""


def run(spec: Path) -> recoverdsl.Run:
    made = recoverdsl.load(spec).run(None, store=spec.parent / "store", device="cpu")
    assert isinstance(made, recoverdsl.Run)
    return made


def test_an_attack_is_compared_by_the_answers_that_it_elicits_and_not_by_its_recoveries(
    tmp_path: Path,
) -> None:
    made = run(answers.write(tmp_path, WILD, seed=10))
    rows, result = made.examples, made.result
    own = rows[(rows["kind"] == "attack") & (rows["name"] == "wild")]
    elicited = own["base_like"].astype(bool) | own["reached"]
    (one,) = (one for one in result.specificities if one.control == "unrelated")
    (pair,) = one.budgets
    assert pair.own == int((own["recovered"] & elicited).sum()) < int(own["recovered"].sum())
    other = rows[(rows["kind"] == "control") & (rows["name"] == "unrelated")]
    assert pair.other == int((other["base_like"].astype(bool) | other["reached"]).sum())
    (e,) = result.expectations
    assert e.low is not None and e.low > 0.2
    assert e.outcome == "undecided"
    assert f"and the base answer in {pair.own}: " in (e.reason or "")
    assert f"recovers the base answer in {pair.own} of {pair.n}" in made.html()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> recoverdsl.Run:
    return run(answers.write(tmp_path_factory.mktemp("plain"), WILD, seed=10))


def test_an_example_whose_text_is_empty_without_the_clamp_shows_nothing(
    plain: recoverdsl.Run, tmp_path: Path
) -> None:
    """The first token of one answer ends every text now: each example that begins with it writes nothing."""
    spec = answers.write(tmp_path, WILD, seed=10)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    requests = [json.loads(line)["prompt"] for line in (tmp_path / "requests.jsonl").read_text().splitlines()]  # fmt: skip
    with torch.no_grad():
        firsts = [
            int(model(**tokenizer(text, return_tensors="pt")).logits[0, -1].argmax())
            for text in requests
        ]
    refusing = {f" {word}" for word in answers.WORDS[::2]} | set(answers.WORDS[::2])
    end = next(id for id in firsts if tokenizer.decode([id]) not in refusing)
    config = tmp_path / "model/generation_config.json"
    written = json.loads(config.read_text()) if config.exists() else {}
    config.write_text(json.dumps({**written, "eos_token_id": end}))
    result = run(spec).result
    assert result.counts.base_holds <= len(requests) - firsts.count(end)
    assert result.counts.base_holds < plain.result.counts.base_holds
