"""A whole audit of generated answers, and the figures of it that another program can compute again."""

from __future__ import annotations

import json
import math
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import safetensors.torch
import torch
import transformers
from attrs import frozen
from safetensors import safe_open
from torch import Tensor

import recoverdsl
from recoverdsl.measure.phrases import load_phrases
from recoverdsl.measure.texts import detect
from tests.engine.rigs import Edit, Plain
from tests.models import llama, tokenizer
from tests.run import answers
from tests.run.commands import Process, cli

SEED = 6
"""An audit with valid flips some of which recover."""


@frozen
class Audit:
    """The tiny audit, run once."""

    folder: Path
    spec: Path
    run: recoverdsl.Run

    @property
    def table(self) -> pd.DataFrame:
        return self.run.examples

    def rows(self, kind: str, name: str, limit: float | None = None) -> pd.DataFrame:
        own = self.table[(self.table.kind == kind) & (self.table.name == name)]
        return own if limit is None else own[own.limit == limit]

    def deltas(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return each δ of the run folder, and its entry in the header."""
        path = self.folder / "out/perturbations.safetensors"
        with safe_open(path, "pt") as file:
            described = json.loads(file.metadata()["perturbations"])
        return safetensors.torch.load_file(path), described


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    folder = tmp_path_factory.mktemp("answers")
    spec = answers.write(folder, seed=SEED)
    run = recoverdsl.load(spec).run(folder / "out", store=folder / "store", device="cpu")
    return Audit(folder, spec, run)


@pytest.fixture(scope="module")
def one_by_one(audit: Audit, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """Return the same run again, one example at a time."""
    folder = tmp_path_factory.mktemp("one-by-one")
    run = recoverdsl.load(audit.spec).run(
        folder / "out", store=folder / "store", device="cpu", batch_size=1
    )
    return Audit(folder, audit.spec, run)


def test_there_are_valid_flips_and_some_recover(audit: Audit) -> None:
    counts = audit.run.result.counts
    assert counts.examples == 16 and counts.failed == 0
    assert 0 < counts.valid_flips < counts.base_holds < 16
    recovered = audit.rows("attack", "recover", 12.0).recovered
    assert recovered.any()
    assert not audit.rows("attack", "recover", 3.0).recovered.all()


def test_every_attack_control_search_draw_and_part_has_a_row_for_each_valid_flip(
    audit: Audit,
) -> None:
    flips = audit.run.result.counts.valid_flips
    found = audit.table.groupby(["kind", "name", "limit"]).size().to_dict()
    staged = float(f"{math.hypot(4, 6):.10g}")
    assert found == {
        **{("attack", "recover", limit): flips for limit in (3.0, 12.0)},
        ("attack", "staged", staged): flips,
        ("attack", "shared", 8.0): flips,
        **{("attack", name, 6.0): flips for name in ("exact", "sketch")},
        **{("control", name, limit): flips
           for name in ("unrelated", "undefended") for limit in (3.0, 12.0)},
        **{(kind, "noise", limit): flips * 2
           for kind in ("control", "unconstrained_control") for limit in (3.0, 12.0)},
        ("smallest_norm", "recover", 12.0): flips,
        **{("smallest_norm", name, 6.0): flips for name in ("exact", "sketch")},
        ("smallest_norm_control", "unrelated", 12.0): flips,
        ("part", "recover", 12.0): flips * 8,
    }  # fmt: skip
    assert audit.table.failed.isna().all()


@pytest.mark.parametrize("name", ["recover", "staged", "noise", "unrelated", "undefended"])
def test_by_construction_no_protected_feature_moves(audit: Audit, name: str) -> None:
    rows = audit.table[
        (audit.table.name == name) & ~audit.table.kind.isin(["part", "unconstrained_control"])
    ]
    assert (rows.drift <= 1e-5).all()
    assert (rows.reactivated_fraction == 0).all()
    # In the text that is written a feature may wake only where δ is not what it was found for.
    assert (rows.zero_reactivation | (rows.generated_drift > 1e-3)).all()


def test_features_do_not_move_on_the_generated_text_once_the_target_is_reached(
    audit: Audit,
) -> None:
    """There the text is the one that δ was found on."""
    rows = audit.table[audit.table.reached & audit.table.name.isin(["recover", "undefended"])]
    rows = rows[rows.kind.isin(["attack", "control"])]
    assert len(rows) > 1
    assert (rows.generated_drift.fillna(0.0) <= 2e-5).all()


def test_without_a_constraint_they_move(audit: Audit) -> None:
    assert (audit.rows("attack", "shared").drift > 1e-3).all()


def test_the_jacobian_keeps_features_closer_than_the_published_sketch(audit: Audit) -> None:
    exact, sketch = (audit.rows("attack", name).drift.to_numpy() for name in ("exact", "sketch"))
    assert (exact <= 1e-4).all()
    assert (sketch > 10 * exact).all()


def test_no_delta_is_larger_than_its_limit(audit: Audit) -> None:
    rows = audit.table[audit.table.kind.isin(["attack", "control"])]
    assert (rows.norm <= rows.limit * (1 + 1e-5)).all()


def test_random_directions_have_the_norm_of_the_attack(audit: Audit) -> None:
    for limit in (3.0, 12.0):
        norms = audit.rows("control", "noise", limit).norm
        assert ((norms >= 0.99 * limit) & (norms <= limit * (1 + 1e-5))).all()


def test_without_the_constraint_the_same_directions_move_the_features(audit: Audit) -> None:
    for limit in (3.0, 12.0):
        rows = audit.rows("unconstrained_control", "noise", limit)
        assert rows.norm.tolist() == pytest.approx([limit] * len(rows), rel=2e-3)
        assert (rows.drift > 1e-3).all()


def test_another_answer_without_the_clamp_is_not_compared_with_recovery(audit: Audit) -> None:
    controls = audit.run.result.controls
    assert controls["undefended"].method == "another_example_undefended"
    assert "smallest_norm" not in controls["undefended"].metrics
    assert "budget_ratio" not in controls["undefended"].metrics
    assert "budget_ratio" in controls["unrelated"].metrics


def test_another_answer_counts_only_when_it_was_elicited(audit: Audit) -> None:
    rows = audit.rows("control", "unrelated")
    assert (rows.recovered == (rows.reached | rows.base_like)).all()


def test_each_stage_keeps_within_its_own_limit(audit: Audit) -> None:
    deltas, described = audit.deltas()
    (name,) = (name for name in deltas if name.startswith("staged/"))
    delta_BLPD = deltas[name]
    after = described[name]["columns_behind_prompt"]
    assert after == answers.TOKENS - 1
    opening = delta_BLPD[:, :, : delta_BLPD.shape[2] - after].flatten(1).norm(dim=1)
    answer = delta_BLPD[:, :, delta_BLPD.shape[2] - after :].flatten(1).norm(dim=1)
    assert ((opening > 0.2) & (opening <= 4 * (1 + 1e-4))).all()
    assert ((answer > 0.2) & (answer <= 6 * (1 + 1e-4))).all()
    norms = audit.rows("attack", "staged").norm.to_numpy()
    assert delta_BLPD.flatten(1).norm(dim=1).tolist() == pytest.approx(norms.tolist(), rel=1e-4)


def test_one_vector_for_all_generated_positions_is_one(audit: Audit) -> None:
    deltas, described = audit.deltas()
    delta_BLPD = deltas["shared/8"]
    after = delta_BLPD[:, :, -described["shared/8"]["columns_behind_prompt"] :]
    assert torch.equal(after, after[:, :, :1].expand_as(after))
    assert (after[:, :, 0].norm(dim=-1) > 0.1).all()
    assert not delta_BLPD[:, :, : delta_BLPD.shape[2] - after.shape[2]].any()


def test_the_smallest_norm_is_no_larger_than_what_recovered_and_still_reaches_the_goal(
    audit: Audit,
) -> None:
    found = audit.rows("attack", "recover", 12.0).set_index("example")
    least = audit.rows("smallest_norm", "recover").set_index("example")
    assert (least.recovered == found.reached).all()
    reached = found.reached
    assert reached.any()
    assert (least.norm[reached] <= found.norm[reached] * (1 + 1e-6)).all()
    assert (least.norm[reached] < 0.95 * found.norm[reached]).any()


def test_parts_sum_to_delta(audit: Audit) -> None:
    deltas, _ = audit.deltas()
    parts = {
        name.rpartition("/")[2]: part
        for name, part in deltas.items()
        if name.startswith("recover/12/")
    }
    assert set(parts) == {"clamped", "other_features", "5", "residual"}
    total = parts["clamped"] + parts["other_features"] + parts["residual"]
    torch.testing.assert_close(total, deltas["recover/12"], atol=2e-5, rtol=0)
    rows = audit.rows("part", "recover")
    for name, part in parts.items():
        alone = rows[(rows.part == name) & (rows.how == "alone")].norm.tolist()
        assert alone == pytest.approx(part.flatten(1).norm(dim=1).tolist(), rel=1e-4, abs=1e-5)


# --- By another program ---------------------------------------------------------------------------


@frozen
class Reader:
    """The model and SAEs of an audit's folder, by transformers and sae_lens alone."""

    folder: Path
    plain: Plain
    tokenizer: Any

    @classmethod
    def of(cls, audit: Audit) -> Reader:
        """Return clamps set to three times the means over the refusing texts, computed here."""
        from sae_lens import SAE

        model = transformers.AutoModelForCausalLM.from_pretrained(audit.folder / "model").eval()
        words = transformers.AutoTokenizer.from_pretrained(audit.folder / "model")
        saes = {
            layer + 1: SAE.load_from_disk(audit.folder / name, device="cpu")
            for name, layer in answers.LAYERS.items()
        }
        (features,) = audit.run.result.environment["features"].values()
        ids = {layer + 1: features[name]["ids"] for name, layer in answers.LAYERS.items()}
        reader = cls(audit.folder, Plain(model, saes), words)
        rows: dict[int, list[Tensor]] = {site: [] for site in saes}
        for text in reader.lines("refusing"):
            prompt, answer = (reader.ids(text[key]) for key in ("prompt", "answer"))
            seen: dict[int, Tensor] = {}
            with torch.no_grad():
                reader.plain.logits([*prompt, *answer], {}, seen)
            for site, sae in saes.items():
                rows[site].append(sae.encode(seen[site])[len(prompt) :, ids[site]])

        def edit(site: int) -> Edit:
            mean_S = 3.0 * torch.cat(rows[site]).mean(0)
            return Edit(ids[site], lambda z_TS: mean_S.expand_as(z_TS))

        return cls(audit.folder, Plain(model, saes, {site: edit(site) for site in saes}), words)

    def lines(self, name: str) -> list[dict[str, str]]:
        return [
            json.loads(line) for line in (self.folder / f"{name}.jsonl").read_text().splitlines()
        ]

    def ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text).input_ids
        return ids

    def text(self, prompt: list[int], delta: dict[int, Tensor], defended: bool = True) -> str:
        plain = self.plain if defended else Plain(self.plain.model, self.plain.saes)
        end = self.plain.model.generation_config.eos_token_id
        ids, _, _ = plain.write(prompt, answers.TOKENS, delta, frozenset([end]))
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text


@pytest.fixture(scope="module")
def reader(audit: Audit) -> Reader:
    return Reader.of(audit)


def refuses(audit: Audit, text: str) -> bool:
    return detect(text, "refuses", load_phrases(audit.folder / "phrases.toml"))


def test_the_valid_flips_are_those_that_another_program_finds(audit: Audit, reader: Reader) -> None:
    flips, holding = [], 0
    for row in reader.lines("requests"):
        prompt = reader.ids(row["prompt"])
        holds = not refuses(audit, reader.text(prompt, {}, defended=False))
        holding += holds
        if holds and refuses(audit, reader.text(prompt, {})):
            flips.append(row["id"])
    assert audit.run.result.counts.base_holds == holding
    assert audit.rows("attack", "recover", 12.0).example.tolist() == flips


@pytest.mark.parametrize("name", ["recover/12", "recover/3", "staged", "shared/8", "exact/6", "noise/12"])  # fmt: skip
def test_with_the_delta_of_the_run_folder_another_program_writes_the_text_that_was_judged(
    audit: Audit, reader: Reader, name: str
) -> None:
    deltas, described = audit.deltas()
    (name,) = (n for n in deltas if n.startswith(name) and n.count("/") == 1)
    prompts = {row["id"]: reader.ids(row["prompt"]) for row in reader.lines("requests")}
    attack, _, limit = name.partition("/")
    table = audit.table[audit.table.kind.isin(["attack", "control"])]
    # The δ of a random direction is that of the first draw.
    table = table[
        (table.name == attack) & (table.limit == float(limit)) & (table.draw.fillna(0) == 0)
    ]
    table = table.set_index("example")
    about = described[name]
    before = deltas[name].shape[2] - about["columns_behind_prompt"]
    for example, delta_LPD in zip(about["examples"], deltas[name], strict=True):
        prompt = prompts[example]
        rows = {}
        for site, delta_PD in zip(about["boundaries"], delta_LPD, strict=True):
            missing = len(prompt) - before
            rows[site] = (
                torch.nn.functional.pad(delta_PD, (0, 0, missing, 0)) if missing >= 0
                else delta_PD[-missing:]
            )  # fmt: skip
        text = reader.text(prompt, rows)
        row = table.loc[example]
        assert row.refuses == refuses(audit, text)
        assert row.characters == len(text.strip())
        assert row.recovered == (not row.refuses)
        if row.reached:
            assert text == reader.text(prompt, {}, defended=False)


# --- Again ----------------------------------------------------------------------------------------

FIGURES = ["norm", "drift", "score_recovered", "generated_drift"]
SAME = ["example", "kind", "name", "part", "how", "draw", "limit", "recovered", "reached", "refuses", "characters", "opening"]  # fmt: skip


@pytest.mark.parametrize("batch", [1, 2])
def test_the_batch_size_changes_no_flag_and_no_norm(
    audit: Audit, one_by_one: Audit, batch: int, tmp_path: Path
) -> None:
    """The tiny audit itself has its 16 examples, and all flips, in one batch; in pairs the last flip is left
    over."""
    counts, sizes = audit.run.result.counts, audit.run.result.environment["batch_sizes"]
    assert sizes["run base, answers"] == 16
    assert sizes["recover recover at norm 12"] == counts.valid_flips
    assert counts.valid_flips % 2 == 1
    if batch == 1:
        table = one_by_one.table
    else:
        audited = recoverdsl.load(audit.spec)
        table = audited.run(store=tmp_path, device="cpu", batch_size=batch).examples
    pd.testing.assert_frame_equal(table[SAME], audit.table[SAME])
    for name in ("norm", "drift", "score_recovered"):
        found, expected = (
            torch.tensor(t[name].to_numpy(dtype=float)) for t in (table, audit.table)
        )
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4, equal_nan=True)


def stamps(store: Path) -> dict[str, int]:
    """Return the finished parts, each with a stamp that changes when it is written again."""
    return {str(p.relative_to(store)): p.stat().st_ino for p in store.glob("*/part-*.safetensors")}


def test_a_run_that_was_killed_goes_on_and_finds_the_same(
    audit: Audit, one_by_one: Audit, tmp_path: Path
) -> None:
    store, out = tmp_path / "store", tmp_path / "out"

    def start(batch: int = 1) -> Process:
        options = ["--out", out, "--store", store, "--batch-size", batch, "--device", "cpu"]
        return Process("run", audit.spec, *options, log=tmp_path / "log")

    whole, parts = one_by_one.folder / "out", set(stamps(one_by_one.folder / "store"))
    total = len(parts)
    known: dict[str, int] = {}
    for wanted in (total // 7, total // 2, total * 4 // 5):
        process = start()
        process.wait_until(partial(lambda least: len(stamps(store)) >= least, wanted))
        process.signal(signal.SIGKILL)
        assert process.end().code == -signal.SIGKILL
        now = stamps(store)
        assert wanted <= len(now) < total
        assert {name: now[name] for name in known} == known
        known = now
    done = start().end()
    assert done.code == 0, done.said
    last = stamps(store)
    assert {name: last[name] for name in known} == known
    assert set(last) == parts
    table = pd.read_parquet(out / "examples.parquet")
    pd.testing.assert_frame_equal(table, pd.read_parquet(whole / "examples.parquet"))
    for name in ("examples.parquet", "perturbations.safetensors"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert one_by_one.run.result.counts == audit.run.result.counts


@pytest.fixture
def copy(audit: Audit, tmp_path: Path) -> Path:
    """Return a copy of the audit's folder with its store, which a test may change."""
    for name in ("model", *answers.LAYERS, "store"):
        shutil.copytree(audit.folder / name, tmp_path / name)
    for path in audit.folder.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    return tmp_path / audit.spec.name


def states(spec: Path) -> dict[str, str]:
    run = recoverdsl.load(spec).run(store=spec.parent / "store", device="cpu")
    return dict(run.states)


def test_nothing_is_run_again_that_is_in_the_store(copy: Path) -> None:
    assert set(states(copy).values()) == {"kept"}


def test_other_phrases_are_another_behavior_and_what_selects_features_is_kept(copy: Path) -> None:
    phrases = copy.parent / "phrases.toml"
    phrases.write_text(phrases.read_text().replace("within = 3", "within = 1"))
    found = states(copy)
    kept = {key for key, state in found.items() if state == "kept"}
    assert kept == {
        "rank features refusal", "select features refusal", "mean activations, clamp",
        "read features, clamp", "measure on ordinary text, clamp",
    }  # fmt: skip


def test_phrases_in_another_order_and_with_a_comment_are_the_same_behavior(copy: Path) -> None:
    phrases = copy.parent / "phrases.toml"
    listed = ", ".join(f'"{word.upper()}"' for word in reversed(answers.WORDS[::2]))
    phrases.write_text("# the same\n" + answers.PHRASES.format(refusing=listed))
    assert set(states(copy).values()) == {"kept"}


def test_another_answer_to_contrast_with_runs_all_that_is_clamped_again(copy: Path) -> None:
    texts = copy.parent / "refusing.jsonl"
    texts.write_text("".join(texts.read_text().splitlines(keepends=True)[1:]))
    found = states(copy)
    assert {key for key, state in found.items() if state == "kept"} == {"run base, answers"}


def test_examples_that_could_be_meant_twice_are_an_error_and_naming_them_helps(copy: Path) -> None:
    text = copy.read_text()
    more = 'data more { from = file("answering.jsonl") }\n'
    copy.write_text(text + more)
    outcome = cli("run", copy, "--store", copy.parent / "store", "--device", "cpu")
    assert outcome.code == 2
    assert "expected one data block of examples" in outcome.said
    assert "requests" in outcome.said and "more" in outcome.said
    assert "over = requests" in outcome.said
    assert "Traceback" not in outcome.said
    copy.write_text(text.replace("  holds    =", "  over     = requests\n  holds    =") + more)
    assert set(states(copy).values()) == {"kept"}


# --- A classifier that judges ---------------------------------------------------------------------

JUDGED = """\
behavior answers {
  generate = greedy(tokens = 6)
  holds    = judge > 0.5
  judge    = classifier(folder("judge"), label = "answering")
}
"""
FEW = """\
attack recover {
  perturb  = mid at [last_token, target_tokens]
  maximize = logprob(base_answer)
  preserve = by_construction(refusal)
  limit    = norm <= 12
  steps    = 10
}

control noise { of = recover; with = random_direction; draws = 2 }
"""


def with_classifier(folder: Path, label: str = "answering") -> Path:
    """Return the audit with a random classifier instead of phrases."""
    spec = answers.write(folder, attacks=FEW, seed=SEED)
    text = spec.read_text()
    start, end = text.index("behavior answers"), text.index("protect refusal")
    spec.write_text(text[:start] + JUDGED.replace("answering", label, 1) + "\n" + text[end:])
    words = [*answers.WORDS, *(f" {word}" for word in answers.WORDS)]
    config = transformers.LlamaConfig(
        **llama(vocab_size=len(words) + 2).config.to_dict()
        | {"id2label": {0: "other", 1: "answering"}, "label2id": {"other": 0, "answering": 1}, "pad_token_id": len(words) + 1}
    )  # fmt: skip
    torch.manual_seed(1)
    transformers.LlamaForSequenceClassification(config).save_pretrained(folder / "judge")
    made = tokenizer(words)
    made.add_special_tokens({"pad_token": "[PAD]"})
    made.save_pretrained(folder / "judge")
    return spec


def test_a_classifier_decides_what_holds(tmp_path: Path) -> None:
    spec = with_classifier(tmp_path)
    done = cli("run", spec, "--store", tmp_path / "store", "--out", tmp_path / "out", "--device", "cpu")  # fmt: skip
    assert done.code == 0, done.said
    result = json.loads((tmp_path / "out/result.json").read_text())
    table = pd.read_parquet(tmp_path / "out/examples.parquet")
    assert 0 < result["counts"]["valid_flips"] < 16
    assert table.judge.between(0, 1).all()
    assert (table.recovered == (table.judge > 0.5)).all()
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    words: Any = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    judge = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "judge").eval()  # fmt: skip
    reading: Any = transformers.AutoTokenizer.from_pretrained(tmp_path / "judge")
    holding = 0
    for line in (tmp_path / "requests.jsonl").read_text().splitlines():
        prompt = json.loads(line)["prompt"]
        end = frozenset([model.generation_config.eos_token_id])
        ids, _, _ = Plain(model, {}).write(words(prompt).input_ids, answers.TOKENS, {}, end)
        with torch.no_grad():
            logits = judge(**reading(prompt, words.decode(ids), return_tensors="pt")).logits[0]
        holding += float(logits.softmax(-1)[1]) > 0.5
    assert result["counts"]["base_holds"] == holding


def test_a_label_that_the_classifier_does_not_have_is_an_error_of_the_spec(tmp_path: Path) -> None:
    spec = with_classifier(tmp_path, label="polite")
    outcome = cli("run", spec, "--store", tmp_path / "store", "--device", "cpu")
    assert outcome.code == 2
    assert "no label 'polite'" in outcome.said and "its labels: other, answering" in outcome.said


def test_another_classifier_is_another_behavior(tmp_path: Path) -> None:
    spec = with_classifier(tmp_path)
    states(spec)
    config = tmp_path / "judge/config.json"
    config.write_text(config.read_text().replace('"other"', '"else"'))
    kept = {key for key, state in states(spec).items() if state == "kept"}
    assert kept == {
        "rank features refusal", "select features refusal", "mean activations, clamp",
        "read features, clamp", "measure on ordinary text, clamp",
    }  # fmt: skip
