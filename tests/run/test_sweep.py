"""A sweep runs the spec at every point, and computes once what points share."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

import recoverdsl
from recoverdsl.audit.records import SweepRun
from recoverdsl.errors import UsageError
from recoverdsl.language import check_file
from recoverdsl.measure.sweeps import from_json
from tests.run import claims
from tests.run.commands import cli
from tests.run.recording_observer import RecordingObserver

LIMITS = [0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 10]
BUDGETS = (
    f"\nsweep budgets {{ unconstrained.limit = [{', '.join(f'norm <= {n:g}' for n in LIMITS)}] }}\n"
)
PLAIN = claims.SPEC.replace(
    "  limit    = norm <= [2, 4, 8]\n  find     = smallest_norm(within = 10%)\n", ""
)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return claims.write(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def swept(spec: Path) -> tuple[SweepRun, RecordingObserver]:
    spec.write_text(PLAIN + BUDGETS)
    observer = RecordingObserver()
    audit = recoverdsl.load(spec)
    run = audit.run_sweep(spec.parent / "out", store=spec.parent / "store", observer=observer)
    return run, observer


def test_ten_budgets_load_select_and_filter_once(swept: tuple[SweepRun, RecordingObserver]) -> None:
    _, observer = swept
    assert observer.loaded == {"loading model tiny": 1, "loading SAE mid": 1}
    computed = {kind: n for (kind, state), n in observer.steps.items() if state == "computed"}
    # One attack is swept, and the other and its control follow it.
    assert computed == {
        "RunBase": 1, "RankByAttribution": 1, "SelectFeatures": 1, "RunDefended": 1, "ReadFeatures": 1,
        "MeasureTextEffects": 1, "MeasureMoves": 1, "Recover": 20, "RandomDirections": 20,
    }  # fmt: skip
    assert [state for _, state in observer.steps] == ["computed"] * len(observer.steps)
    assert observer.points[0] == "point 1 of 10: unconstrained.limit = norm <= 0.5"


def test_each_point_is_what_the_spec_with_that_value_finds(
    spec: Path, swept: tuple[SweepRun, RecordingObserver], tmp_path: Path
) -> None:
    run, _ = swept
    other = spec.parent / "alone.rec"
    for at in (0, 5, 9):
        other.write_text(PLAIN)
        value = {"unconstrained.limit": f"norm <= {LIMITS[at]:g}"}
        alone = recoverdsl.load(other, set=value).run(store=tmp_path)
        point = run.swept.points[at].result
        assert alone.result.attacks == point.attacks
        assert alone.result.controls == point.controls
        # The point's folder holds that spec, written out.
        written = spec.parent / "out" / run.swept.points[at].folder / "spec.rec"
        assert check_file(written).spec == recoverdsl.load(other, set=value).spec
        assert "sweep" not in written.read_text()


def test_a_point_is_an_audit_that_runs_alone(
    spec: Path, swept: tuple[SweepRun, RecordingObserver]
) -> None:
    run, _ = swept
    spec.write_text(PLAIN + BUDGETS)
    alone = recoverdsl.load(spec).points[3].audit.run(store=spec.parent / "store")
    assert alone.result == run.swept.points[3].result
    assert set(alone.states.values()) == {"kept"}


def test_more_budget_never_recovers_less_and_the_table_says_so(
    swept: tuple[SweepRun, RecordingObserver],
) -> None:
    run, _ = swept
    table = run.table
    rates = table[(table.metric == "recovery_rate") & (table.name == "unconstrained")]
    assert rates["unconstrained.limit"].tolist() == LIMITS
    assert rates.value.is_monotonic_increasing
    assert rates.value.iloc[-1] > rates.value.iloc[0]


def test_the_folder_holds_the_table_the_page_and_every_point(
    spec: Path, swept: tuple[SweepRun, RecordingObserver]
) -> None:
    run, _ = swept
    out = spec.parent / "out"
    assert from_json((out / "sweep.json").read_text()) == run.swept
    assert pd.read_csv(out / "sweep.csv").shape == run.table.shape
    assert (out / "report.html").read_text() == run.html()
    assert (out / "spec.rec").read_text() == PLAIN + BUDGETS
    for point in run.swept.points:
        assert (out / point.folder / "result.json").is_file()
        assert (out / point.folder / "report.html").is_file()


def test_run_again_nothing_is_computed_and_the_command_says_the_same(
    spec: Path, swept: tuple[SweepRun, RecordingObserver]
) -> None:
    run, _ = swept
    again = spec.parent / "again"
    done = cli("run", spec, "--out", again, "--store", spec.parent / "store")
    assert done.code == run.exit_code, done.said
    assert "The claim holds at all 10 points: every expectation is met." in " ".join(
        done.out.split()
    )
    assert (again / "sweep.json").read_text() == (spec.parent / "out" / "sweep.json").read_text()
    assert "done  recover" not in done.err


def test_the_command_prints_a_sweep_for_a_program(spec: Path, tmp_path: Path) -> None:
    two = spec.with_name("two.rec")
    two.write_text(PLAIN + "\nsweep budgets { unconstrained.limit = [norm <= 1, norm <= 10] }\n")
    done = cli("run", two, "--out", tmp_path, "--store", spec.parent / "store", "--json")
    assert json.loads(done.out) == json.loads((tmp_path / "sweep.json").read_text())
    assert json.loads(done.out)["schema"] == "recoverdsl/sweep/2"


def test_a_plan_and_a_drawing_hold_what_points_share_once(spec: Path) -> None:
    spec.write_text(PLAIN + BUDGETS)
    plan = cli("plan", spec, "--json")
    kinds = Counter(row["kind"] for row in json.loads(plan.out))
    assert (
        kinds["LoadModel"]
        == kinds["RunBase"]
        == kinds["RankByAttribution"]
        == kinds["SelectFeatures"]
        == 1
    )
    assert kinds["Recover"] == 20
    keys = [row["key"] for row in json.loads(plan.out)]
    assert len(keys) == len(set(keys))
    assert cli("graph", spec).out.count("run base") == 1


def test_points_may_have_flips_and_features_of_their_own(spec: Path, tmp_path: Path) -> None:
    spec.write_text(
        PLAIN
        + "\nsweep two { clamp.to = [-5, -0.1]; chosen.select = [features(1, 2), features(3, 4, 5)] }\n"
    )
    run = recoverdsl.load(spec).run_sweep(store=tmp_path)
    assert [dict(p.values) for p in run.swept.points] == [
        {"clamp.to": to, "chosen.select": select}
        for to in ("-5", "-0.1") for select in ("features(1, 2)", "features(3, 4, 5)")
    ]  # fmt: skip
    assert len({p.result.counts.valid_flips for p in run.swept.points}) > 1
    assert {p.result.counts.base_holds for p in run.swept.points} == {
        run.swept.points[0].result.counts.base_holds
    }


def test_how_many_are_selected_changes_no_ranking(spec: Path, tmp_path: Path) -> None:
    spec.write_text(
        PLAIN.replace("top(10,", "top(many,")
        + "\nparam many = 10\nsweep counts { many = [2, 5, 10] }\n"
    )
    observer = RecordingObserver()
    run = recoverdsl.load(spec).run_sweep(store=tmp_path, observer=observer)
    computed = {kind: n for (kind, state), n in observer.steps.items() if state == "computed"}
    assert (computed["RankByAttribution"], computed["SelectFeatures"]) == (1, 3)
    chosen = [
        sae["ids"]
        for point in run.swept.points
        for sae in point.result.environment["features"]["select features chosen"].values()
    ]
    assert [len(ids) for ids in chosen] == [2, 5, 10]
    assert chosen[0] == chosen[1][:2]
    assert chosen[1] == chosen[2][:5]


def test_zipped_axes_are_walked_together(spec: Path) -> None:
    spec.write_text(
        PLAIN
        + "\nsweep s { unconstrained.steps = [1, 2, 3]; noise.seed = [7, 8, 9]; zipped = true }\n"
    )
    points = recoverdsl.load(spec).points
    assert [(p.audit.spec.attacks["unconstrained"].steps, p.audit.spec.controls["noise"].seed) for p in points] == [
        (1, 7), (2, 8), (3, 9)
    ]  # fmt: skip


def test_a_param_can_be_swept(spec: Path) -> None:
    text = PLAIN.replace("to   = -5.0", "to   = low").replace(
        "audit ", "param low = -5 in -9..0\naudit "
    )
    spec.write_text(text + "\nsweep s { low = [-1, -2] }\n")
    points = recoverdsl.load(spec).points
    assert [p.audit.spec.intervenes["clamp"].to.value for p in points] == [-1.0, -2.0]  # type: ignore[union-attr]


def test_run_and_run_sweep_say_which_is_meant(spec: Path) -> None:
    spec.write_text(PLAIN + BUDGETS)
    with pytest.raises(UsageError, match="run_sweep"):
        recoverdsl.load(spec).run()
    spec.write_text(PLAIN)
    with pytest.raises(UsageError, match=r"run\(\)"):
        recoverdsl.load(spec).run_sweep()


def test_the_exit_code_is_that_of_the_worst_point(spec: Path, tmp_path: Path) -> None:
    text = PLAIN.replace("recovery_rate(projected) >= 0%", "norm(unconstrained) <= 1 by estimate")
    spec.write_text(text + "\nsweep s { unconstrained.limit = [norm <= 0.01, norm <= 10] }\n")
    done = cli("run", spec, "--out", tmp_path / "out", "--store", spec.parent / "store")
    assert done.code == 1, done.said
    assert "at 1 of 2 points" in " ".join(done.out.split())
