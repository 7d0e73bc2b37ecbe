"""The command line: its output, its exit codes and its errors."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tests import models
from tests.run import claims
from tests.run.commands import Outcome, cli

FULL = Path(__file__).parent.parent / "language" / "full.rec"


@frozen
class Bench:
    """A claim, and a store that holds a run of it."""

    claim: Path
    store: Path
    out: Path
    first: Outcome

    def run(self, out: Path, *options: object) -> Outcome:
        """Run the claim again, on the same store."""
        return cli(
            "run", self.claim, "--out", out, "--store", self.store, "--batch-size", 4, *options
        )


@pytest.fixture(scope="module")
def bench(claim: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    out, store = folder / "out", folder / "store"
    first = cli("run", claim, "--out", out, "--store", store, "--batch-size", 4)
    return Bench(claim, store, out, first)


@pytest.fixture
def own(claim: Path, tmp_path: Path) -> Path:
    """Return a copy of the claim that a test may change."""
    shutil.copytree(claim.parent, tmp_path / "own")
    return tmp_path / "own" / claim.name


def edit(spec: Path, old: str, new: str) -> None:
    assert old in spec.read_text()
    spec.write_text(spec.read_text().replace(old, new))


def run(spec: Path, *options: object) -> Outcome:
    """Run a spec that is expected to end soon, with its results beside it."""
    out, store = spec.parent / "out", spec.parent / "store"
    return cli("run", spec, "--out", out, "--store", store, *options)


# --- A run and its result ---


def test_a_run_whose_expectations_hold_ends_with_0_and_says_so(bench: Bench) -> None:
    assert bench.first.code == 0, bench.first.said
    assert "The claim holds" in bench.first.out
    assert "✓ met  recovery_rate(projected) >= 0%" in bench.first.out
    assert "report.html" in bench.first.out


def test_a_run_leaves_every_file_of_its_folder(bench: Bench) -> None:
    assert {path.name for path in bench.out.iterdir()} == {
        "result.json", "examples.parquet", "perturbations.safetensors", "spec.rec",
        "environment.json", "events.jsonl", "report.html",
    }  # fmt: skip


def test_the_environment_has_the_seconds_of_each_step_that_the_store_keeps(bench: Bench) -> None:
    environment = json.loads((bench.out / "environment.json").read_text())
    events = [json.loads(line) for line in (bench.out / "events.jsonl").read_text().splitlines()]
    ended = {event["step"] for event in events if event["event"] == "ended"}
    assert environment["seconds"].keys() == ended


def test_the_claim_of_these_tests_has_flips_of_which_some_recover_and_some_do_not(
    bench: Bench,
) -> None:
    result = json.loads((bench.out / "result.json").read_text())
    assert result["counts"]["valid_flips"] >= 5
    assert 0 < result["attacks"]["projected"]["metrics"]["recovery_rate"]["value"] < 1


def test_a_second_run_computes_nothing_says_so_and_finds_the_same(
    bench: Bench, tmp_path: Path
) -> None:
    again = bench.run(tmp_path / "out")
    assert again.code == 0
    assert "Nothing was computed: the results of all steps are from an earlier run." in again.out
    events = [json.loads(line) for line in (tmp_path / "out/events.jsonl").read_text().splitlines()]
    assert {event["state"] for event in events if event["event"] == "ended"} == {"kept"}
    assert not [event for event in events if event["event"] == "began"]
    for name in ("result.json", "examples.parquet", "perturbations.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (bench.out / name).read_bytes()


def test_json_prints_the_result_and_nothing_else_on_standard_output(
    bench: Bench, tmp_path: Path
) -> None:
    done = bench.run(tmp_path / "out", "--json")
    assert done.out == (tmp_path / "out/result.json").read_text()
    assert json.loads(done.out)["schema"] == "recoverdsl/result/2"
    assert done.code == 0


def test_an_expectation_that_does_not_hold_ends_with_1(bench: Bench, tmp_path: Path) -> None:
    spec = bench.claim.with_name("broken.rec")
    spec.write_text(
        claims.SPEC.replace("recovery_rate(projected) >= 0%", "recovery_rate(noise) >= 90%")
    )
    try:
        done = cli("run", spec, "--out", tmp_path, "--store", bench.store, "--batch-size", 4)
    finally:
        spec.unlink()
    assert done.code == 1
    assert "✗ not met  recovery_rate(noise) >= 90%" in done.out
    assert "Nothing was computed" in done.out


def test_a_changed_limit_runs_only_the_steps_that_depend_on_it(
    bench: Bench, tmp_path: Path
) -> None:
    done = bench.run(tmp_path / "out", "--set", "projected.limit=norm <= [2, 3, 4, 8]")
    assert done.code == 0
    events = [json.loads(line) for line in (tmp_path / "out/events.jsonl").read_text().splitlines()]
    states = {event["step"]: event["state"] for event in events if event["event"] == "ended"}
    computed = {step for step, state in states.items() if state != "kept"}
    assert computed == {
        "recover projected at norm 3",
        "control noise at norm 3",
        "control noise without its constraint at norm 3",
    }
    assert (
        f"The results of {len(states) - 3} of {len(states)} steps are from an earlier run."
        in done.out
    )


def test_set_replaces_a_value_and_is_noted_in_the_result(bench: Bench, tmp_path: Path) -> None:
    done = bench.run(tmp_path / "out", "--json", "--set", "noise.draws = 2")
    assert json.loads(done.out)["environment"]["set"] == {"noise.draws": "2"}


def test_limits_that_differ_in_a_late_digit_stay_apart(bench: Bench, tmp_path: Path) -> None:
    limits = [2.00000001, 2.00000002]
    done = bench.run(tmp_path / "out", "--json", "--set", f"unconstrained.limit=norm <= {limits}")
    budgets = json.loads(done.out)["attacks"]["unconstrained"]["budgets"]
    assert [budget["limit"] for budget in budgets] == limits
    assert all(budget["metrics"]["recovery_rate"]["n"] > 0 for budget in budgets)


def test_out_names_the_folder_and_runs_is_the_default(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("run", bench.claim, "--store", bench.store, "--batch-size", 4)
    assert done.code == 0
    assert (tmp_path / "runs/claim/result.json").exists()


def test_a_plan_lists_the_steps_that_an_earlier_run_has_stored(
    bench: Bench, tmp_path: Path
) -> None:
    before = cli("plan", bench.claim, "--store", tmp_path / "empty")
    after = cli("plan", bench.claim, "--store", bench.store)
    assert (before.code, after.code) == (0, 0)
    assert "kept" not in before.out
    assert "18 of 18 steps to run." in before.out
    assert "to run" not in after.out.replace("Nothing to run", "")
    assert after.out.count("     kept  ") == 18
    # No expectation says anything of recovery, so no attack is searched again.
    assert "try harder" not in after.out
    assert not (tmp_path / "empty").exists()


def test_a_plan_with_another_limit_shows_which_steps_are_to_run(bench: Bench) -> None:
    done = cli(
        "plan",
        bench.claim,
        "--store",
        bench.store,
        "--json",
        "--set",
        "unconstrained.limit=norm <= 5",
    )
    to_run = [row["key"] for row in json.loads(done.out) if row["state"] == "to run"]
    assert to_run == ["recover unconstrained at norm 5"]


@pytest.mark.parametrize(
    ("format", "begins"), [("mermaid", "flowchart TD\n"), ("dot", "digraph recoverdsl {\n"), ("json", "{\n")]
)  # fmt: skip
def test_graph_draws(bench: Bench, format: str, begins: str) -> None:
    done = cli("graph", bench.claim, "--format", format)
    assert done.code == 0
    assert done.out.startswith(begins)


# --- A result without flips, and specs with less in them ---


@pytest.fixture(scope="module")
def unmoved(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    """Return a run whose clamp changes no feature."""
    out = tmp_path_factory.mktemp("unmoved")
    return bench.run(out, "--set", "clamp.to=1.0 * activation", "--json"), out


def test_without_valid_flips_rates_are_null_over_0_examples(unmoved: tuple[Outcome, Path]) -> None:
    result = json.loads(unmoved[0].out)
    assert result["counts"]["valid_flips"] == 0
    for outcome in (*result["attacks"].values(), *result["controls"].values()):
        assert outcome["metrics"]["recovery_rate"] == {
            "value": None,
            "low": None,
            "high": None,
            "n": 0,
        }


def test_without_valid_flips_a_run_is_inconclusive_and_ends_with_1(
    unmoved: tuple[Outcome, Path],
) -> None:
    done, _ = unmoved
    assert done.code == 1
    result = json.loads(done.out)
    assert result["verdict"] == "inconclusive"
    assert [e["outcome"] for e in result["expectations"]] == ["undecided", "undecided"]
    assert {e["reason"] for e in result["expectations"]} == {
        "the figure is undefined: no flip has this figure"
    }


def test_without_valid_flips_the_report_is_still_written(
    unmoved: tuple[Outcome, Path],
) -> None:
    _, out = unmoved
    assert "</html>" in (out / "report.html").read_text()
    assert (out / "examples.parquet").exists()


def test_a_spec_without_a_clamp_runs_the_base_model(bench: Bench, tmp_path: Path) -> None:
    spec = bench.claim.with_name("base.rec")
    spec.write_text(claims.SPEC[: claims.SPEC.index("protect")])
    try:
        done = cli(
            "run", spec, "--json", "--out", tmp_path, "--store", bench.store, "--batch-size", 4
        )
    finally:
        spec.unlink()
    assert done.code == 0, done.said
    counts = json.loads(done.out)["counts"]
    assert counts["examples"] == 24
    assert counts["base_holds"] > 0


# --- Verdicts that are not earned ---


@pytest.mark.parametrize(("rate", "starved"), [("1e30", False), ("1e-9", True)])
def test_a_search_that_tried_nothing_is_inconclusive(own: Path, rate: str, starved: bool) -> None:
    edit(own, "expect recovery_rate(projected) >= 0%", "expect recovery_rate(projected) <= 60%")
    edit(own, "adam(lr = 0.3)", f"adam(lr = {rate})")
    done = run(own, "--json")
    result = json.loads(done.out)
    assert (done.code, result["verdict"]) == (1, "inconclusive")
    flags = {(flag["name"], flag["subject"], flag["limit"]) for flag in result["flags"]}
    # Its interval would be enough: none of 9 is less than 30%.
    names = {name for name, subject, limit in flags if (subject, limit) == ("projected", 8.0)}
    assert {"beaten_by_apgd", "beaten_by_random_search", "beaten_by_control"} <= names
    # A step that is far too long ends at the limit at once.
    assert ("starved" in names) == starved
    e = result["expectations"][0]
    assert (e["outcome"], e["value"], e["high"] < 0.6) == ("undecided", 0, True)
    said, _, listed = e["reason"].partition(": ")
    assert said == "the attack projected may be too weak to say that little is recovered"
    assert set(listed.split(", ")) == names


@pytest.mark.parametrize(
    ("expected", "code", "verdict", "says"),
    [
        ("<= 5%", 1, "inconclusive", "7 of 72 draws over 9 flips: at this rate at least 82 flips are needed to rule out ≤ 5%"),
        ("<= 5% by estimate", 1, "does_not_hold", "✗ not met by estimate  recovery_rate(noise) <= 5% by estimate"),
        ("<= 10% by estimate", 0, "holds", "≈ met by estimate  recovery_rate(noise) <= 10% by estimate"),
        ("<= 45%", 0, "holds", "✓ met  recovery_rate(noise) <= 45%  (found 9.7% [1.6–42.0%])"),
        (">= 45%", 1, "does_not_hold", "✗ not met  recovery_rate(noise) >= 45%  (found 9.7% [1.6–42.0%])"),
    ],
)  # fmt: skip
def test_an_expectation_is_compared_with_the_interval(
    own: Path, bench: Bench, expected: str, code: int, verdict: str, says: str
) -> None:
    edit(own, "expect recovery_rate(noise) <= 100%", f"expect recovery_rate(noise) {expected}")
    out = own.parent / "out"
    done = cli("run", own, "--out", out, "--store", bench.store, "--batch-size", 4)
    assert done.code == code, done.said
    assert says in " ".join(done.out.split()).replace("met recovery", "met  recovery").replace(
        "estimate recovery", "estimate  recovery"
    ).replace("% (", "%  (")
    assert json.loads((out / "result.json").read_text())["verdict"] == verdict


@pytest.mark.parametrize(
    ("bound", "both", "options"),
    [
        ("<= 100%", False, []),
        ("<= 100%", False, ["--json"]),
        ("<= 100%", True, []),
        (">= 40%", False, []),
    ],
)
def test_a_reader_that_goes_away_is_no_verdict(
    own: Path, bench: Bench, bound: str, both: bool, options: list[str]
) -> None:
    edit(own, "<= 100%", bound)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [
            sys.executable, "-m", "recoverdsl.cli", "run", own, "--out", own.parent / "out",
            "--store", bench.store, "--batch-size", "4", *options,
        ],
        stdout=writer, stderr=writer if both else subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == 4, done.stderr
    assert both or ("Traceback" not in done.stderr and "error" not in done.stderr)


# --- A wrong command or spec ends with 2 ---


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--set", "clamp.to"], "expected PATH=VALUE"),
        (["--set", "=3"], "expected PATH=VALUE"),
        (["--set", "clap.to=3"], "did you mean"),
        (["--set", "clamp.too=3"], "did you mean"),
        (["--set", "clamp.to=("], "--set"),
        (["--set", "clamp.to=norm"], "clamp.to"),
        (["--batch-size", "0"], "--batch-size"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_a_wrong_option_ends_with_2_and_is_named(
    bench: Bench, tmp_path: Path, options: list[str], says: str
) -> None:
    done = cli("run", bench.claim, "--out", tmp_path / "out", *options)
    assert done.code == 2, done.said
    assert says in done.err
    assert done.out == ""
    assert not (tmp_path / "out").exists()
    assert "Traceback" not in done.said


def test_mistakes_of_a_spec_are_all_printed_with_their_lines(own: Path) -> None:
    edit(own, "-5.0", "-5.0 * nonsense")
    edit(own, "maximize = names_the_recipient", "maximize = names_the_recipent")
    done = run(own)
    assert done.code == 2
    lines = own.read_text().splitlines()
    for text in ("nonsense", "names_the_recipent"):
        number = next(i for i, line in enumerate(lines, 1) if text in line)
        assert f"{own}:{number}:" in done.err.replace(" ", "")
    assert "Traceback" not in done.said


def test_check_accepts_a_spec_that_cannot_run_yet() -> None:
    done = cli("check", FULL)
    assert done.code == 0
    assert done.out.endswith("\n1 spec is valid.\n")
    assert re.findall(r"^(?:warning|error)\[(\w+)\]", done.out, re.M) == ["REC423", "REC423"]


@pytest.mark.parametrize("command", ["run", "plan", "graph"])
def test_a_spec_that_cannot_run_yet_is_refused_with_every_place_and_its_line(command: str) -> None:
    done = cli(command, FULL)
    assert done.code == 2
    assert "Traceback" not in done.said
    lines = FULL.read_text().splitlines()
    places = {
        "behavior.judged": "behavior judged",
        "behavior.judged.over": "over = harmful",
        "protect.refusal.select": "contrast(",
    }
    for path, text in places.items():
        number = next(i for i, line in enumerate(lines, 1) if text in line)
        assert f"  - line {number}, {path}: " in done.err
    # In the order of the text, each with a line, and nothing that can run among them.
    named = [line for line in done.err.splitlines() if line.startswith("  - ")]
    assert len(named) == len(places)
    numbers = [int(line.split("line ")[1].split(",")[0]) for line in named]
    assert numbers == sorted(numbers)


def test_a_path_that_leaves_the_folder_is_refused_unless_allowed(own: Path) -> None:
    shutil.move(own.parent / "prompts.jsonl", own.parent.parent / "prompts.jsonl")
    edit(own, '"prompts.jsonl"', '"../prompts.jsonl"')
    for command in ("run", "plan", "graph"):
        done = cli(command, own)
        assert done.code == 2, done.said
        assert "leaves the folder of the spec" in done.err
        assert "--allow-outside" in done.err
        assert cli("plan", own, "--allow-outside").code == 0


def test_a_link_that_leaves_the_folder_is_refused(own: Path) -> None:
    shutil.move(own.parent / "sae", own.parent.parent / "sae")
    (own.parent / "sae").symlink_to(own.parent.parent / "sae")
    done = run(own)
    assert done.code == 2
    assert "leaves the folder of the spec" in done.err


# --- A source that is not available ends with 3 ---


def remove_model(spec: Path) -> None:
    shutil.rmtree(spec.parent / "model")


def break_model(spec: Path) -> None:
    (spec.parent / "model/config.json").write_text("{}")


def tear_weights(spec: Path) -> None:
    weights = spec.parent / "model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


def pin_model(spec: Path) -> None:
    edit(spec, 'folder("model") }', f'folder("model"); sha256 = "{"0" * 64}" }}')


def widen_sae(spec: Path) -> None:
    models.jumprelu(d_in=32).save_model(spec.parent / "sae")


def move_sae(spec: Path) -> None:
    edit(spec, "tiny.layers[1].output", "tiny.layers[2].output")


def raise_sae(spec: Path) -> None:
    edit(spec, "tiny.layers[1].output", "tiny.layers[7].output")


def break_sae(spec: Path) -> None:
    (spec.parent / "sae/cfg.json").write_text('{"architecture": "made_up"}')


def name_features(spec: Path) -> None:
    edit(spec, "top(10, by = attribution(names_the_recipient))", "features(1, 64)")


def empty_data(spec: Path) -> None:
    (spec.parent / "prompts.jsonl").write_text("")


def break_data(spec: Path) -> None:
    (spec.parent / "prompts.jsonl").write_text('{"prompt": "When"\n')


def lack_column(spec: Path) -> None:
    rows = [{"prompt": row["prompt"], "s": row["s"]} for row in claims.rows()]
    claims.write_rows(spec.parent / "prompts.jsonl", rows)


def lengthen(spec: Path) -> None:
    long = {**claims.rows()[0], "prompt": " ".join(["When"] * 100)}
    claims.write_rows(spec.parent / "prompts.jsonl", [long])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (remove_model, "'model' does not exist"),
        (break_model, "the model cannot be loaded"),
        (tear_weights, "the model cannot be loaded"),
        (pin_model, "the weights are not the ones that the spec pins"),
        (widen_sae, "the SAE reads vectors of width 32, the model's residual stream has 24"),
        (move_sae, "write `reads = tiny.layers[1].output`"),
        (raise_sae, "the model has layers 0 to 3"),
        (break_sae, "does not load as an SAE"),
        (name_features, "feature 64 does not exist: the SAE has features 0 to 63"),
        (empty_data, "holds no rows"),
        (break_data, "prompts.jsonl:1: this line cannot be read"),
        (lack_column, "io"),
        (lengthen, "has 100 tokens, and the model reads 64"),
    ],
)
def test_a_source_that_is_not_available_ends_with_3_and_is_named(
    own: Path, damage: Callable[[Path], None], says: str
) -> None:
    damage(own)
    done = run(own)
    assert done.code == 3, done.said
    assert says in done.err
    assert done.out == ""
    assert not (own.parent / "out/result.json").exists()
    assert "Traceback" not in done.said


def test_a_missing_spec_is_named(tmp_path: Path) -> None:
    for command in ("run", "check", "plan", "graph"):
        done = cli(command, tmp_path / "nowhere.rec")
        assert done.code == 2
        assert "nowhere.rec: the spec cannot be read" in done.err
        assert "Traceback" not in done.said


def test_a_missing_device_is_named(own: Path) -> None:
    done = run(own, "--device", "cuda:77")
    assert done.code == 3
    assert "the device 'cuda:77' cannot be used" in done.err
    assert "--device cpu" in done.err
    assert "Traceback" not in done.said


def test_a_device_of_another_kind_is_refused(own: Path) -> None:
    done = run(own, "--device", "meta")
    assert done.code == 2
    assert "cuda:1" in done.err


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("after", [0, 3, 20])
def test_a_full_disk_ends_with_3_and_the_run_can_be_resumed(
    own: Path, monkeypatch: pytest.MonkeyPatch, call: str, after: int
) -> None:
    real: Any = getattr(os, call)
    left = [after]

    def full(*arguments: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        done = run(own, "--batch-size", 8)
    assert done.code == 3
    assert "the disk is full" in done.err
    assert "finished batches are kept" in done.err
    assert "Traceback" not in done.said
    if after == 20:
        assert run(own, "--batch-size", 8).code == 0


def test_a_folder_that_cannot_be_written_ends_with_3(own: Path) -> None:
    (own.parent / "out").write_text("a file")
    done = run(own)
    assert done.code == 3
    assert "choose another place with --out or --store" in done.err
    assert "Traceback" not in done.said
