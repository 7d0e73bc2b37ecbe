"""Audits of conditions on the next token, on the tiny model, against another program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from recoverdsl.api import load
from recoverdsl.audit.records import Run
from tests.run import claims

SCORED = """\
  score = logit(" {io}") - logit(" {s}") at last_token
  holds = score > 0
"""
assert SCORED in claims.SPEC


def run_with(folder: Path, behavior: str, **changes: str) -> Run:
    """Run the claim with another behavior."""
    spec = claims.write(folder)
    text = claims.SPEC.replace(SCORED, behavior)
    for old, new in changes.items():
        text = text.replace(old, new)
    spec.write_text(text)
    run = load(spec).run(store=folder / "store")
    assert isinstance(run, Run)
    return run


def next_logits(folder: Path) -> tuple[list[dict[str, str]], Any, torch.Tensor]:
    """Return the rows, the tokenizer and the logits (B, V) of plain transformers after each prompt."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "model")
    rows = claims.rows()
    with torch.no_grad():
        logits = [model(**tokenizer(row["prompt"], return_tensors="pt")).logits[0, -1] for row in rows]  # fmt: skip
    return rows, tokenizer, torch.stack(logits)


@pytest.mark.parametrize("most", [3, 12])
def test_a_rank_holds_where_another_program_counts_as_few_likelier_tokens(
    tmp_path: Path, most: int
) -> None:
    run = run_with(tmp_path, f'  holds = rank(" {{io}}") <= {most}\n')
    rows, tokenizer, logits_BV = next_logits(tmp_path)
    ids = [tokenizer(f" {row['io']}", add_special_tokens=False).input_ids[0] for row in rows]
    ranks = [int((logits >= logits[id]).sum()) for logits, id in zip(logits_BV, ids, strict=True)]
    assert run.result.counts.base_holds == sum(rank <= most for rank in ranks)


def test_a_comparison_of_logits_is_the_score_of_their_difference(tmp_path: Path) -> None:
    compared = run_with(tmp_path / "a", '  holds = logit(" {io}") > logit(" {s}")\n')
    scored = run_with(tmp_path / "b", SCORED)
    assert compared.result.counts == scored.result.counts
    assert compared.result.counts.valid_flips >= 5
    columns = ["example", "kind", "name", "limit", "recovered", "steps"]
    assert compared.examples[columns].equals(scored.examples[columns])
    gap = (compared.examples["score_recovered"] - scored.examples["score_recovered"]).abs()
    assert gap.max() < 1e-4


def test_an_attack_raises_the_score_that_is_named_and_succeeds_by_the_condition(
    tmp_path: Path,
) -> None:
    score = '  score = logit(" {io}") - logit(" {s}") at last_token\n'
    run = run_with(tmp_path, score + '  holds = rank(" {io}") <= 12\n')
    found = run.examples[run.examples["kind"] == "attack"]
    assert len(found)
    # The score is above 0 in some that the rank does not count as recovered.
    assert (found["score_recovered"] > 0).ne(found["recovered"]).any()


def test_ranks_and_probabilities_are_those_of_another_program(tmp_path: Path) -> None:
    run = run_with(tmp_path, SCORED)
    rows, tokenizer, logits_BV = next_logits(tmp_path)
    frame = run.examples[run.examples["kind"] == "attack"]
    assert len(frame)
    for example, rank, probability in zip(frame["example"], frame["rank_base"], frame["probability_base"], strict=True):  # fmt: skip
        logits_V = logits_BV[int(example) - 1]
        own = tokenizer(f" {rows[int(example) - 1]['io']}", add_special_tokens=False).input_ids[0]
        assert rank == int((logits_V >= logits_V[own]).sum())
        assert probability == pytest.approx(float(logits_V.softmax(0)[own]), rel=1e-4)
    assert frame["rank_defended"].notna().all()
    assert frame["probability_recovered"].between(0, 1).all()
    metrics = run.result.attacks["projected"].metrics
    last = frame[(frame["name"] == "projected") & (frame["limit"] == 8)]
    assert metrics["target_rank"].value == last["rank_recovered"].median()
    assert metrics["target_probability"].value == pytest.approx(
        last["probability_recovered"].mean()
    )


def test_what_recovered_by_rank_has_that_rank(tmp_path: Path) -> None:
    run = run_with(tmp_path, '  holds = rank(" {io}") <= 12\n')
    found = run.examples[run.examples["kind"].isin(["attack", "control"])]
    assert found["recovered"].any()
    assert (found["rank_recovered"] <= 12).eq(found["recovered"]).all()
    assert (found["rank_base"] <= 12).all()
    assert (found["rank_defended"] > 12).all()


def test_a_behavior_with_two_tokens_has_no_single_target(tmp_path: Path) -> None:
    run = run_with(tmp_path, '  holds = rank(" {io}") <= 20 or rank(" {s}") <= 20\n')
    assert run.result.counts.valid_flips
    assert run.examples[["rank_base", "rank_defended", "rank_recovered"]].isna().all(axis=None)
    assert "target_rank" not in run.result.attacks["projected"].metrics
