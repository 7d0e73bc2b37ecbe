"""Every spec in `specs/` is in the one style, checks, and runs to a true result on a small model."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from attrs import frozen

import recoverdsl
from recoverdsl.audit.records import SweepRun
from recoverdsl.language import check_file
from recoverdsl.language.schema import Features, Release, Spec
from recoverdsl.language.schema.strongest import STRONGEST, strongest_of
from recoverdsl.language.schema.unrelated import controls_of
from recoverdsl.measure.results import AttackResult, Result, from_json
from recoverdsl.measure.sweeps import from_json as sweep_from_json
from recoverdsl.report.words import clean_line
from recoverdsl.sources.releases import find
from tests.hub import Hub
from tests.run.commands import cli
from tests.run.recording_observer import RecordingObserver
from tests.specs.small import GPT2, PROMPTS, SMALL, SPECS, copied

NAMES = sorted(path.stem for path in SPECS.glob("*.rec"))
each_spec = pytest.mark.parametrize("name", NAMES)

NEXT_TOKEN = ("target_rank", "target_probability")
"""Metrics of flips whose target token has a place."""


# --- As they stand ----------------------------------------------------------------------------


def test_every_shipped_spec_is_run_by_these_tests() -> None:
    assert sorted(SMALL) == NAMES
    assert len(NAMES) >= 8


@each_spec
def test_a_shipped_spec_is_in_the_one_style(name: str) -> None:
    done = cli("fmt", "--check", SPECS / f"{name}.rec")
    assert done.code == 0, done.said


@each_spec
def test_a_shipped_spec_checks_and_only_hubs_are_unpinned(name: str) -> None:
    checked = check_file(SPECS / f"{name}.rec")
    assert checked.spec is not None, checked.errors
    assert {d.code for d in checked.diagnostics} <= {"REC403"}
    hubs = {"gpt2", "gemma"}
    assert bool(checked.diagnostics) == (name in hubs)


@each_spec
def test_a_shipped_spec_asks_a_question(name: str) -> None:
    spec = check_file(SPECS / f"{name}.rec").spec
    assert spec is not None
    assert (spec.audit or "").endswith("?")


# --- Run small --------------------------------------------------------------------------------


@frozen
class Ran:
    """A run of a shipped spec, with its observer and results."""

    audit: recoverdsl.Audit
    out: Path
    observer: RecordingObserver
    results: tuple[Result, ...]
    """One, or one for each point of its sweeps."""


def ran(name: str, tmp_path: Path, hub: Hub, patch: pytest.MonkeyPatch) -> Ran:
    """Return a function that runs a shipped spec small, in a folder of its own, with a hub on this
    machine."""
    # Requests to the hub are counted; a cache of the session would hide them.
    patch.setenv("RECOVERDSL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "specs").mkdir()
    folder = copied(tmp_path / "specs")
    small = SMALL[name]
    values: Mapping[str, str] = {**small.stand_in(folder, hub, patch), **small.cheaper}
    path = folder / f"{name}.rec"
    audit = recoverdsl.load(path, set=values)
    sets = [x for at, value in values.items() for x in ("--set", f"{at}={value}")]
    planned = cli("plan", path, "--json", *sets)
    assert planned.code == 0, planned.said
    assert {"LoadModel", "RunBase"} <= {row["kind"] for row in json.loads(planned.out)}
    out, observer = tmp_path / "out", RecordingObserver()
    run = audit.run_sweep if audit.points else audit.run
    done = run(out, store=tmp_path / "store", observer=observer)
    results = (
        tuple(p.result for p in done.swept.points) if isinstance(done, SweepRun) else (done.result,)
    )
    assert_whole(audit, out, results)
    return Ran(audit, out, observer, results)


def assert_whole(audit: recoverdsl.Audit, out: Path, results: tuple[Result, ...]) -> None:
    """Assert that the run folder holds the spec as run, results of the schema, and pages."""
    page = (out / "report.html").read_text()
    assert html.escape(clean_line(audit.spec.audit or ""), quote=False) in page.replace(
        "&#39;", "'"
    )
    assert check_file(out / "spec.rec").spec == audit.spec
    if audit.points:
        swept = sweep_from_json((out / "sweep.json").read_text())
        assert tuple(p.result for p in swept.points) == results
        folders = [out / p.folder for p in swept.points]
        specs = [at.audit.spec for at in audit.points]
    else:
        folders, specs = [out], [audit.spec]
    for folder, spec, result in zip(folders, specs, results, strict=True):
        assert from_json((folder / "result.json").read_text()) == result
        assert (folder / "report.html").is_file()
        assert check_file(folder / "spec.rec").spec == spec
        assert_of(spec, result)


def flips_of(result: Result, outcome: AttackResult) -> int:
    """Return how many valid flips an attack has; the row `strongest` has those of its attacks."""
    asked = result.attacks[outcome.covers[0]] if outcome.covers else outcome
    clamp = result.clamps[asked.under or ""]
    return clamp.behaviors[asked.behavior or ""].counts.valid_flips


def assert_of(spec: Spec, result: Result) -> None:
    """Assert that a result holds every attack, control, metric and expectation of its spec."""
    covered = strongest_of(spec)
    worst = [STRONGEST] if len(covered) > 1 else []
    assert list(result.attacks) == [*spec.attacks, *worst]
    assert all(result.attacks[name].covers == covered for name in worst)
    assert list(result.controls) == list(controls_of(spec))
    assert set(result.attributions) == set(spec.attributes)
    assert [e.text for e in result.expectations] == [e.text for e in spec.expects]
    # Only a control may fail, on a prompt that has no unrelated target: every attack has figures of each of
    # its flips.
    for outcome in result.attacks.values():
        assert outcome.metrics["recovery_rate"].n == flips_of(result, outcome)
    assert result.counts.failed == 0 or any(c.target for c in controls_of(spec).values())
    assert result.counts.examples >= result.counts.base_holds >= result.counts.valid_flips
    for outcome in result.attacks.values():
        assert set(spec.measures) <= {
            *outcome.metrics,
            "smallest_norm",
            "budget_ratio",
            "specificity",
            *NEXT_TOKEN,
        }
        rate = outcome.metrics["recovery_rate"]
        flips = flips_of(result, outcome)
        assert rate.n == flips
        assert (rate.value is None) == (flips == 0)


def features(result: Result) -> dict[str, list[int]]:
    """Return the protected features of each SAE, as the run records them."""
    (selected,) = result.environment["features"].values()
    return {name: found["ids"] for name, found in selected.items()}


def drift(result: Result, attack: str) -> float:
    value = result.attacks[attack].metrics["drift"].value
    assert value is not None
    return value


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Ran:  # fmt: skip
    return ran(request.param, tmp_path, hub, monkeypatch)


def small(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("run", [name], indirect=True, ids=[name])


@small("ioi")
def test_ioi_is_run(run: Ran) -> None:
    (result,) = run.results
    assert result.counts.valid_flips > 0
    assert len(features(result)["mid"]) == 64
    assert drift(result, "projected") < 1e-5
    assert [budget.limit for budget in result.attacks["projected"].budgets] == [4, 10, 30]
    assert [(one.control, one.method) for one in result.specificities] == [
        ("unrelated", "another_row"), ("gentle_unrelated", "another_row"), ("giver", "another_behavior"),
    ]  # fmt: skip


@small("budgets")
def test_the_sweep_of_budgets_has_ten_points_that_share_what_they_can(run: Ran) -> None:
    assert len(run.results) == 10
    assert len(run.observer.points) == 10
    assert run.observer.loaded == {"loading model smollm2": 1, "loading SAE mid": 1}
    computed = {kind: n for (kind, state), n in run.observer.steps.items() if state == "computed"}
    assert computed == {
        "RunBase": 1, "RankByAttribution": 1, "SelectFeatures": 1, "RunDefended": 1, "ReadFeatures": 1,
        "MeasureTextEffects": 1, "MeasureMoves": 1, "Recover": 40, "RandomDirections": 20,
        "TryHarder": 10, "ReachHarder": 10, "ChooseTargets": 1,
    }  # fmt: skip
    assert len({(r.counts, tuple(features(r)["mid"])) for r in run.results}) == 1
    # The budget is shared: each attack has the point's limit, and so has the control.
    limits = [at.audit.spec.budgets["spent"].limit for at in run.audit.points]
    for result, limit in zip(run.results, limits, strict=True):
        outcomes = [*result.attacks.values(), *result.controls.values()]
        assert limit is not None
        assert [outcome.limit for outcome in outcomes] == list(limit.norms) * len(outcomes)
        assert len(outcomes) == 5
        assert drift(result, "projected") < 1e-5
    rates = [r.attacks["unconstrained"].metrics["recovery_rate"].value or 0 for r in run.results]
    assert rates == sorted(rates)
    assert rates[0] < rates[-1]


@small("features")
def test_the_sweep_of_features_clamps_the_first_of_one_ranking(run: Ran) -> None:
    chosen = [features(result)["mid"] for result in run.results]
    assert [len(ids) for ids in chosen] == [1, 2, 4, 16, 64, 128, 256, 512]
    assert all(chosen[-1][: len(ids)] == ids for ids in chosen)
    assert run.observer.loaded == {"loading model smollm2": 1, "loading SAE mid": 1}
    assert run.observer.steps["RunBase", "computed"] == 1
    assert run.observer.steps["RunDefended", "computed"] == 8
    # Where the clamp removes nothing, nothing can be concluded.
    without = [r for r in run.results if r.counts.valid_flips == 0]
    assert without
    assert {r.verdict for r in without} == {"inconclusive"}
    assert run.results[-1].counts.valid_flips > 0


@small("chosen_features")
def test_the_features_that_are_listed_are_the_ones_that_are_clamped(run: Ran) -> None:
    (result,) = run.results
    (protect,) = run.audit.spec.protects.values()
    assert isinstance(protect.select, tuple)
    (listed,) = protect.select
    assert isinstance(listed, Features)
    assert sorted(features(result)["mid"]) == sorted(listed.ids)
    assert result.counts.valid_flips > 0
    assert drift(result, "projected") < 1e-5
    parts = [part.part for part in result.attributions["unconstrained"]]
    assert {"clamped", "residual"} <= set(parts), parts


@small("gpt2")
def test_gpt2_and_its_release_come_from_the_hub_as_the_spec_names_them(run: Ran, hub: Hub) -> None:
    (result,) = run.results
    assert dict(run.audit.overrides) == SMALL["gpt2"].cheaper
    files = [path for path in hub.asked if "/resolve/" in path]
    assert f"openai-community/gpt2/resolve/{GPT2}/model.safetensors" in files
    place = find(Release("gpt2-small-res-jb", "blocks.4.hook_resid_pre"))
    assert any(
        path.startswith(f"{place.repository}/resolve/")
        and path.endswith("/blocks.4.hook_resid_pre/sae_weights.safetensors")
        for path in files
    )
    assert result.counts.examples == PROMPTS
    assert result.counts.valid_flips > 0
    assert drift(result, "projected") < 1e-5 < drift(result, "unconstrained")


@small("refusal")
def test_refusal_is_run(run: Ran) -> None:
    (result,) = run.results
    assert {name: len(ids) for name, ids in features(result).items()} == {"early": 5, "mid": 5, "late": 5}  # fmt: skip
    assert result.counts.valid_flips > 0
    assert max(drift(result, name) for name in result.attacks) < 1e-4


@small("preserve")
def test_three_ways_of_keeping_features_of_two_layers_are_run(run: Ran) -> None:
    (result,) = run.results
    assert set(features(result)) == {"mid", "late"}
    assert result.counts.valid_flips > 0
    kept = drift(result, "nothing_kept")
    assert drift(result, "constructed") < 1e-4
    assert drift(result, "exact") < drift(result, "sketched") < kept


@small("suffixes")
def test_suffixes_are_run_beside_a_perturbation(run: Ran) -> None:
    (result,) = run.results
    assert result.counts.valid_flips > 0
    assert drift(result, "recover") < 1e-4
    # Nothing holds the features where tokens are appended.
    assert min(drift(result, name) for name in ("soft", "soft_and_quiet", "typed")) > 0.01


@small("gemma")
def test_gemma_and_gemma_scope_come_from_the_hub_at_three_layers(run: Ran, hub: Hub) -> None:
    (result,) = run.results
    assert {name: len(ids) for name, ids in features(result).items()} == {"early": 3, "mid": 3, "late": 3}  # fmt: skip
    assert run.observer.loaded["loading model gemma"] == 1
    scope = [path for path in hub.asked if path.endswith("/params.npz") and "/resolve/" in path]
    layers = [path.split("/layer_")[1].split("/")[0] for path in scope]
    assert sorted(set(layers), key=int) == ["7", "12", "18"]
    assert result.environment["dtype"] == {"gemma": "bfloat16"}
    assert result.counts.valid_flips > 0
    assert drift(result, "staged") < 1e-4
