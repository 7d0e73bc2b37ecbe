"""Inputs that would silently give wrong numbers are refused or reported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import recoverdsl
from recoverdsl.compiler.steps import RunBase
from recoverdsl.engine.behavior.observation import Observations
from recoverdsl.errors import UnavailableError
from recoverdsl.report.evidence import cautions
from tests.run import claims
from tests.run.commands import cli


@pytest.fixture
def own(claim: Path, tmp_path: Path) -> Path:
    """Return a copy of the claim that a test may break."""
    shutil.copytree(claim.parent, tmp_path / "own")
    return tmp_path / "own" / claim.name


def edit(spec: Path, old: str, new: str) -> None:
    text = spec.read_text()
    assert old in text
    spec.write_text(text.replace(old, new))


def base_scores(spec: Path, store: Path) -> list[float]:
    audit = recoverdsl.load(spec)
    audit.run(store=store)
    graph = audit.graph("cpu")
    entry = audit.store(store).entry(graph[graph.keys_of(RunBase)[0]].digest)
    return [row.score for part in entry.parts(Observations) for row in part.record.rows]


def test_an_attack_without_room_to_move_is_no_evidence(own: Path, tmp_path: Path) -> None:
    edit(own, "top(10", "top(60")
    with pytest.raises(UnavailableError, match="no room"):
        recoverdsl.load(own).run(store=tmp_path)


def test_weights_that_a_checkpoint_lacks_are_not_made_up(own: Path, tmp_path: Path) -> None:
    weights = own.parent / "model" / "model.safetensors"
    kept = {name: value for name, value in load_file(weights).items() if "layers.2.mlp" not in name}
    save_file(kept, weights, metadata={"format": "pt"})
    with pytest.raises(UnavailableError, match="not whole") as caught:
        recoverdsl.load(own).run(store=tmp_path)
    assert "layers.2.mlp" in str(caught.value)


def test_a_model_that_asks_for_another_attention_is_masked_all_the_same(
    claim: Path, own: Path, tmp_path: Path
) -> None:
    config = own.parent / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"attn_implementation": "eager"}))
    ours = base_scores(own, tmp_path / "one")
    assert ours == pytest.approx(base_scores(claim, tmp_path / "other"), abs=1e-5)


def test_a_row_with_half_a_character_is_named(own: Path) -> None:
    rows = own.parent / "prompts.jsonl"
    first, *rest = rows.read_text().splitlines()
    broken = json.dumps(json.loads(first) | {"prompt": "\ud800"})
    rows.write_text("\n".join([broken, *rest]) + "\n")
    done = cli("run", own, "--out", own.parent / "out", "--store", own.parent / "store")
    assert done.code == 3
    assert "prompts.jsonl:1" in done.err
    assert "Traceback" not in done.said


def test_chat_without_a_template_says_so(own: Path) -> None:
    edit(own, 'file("prompts.jsonl")', 'file("prompts.jsonl")\n  chat = true')
    done = cli("run", own, "--out", own.parent / "out", "--store", own.parent / "store")
    assert done.code == 3
    assert "chat template" in done.err
    assert "Traceback" not in done.said


def test_an_example_that_is_not_a_number_fails_by_name_and_the_run_goes_on(
    own: Path, tmp_path: Path
) -> None:
    weights = own.parent / "model" / "model.safetensors"
    tensors = load_file(weights)
    word = claims.rows()[0]["prompt"].split()[-2]
    tokenizer = json.loads((own.parent / "model" / "tokenizer.json").read_text())
    ids = [id for text, id in tokenizer["model"]["vocab"].items() if text.strip() == word]
    tensors["model.embed_tokens.weight"][ids] = float("nan")
    save_file(tensors, weights, metadata={"format": "pt"})
    run = recoverdsl.load(own).run(store=tmp_path)
    failed = run.result.environment["failed"]
    assert 0 < len(failed) < run.result.counts.examples
    assert set(failed.values()) == {"a score, logit or gradient was not a finite number"}
    assert run.result.counts.failed == len(failed)
    # Nor does it count in the ranking of features, which says so.
    assert f"left out {len(failed)} example" in " ".join(cautions(run.result))
    (features,) = run.result.environment["features"].values()
    assert all(effect > 0 for sae in features.values() for effect in sae["effects"])


def test_a_feature_named_twice_is_clamped_once(own: Path, tmp_path: Path) -> None:
    text = own.read_text()
    start = text.index("select")
    line = text[start : text.index("\n", start)]
    digests = []
    for ids in ("features(3, 5)", "features(5, 3, 5)"):
        own.write_text(text.replace(line, f"select = {ids}"))
        digests.append({node.digest for node in recoverdsl.load(own).graph("cpu")})
    assert digests[0] == digests[1]


def test_no_verdict_is_left_beside_another_spec(own: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    recoverdsl.load(own).run(out, store=tmp_path / "store")
    assert (out / "result.json").exists()
    edit(own, "top(10", "top(60")
    with pytest.raises(UnavailableError):
        recoverdsl.load(own).run(out, store=tmp_path / "store")
    assert not (out / "result.json").exists()
    assert not (out / "report.html").exists()


def test_an_error_message_cannot_drive_the_terminal(own: Path) -> None:
    edit(own, '"{io}"' if '"{io}"' in own.read_text() else '" {io}"', '" {io} {io}"')
    rows = own.parent / "prompts.jsonl"
    lines = [
        json.dumps(json.loads(line) | {"id": f"\x1b]0;title\x07{at}"})
        for at, line in enumerate(rows.read_text().splitlines())
    ]
    rows.write_text("\n".join(lines) + "\n")
    done = cli("run", own, "--out", own.parent / "out", "--store", own.parent / "store")
    assert done.code == 3
    assert "title" in done.err
    assert "\x1b" not in done.err
