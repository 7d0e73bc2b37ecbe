"""`recoverdsl new`: what it writes is valid and in canonical style, for every combination of options."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recoverdsl
from recoverdsl.audit.records import Run
from recoverdsl.compiler.support import refuse_unsupported
from recoverdsl.errors import UsageError
from recoverdsl.language import format_text, load_spec
from recoverdsl.language.schema import (
    AnswerOf,
    BehaviorOf,
    Folder,
    HuggingFace,
    Release,
    Site,
    TopToken,
    uses,
)
from recoverdsl.language.schema.unrelated import rival_of
from recoverdsl.report.specificity import specificity
from recoverdsl.scaffold.spec import starting_spec
from tests.hub import Hub
from tests.run.commands import cli
from tests.specs import small

SPECS = Path(__file__).parents[2] / "specs"
SCOPE = "release:gemma-scope-2b-pt-res-canonical/layer_{}/width_16k/canonical"
COMMIT = "12fd25f77366fa6b3b4b768ec3050bf629380bac"


@pytest.mark.parametrize("kind", ["scores", "refusal"])
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--sae", SCOPE.format(12)],
        ["--sae", SCOPE.format(12), "--layer", "12", "--model", "huggingface:google/gemma-2-2b-it"],
        ["--sae", SCOPE.format(8), "--sae", SCOPE.format(20), "--model", f"huggingface:google/gemma-2-2b-it@{COMMIT}"],
        ["--sae", "release:gpt2-small-res_sce-ajt/blocks.6.hook_resid_pre"],
        ["--sae", "release:llama_scope_lxr_8x/l15r_8x"],
        ["--sae", "release:qwen-scope-3-1.7b-base-w32k-l50/layer14"],
        ["--sae", f"folder:{SPECS}/saes/smollm2-135m/layer14", "--model", "folder:model"],
        ["--sae", "folder:nowhere", "--layer", "0", "--model", "folder:some where/In"],
        ["--sae", "huggingface:someone/saes/layer 3", "--layer", "3", "--model", "huggingface:someone/1b"],
    ],
    ids=lambda options: " ".join(options)[:60] or "default",
)  # fmt: skip
def test_what_is_written_passes_check_and_fmt_and_can_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, options: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("new", "claim.rec", "--kind", kind, *options)
    assert done.code == 0, done.said
    assert cli("check", "claim.rec").code == 0
    assert cli("fmt", "--check", "claim.rec").code == 0
    assert cli("new", "-", "--kind", kind, *options).out == Path("claim.rec").read_text()
    refuse_unsupported(load_spec(Path("claim.rec")))


def test_the_default_is_the_model_and_the_saes_of_the_shipped_specs() -> None:
    for kind, name in (("scores", "ioi"), ("refusal", "refusal")):
        text, warnings = starting_spec(str(SPECS / "claim.rec"), kind=kind)
        ours, shipped = load_spec(text), load_spec(SPECS / f"{name}.rec")
        assert (ours.models, ours.saes) == (shipped.models, shipped.saes)
        assert warnings == ()


def test_each_kind_tries_an_unrelated_target() -> None:
    scores, refusal = (
        load_spec(starting_spec("claim.rec", kind=kind)[0]) for kind in ("scores", "refusal")
    )
    assert scores.controls["unrelated"].target == BehaviorOf(
        "names_the_recipient", "another_example"
    )
    assert refusal.controls["unrelated"].target == AnswerOf("another_example")
    for spec in (scores, refusal):
        (claim, *_) = spec.expects
        assert spec.controls["unrelated"].of == claim.subject
        assert rival_of(spec.controls, claim.subject) == "unrelated"
    # The question is read as a reader means it; a weaker reading ranks the features alone.
    assert uses.tested(scores) == ["names_the_recipient"]
    assert scores.behaviors["names_the_recipient"].holds == TopToken(" {io}")


def test_what_is_written_runs_and_compares_with_the_unrelated_target(tmp_path: Path) -> None:
    values = small.SMALL["ioi"].stand_in(tmp_path, Hub(), pytest.MonkeyPatch())
    path = tmp_path / "mine.rec"
    path.write_text(starting_spec(str(path))[0])
    cheaper = {
        **{at: value for at, value in small.SMALL["ioi"].cheaper.items() if "projected" not in at},
        "unconstrained.steps": "10", "unconstrained.with": "adam(lr = 1)",
    }  # fmt: skip
    run = recoverdsl.load(path, set={**values, **cheaper}).run(store=tmp_path / "store")
    assert isinstance(run, Run)
    result = run.result
    assert result.counts.valid_flips > 0
    assert list(result.controls) == ["unrelated", "noise", "unrelated unclamped"]
    assert [one.control for one in result.specificities] == ["unrelated"]
    without = result.controls["unrelated unclamped"]
    assert [budget.limit for budget in without.budgets] == [4.0]
    (said,) = specificity(result)
    (pair,) = (pair for pair in result.specificities[0].budgets if pair.norm == 4.0)
    rows = run.examples[
        (run.examples["name"] == "unrelated unclamped") & run.examples["failed"].isna()
    ]
    assert said.startswith(
        f"At norm 4, the limit of the claim, projected recovers {pair.own} of {pair.n}"
    )
    assert f"Without the clamp it reaches the other target in {rows['recovered'].sum()} of {len(rows)} (unrelated unclamped)" in said  # fmt: skip


def test_what_the_default_needs_beside_it_is_said(tmp_path: Path) -> None:
    done = cli("new", tmp_path / "claim.rec")
    assert done.code == 0
    assert "warning: saes/smollm2-135m/layer14 is not beside the spec" in done.err


def test_a_release_says_where_it_reads_and_which_model_it_was_trained_on() -> None:
    spec = load_spec(starting_spec("claim.rec", saes=(SCOPE.format(12),))[0])
    (model,), (sae,) = spec.models.values(), spec.saes.values()
    assert model.source == HuggingFace("google/gemma-2-2b")
    assert sae.source == Release("gemma-scope-2b-pt-res-canonical", "layer_12/width_16k/canonical")
    assert sae.reads == Site("gemma_2_2b", 12, "output")


def test_an_sae_before_a_layer_reads_its_input() -> None:
    saes = ("release:gpt2-small-res-jb/blocks.8.hook_resid_pre",)
    text, _ = starting_spec("claim.rec", saes=saes)
    assert load_spec(text).saes["before_layer8"].reads == Site("gpt2", 8, "input")


def test_saes_of_two_models_are_in_no_spec_together() -> None:
    saes = (SCOPE.format(12), "release:gpt2-small-res-jb/blocks.8.hook_resid_pre")
    with pytest.raises(UsageError, match="different models"):
        starting_spec("claim.rec", saes=saes)


def test_a_folder_says_where_it_reads_and_is_written_from_the_spec(tmp_path: Path) -> None:
    folder = tmp_path / "saes" / "mine"
    folder.mkdir(parents=True)
    metadata = {"hook_name": "blocks.7.hook_resid_pre", "model_name": "some/model"}
    (folder / "cfg.json").write_text(json.dumps({"metadata": metadata}))
    text, _ = starting_spec(
        str(tmp_path / "specs/claim.rec"), saes=(f"folder:{folder}",), model=f"folder:{tmp_path}/m"
    )
    spec = load_spec(text)
    (sae,) = spec.saes.values()
    assert sae.source == Folder("../saes/mine")
    assert sae.reads == Site("m", 7, "input")
    assert spec.models["m"].source == Folder("../m")
    assert "# Trained on some/model.\n" in text


def test_what_a_folder_says_cannot_write_into_the_spec(tmp_path: Path) -> None:
    metadata = {"hook_name": "blocks.7.hook_resid_post", "model_name": "x\nattack evil {"}
    (tmp_path / "cfg.json").write_text(json.dumps({"metadata": metadata}))
    text, _ = starting_spec("claim.rec", saes=(f"folder:{tmp_path}",), model="folder:m")
    assert "evil" not in text


words = st.text(min_size=1, max_size=20)


@settings(max_examples=30, deadline=None)
@given(words, words, st.sampled_from(["scores", "refusal"]))
def test_no_path_can_write_into_the_spec(model: str, sae: str, kind: str) -> None:
    text, _ = starting_spec(
        "claim.rec", model=f"folder:{model}", saes=(f"folder:{sae}",), layers=(3,), kind=kind
    )
    assert format_text(text) == text
    spec = load_spec(text)
    behaviors = {"scores": 2, "refusal": 1}[kind]
    assert (len(spec.models), len(spec.saes), len(spec.behaviors)) == (1, 1, behaviors)
    assert all(isinstance(block.source, Folder) for block in (*spec.models.values(), *spec.saes.values()))  # fmt: skip


# --- Files ------------------------------------------------------------------------------------


def test_a_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    spec = tmp_path / "claim.rec"
    spec.write_text("mine")
    done = cli("new", spec)
    assert (done.code, done.out) == (2, "")
    assert "this file exists already" in done.err and "--force" in done.err
    assert spec.read_text() == "mine"
    assert cli("new", spec, "--force").code == 0
    assert spec.read_text().startswith("recoverdsl 1\n")


def test_a_file_that_appears_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tmp_path / "claim.rec"
    spec.write_text("mine")
    monkeypatch.setattr(Path, "exists", lambda path: False)
    assert cli("new", spec).code == 2
    assert spec.read_text() == "mine"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = cli("new", tmp_path / "nowhere/claim.rec")
    assert done.code == 3
    assert "this file cannot be written" in done.err


# --- What is wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--sae", SCOPE.format(12), "--layer", "11"], "expected layer 12, found 11"),
        (["--sae", SCOPE.format(99)], "did you mean layer_"),
        (["--sae", "release:gemma-scope-2b-pt-mlp-canonical/layer_12/width_16k/canonical"], "does not read the residual stream"),
        (["--sae", "release:gemma-scope-2b-pt-mlp-canonical/layer_12/width_16k/canonical", "--layer", "12"], "does not read the residual stream"),
        (["--sae", "gemma"], "expected an SAE, found 'gemma'"),
        (["--sae", "folder:nowhere", "--model", "folder:m"], "name it with --layer"),
        (["--sae", "folder:nowhere", "--layer", "1"], "the model that these SAEs read is not known"),
        (["--model", "folder:m"], "expected an SAE of this model, found none"),
        (["--model", "gemma", "--sae", SCOPE.format(12)], "expected a model, found 'gemma'"),
        (["--sae", SCOPE.format(12), "--sae", SCOPE.format(12)], "two SAEs read the same point"),
        (["--sae", SCOPE.format(12), "--layer", "12", "--layer", "13"], "expected one --layer for each --sae, found 2 for 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    tmp_path: Path, options: list[str], says: str
) -> None:
    done = cli("new", tmp_path / "claim.rec", *options)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert not (tmp_path / "claim.rec").exists()


def test_a_spec_is_a_file_that_is_named_so(tmp_path: Path) -> None:
    done = cli("new", tmp_path / "claim.txt")
    assert done.code == 2
    assert "expected a file name ending in .rec" in done.err


def test_sae_lens_is_not_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from recoverdsl.commands.app import app\n"
        f"app.main(['new', {str(tmp_path / 'claim.rec')!r}, '--sae', {SCOPE.format(12)!r}], standalone_mode=False)\n"
        "assert not {'torch', 'transformers', 'sae_lens', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert (tmp_path / "claim.rec").is_file()
