"""The Python interface, the privacy of a run's files, and the store."""

from __future__ import annotations

import html.parser
import inspect
import json
import pkgutil
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import recoverdsl
from recoverdsl.audit.records import RunOptions
from recoverdsl.engine.steps.evaluation import FlipBatch
from recoverdsl.errors import NotYetError, SpecError, UnavailableError, UsageError
from recoverdsl.measure import table
from recoverdsl.measure.results import to_json
from tests.run import claims
from tests.run.commands import cli


@pytest.fixture(scope="module")
def folder(claim: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the command line ran the claim: `out` and `store`."""
    folder = tmp_path_factory.mktemp("command")
    done = cli(
        "run", claim, "--out", folder / "out", "--store", folder / "store", "--batch-size", 4
    )
    assert done.code == 0, done.said
    return folder


@pytest.fixture(scope="module")
def run(claim: Path, tmp_path_factory: pytest.TempPathFactory) -> recoverdsl.Run:
    """Return the claim, run from Python in a store of its own, and without an output folder."""
    store = tmp_path_factory.mktemp("python")
    return recoverdsl.load(claim).run(store=store, batch_size=4)


# --- Python and the command line ---


def test_a_run_from_python_finds_what_the_command_finds(run: recoverdsl.Run, folder: Path) -> None:
    assert to_json(run.result) == (folder / "out/result.json").read_text()
    assert run.html() == (folder / "out/report.html").read_text()
    assert run.exit_code == 0
    assert run.folder is None


def test_the_examples_of_a_run_are_those_of_its_folder(run: recoverdsl.Run, folder: Path) -> None:
    kept = table.read(folder / "out/examples.parquet")
    assert kept.equals(run.examples)


def test_there_is_one_row_for_each_flip_and_each_attack_draw_and_search_at_each_limit(
    run: recoverdsl.Run,
) -> None:
    flips = run.result.counts.valid_flips
    sizes = run.examples.groupby(["kind", "name", "limit"], dropna=False).size()
    once = [
        ("attack", "unconstrained", 6.0),
        *(("attack", "projected", limit) for limit in (2.0, 4.0, 8.0)),
        ("smallest_norm", "projected", 8.0),
    ]
    drawn = [
        (kind, "noise", limit)
        for kind in ("control", "unconstrained_control")
        for limit in (2.0, 4.0, 8.0)
    ]
    assert dict(sizes) == {**dict.fromkeys(once, flips), **dict.fromkeys(drawn, 8 * flips)}
    assert set(run.examples["draw"].dropna()) == set(range(8))


def test_the_direction_that_is_kept_is_that_of_draw_0(folder: Path, run: recoverdsl.Run) -> None:
    deltas = load_file(folder / "out/perturbations.safetensors")
    for kind, name in (("control", "noise/4"), ("unconstrained_control", "noise/unconstrained/4")):
        rows = run.examples[(run.examples["kind"] == kind) & (run.examples["limit"] == 4.0)]
        first = rows[rows["draw"] == 0]
        norms = torch.tensor(first["norm"].to_numpy(), dtype=torch.float32)
        assert torch.allclose(deltas[name].flatten(1).norm(dim=1), norms, rtol=1e-5)


def test_every_example_of_the_table_is_a_valid_flip(run: recoverdsl.Run) -> None:
    assert (run.examples["score_base"] > 0).all()
    assert (run.examples["score_defended"] <= 0).all()
    assert ((run.examples["score_recovered"] > 0) == run.examples["recovered"]).all()


def test_no_perturbation_exceeds_its_limit(run: recoverdsl.Run) -> None:
    assert (run.examples["norm"] <= run.examples["limit"] * (1 + 1e-6)).all()


def test_metrics_are_the_figures_of_the_result_one_per_row(run: recoverdsl.Run) -> None:
    metrics = run.metrics
    assert list(metrics.columns) == ["kind", "name", "limit", "metric", "value", "low", "high", "n"]
    rows = metrics[(metrics["name"] == "projected") & (metrics["metric"] == "recovery_rate")]
    budgets = run.result.attacks["projected"].budgets
    assert list(rows["limit"]) == [2.0, 4.0, 8.0]
    assert list(rows["value"]) == [b.metrics["recovery_rate"].value for b in budgets]
    smallest = metrics[metrics["metric"] == "smallest_norm"]
    assert list(smallest["limit"]) == [8.0]
    assert list(smallest["value"]) == [
        run.result.attacks["projected"].metrics["smallest_norm"].value
    ]


def test_perturbations_are_named_by_attack_and_limit_with_the_norms_of_the_table(
    folder: Path, run: recoverdsl.Run
) -> None:
    deltas = load_file(folder / "out/perturbations.safetensors")
    assert set(deltas) == {
        "unconstrained/6", "projected/2", "projected/4", "projected/8", "projected/smallest",
        "noise/2", "noise/4", "noise/8", *(f"noise/unconstrained/{limit}" for limit in (2, 4, 8)),
    }  # fmt: skip
    rows = run.examples[(run.examples["name"] == "projected") & (run.examples["kind"] == "attack")]
    norms = torch.tensor(rows[rows["limit"] == 4.0]["norm"].to_numpy(), dtype=torch.float32)
    assert torch.allclose(deltas["projected/4"].flatten(1).norm(dim=1), norms, rtol=1e-5)
    with safe_open(folder / "out/perturbations.safetensors", "pt") as file:
        described = json.loads(file.metadata()["perturbations"])
    assert set(described) == set(deltas)
    examples = list(rows[rows["limit"] == 4.0]["example"])
    # At the output of layer 1, for the last token of each prompt.
    assert deltas["projected/4"].shape == (len(examples), 1, 1, 24)
    assert described["projected/4"] == {
        "examples": examples, "boundaries": [2], "columns_behind_prompt": 0,
    }  # fmt: skip


def test_values_can_be_set_from_python(claim: Path) -> None:
    audit = recoverdsl.load(claim, set={"projected.limit": "norm <= 3"})
    assert "recover projected at norm 3" in audit.graph("cpu").nodes


def test_a_run_and_a_sweep_take_the_same_options() -> None:
    def options(function: Callable[..., Any]) -> list[inspect.Parameter]:
        taken = inspect.signature(function).parameters.values()
        return [p for p in taken if p.kind is inspect.Parameter.KEYWORD_ONLY]

    assert options(recoverdsl.Audit.run) == options(recoverdsl.Audit.run_sweep)
    names = [option.name for option in options(recoverdsl.Audit.run)]
    assert names == [field.name for field in attrs.fields(RunOptions)]


def test_a_wrong_spec_raises_its_diagnostics(tmp_path: Path) -> None:
    spec = tmp_path / "wrong.rec"
    spec.write_text(claims.SPEC.replace("-5.0", "nonsense"))
    with pytest.raises(SpecError) as caught:
        recoverdsl.load(spec)
    assert len(caught.value.diagnostics) == 1


def test_errors_of_a_run_are_of_the_kinds_that_are_documented(claim: Path, tmp_path: Path) -> None:
    full = Path(__file__).parent.parent / "language/full.rec"
    with pytest.raises(NotYetError):
        recoverdsl.load(full).run_sweep(store=tmp_path)
    with pytest.raises(UsageError):
        recoverdsl.load(claim).run(store=tmp_path, device="nonsense")
    with pytest.raises(UnavailableError):
        recoverdsl.load(claim).run(store=tmp_path, device="cuda:77")


# --- In a notebook ---


class _Page(html.parser.HTMLParser):
    """The resources that a page loads, and its open elements."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_notebook_shows_the_verdict_and_the_table(run: recoverdsl.Run) -> None:
    shown = run._repr_html_()
    assert "The claim holds" in shown
    assert all(name in shown for name in ("unconstrained", "projected", "noise"))
    page = _Page()
    page.feed(shown)
    assert not page.open
    assert not page.tags & {"script", "style", "link", "img", "iframe", "html"}
    assert not page.attributes & {"src", "href", "onload", "onclick"}


def test_a_notebook_shows_names_as_text(claim: Path, tmp_path: Path) -> None:
    spec = claim.with_name("escape.rec")
    spec.write_text(
        claims.SPEC.replace("Does the clamp", "<script>alert(1)</script> Does the clamp")
    )
    try:
        shown = recoverdsl.load(spec).run(store=tmp_path, batch_size=24)._repr_html_()
    finally:
        spec.unlink()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


# --- Texts in no file ---


def _texts(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes().decode("utf-8", "replace")
            if path.suffix == ".parquet":
                yield path, table.read(path).to_csv()


def test_no_file_of_a_run_or_of_the_store_holds_text_of_the_data(folder: Path) -> None:
    words = {*claims.NAMES, *claims.PLACES, *claims.THINGS, claims.NOTE, "had a talk"}
    prompts = "".join(row["prompt"] + row["note"] for row in claims.rows())
    assert all(word in prompts for word in words)
    seen = set()
    for path, text in _texts(folder):
        seen.add(path.suffix)
        assert not [word for word in words if word.lower() in text.lower()], path
    assert {".parquet", ".safetensors", ".json", ".jsonl", ".html", ".rec"} <= seen


def test_the_spec_of_a_run_is_kept_as_run(folder: Path, claim: Path) -> None:
    assert (folder / "out/spec.rec").read_text() == claim.read_text()


# --- The store, as a run uses it ---


@pytest.fixture
def store(folder: Path, tmp_path: Path) -> Path:
    """Return a copy of the store of a finished run, which a test may damage."""
    return Path(shutil.copytree(folder / "store", tmp_path / "store"))


def steps(store: Path) -> dict[str, Path]:
    """Return the folder of each stored step by its key."""
    return {json.loads(path.read_text())["key"]: path.parent for path in store.glob("*/step.json")}


@pytest.mark.parametrize(
    "key",
    [
        "run base, names_the_recipient", "rank features chosen", "run defended, clamp",
        "recover projected at norm 4", "find smallest norm, projected", "control noise at norm 8",
    ],
)  # fmt: skip
def test_a_part_that_was_lost_from_a_finished_step_is_computed_again_and_nothing_else(
    claim: Path, run: recoverdsl.Run, store: Path, key: str
) -> None:
    lost = sorted(steps(store)[key].glob("part-*"))[1]
    before = {path: path.stat().st_mtime_ns for path in store.glob("*/part-*")}
    content = lost.read_bytes()
    lost.write_bytes(content[: len(content) // 2])
    again = recoverdsl.load(claim).run(store=store, batch_size=4)
    assert {step for step, state in again.states.items() if state != "kept"} == {key}
    assert to_json(again.result) == to_json(run.result)
    assert again.examples.equals(run.examples)
    after = {path: path.stat().st_mtime_ns for path in store.glob("*/part-*")}
    assert {path for path in after if after[path] != before.get(path)} == {lost}


COMPUTED_BY = {
    "base and defended": "recoverdsl.engine.steps.observations.observe",
    "attribution": "recoverdsl.engine.steps.features.attribution",
    "recover": "recoverdsl.engine.steps.recovery.recover",
}
"""The function that computes one batch of a kind of step."""


def before_each_batch(
    patch: pytest.MonkeyPatch, kind: str, happens: Callable[[list[int]], None]
) -> None:
    """Call a function with the batch's examples before a kind of step computes it."""
    real: Any = pkgutil.resolve_name(COMPUTED_BY[kind])

    def wrapped(*arguments: Any) -> Any:
        batches = [a.indices if isinstance(a, FlipBatch) else a for a in arguments]
        happens(next(b for b in batches if isinstance(b, list) and isinstance(b[0], int)))
        return real(*arguments)

    patch.setattr(COMPUTED_BY[kind], wrapped)


@pytest.mark.parametrize(
    ("kind", "batches"), [("base and defended", 2 * 6), ("attribution", 6), ("recover", 3 * 4)]
)
def test_an_interrupted_step_goes_on_with_the_batch_it_was_in(
    claim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, batches: int
) -> None:
    calls: list[list[int]] = []

    def interrupt_the_third(indices: list[int]) -> None:
        calls.append(indices)
        if len(calls) == 3:
            raise KeyboardInterrupt

    before_each_batch(monkeypatch, kind, interrupt_the_third)
    command = [
        "run",
        claim,
        "--out",
        tmp_path / "out",
        "--store",
        tmp_path / "store",
        "--batch-size",
        4,
    ]
    stopped = cli(*command)
    assert stopped.code == 4
    assert "run the same command again" in stopped.err
    assert "Traceback" not in stopped.said
    assert cli(*command).code == 0
    assert calls[2] == calls[3]
    assert len(calls) == batches + 1


def test_an_interrupt_while_a_spec_is_read_ends_with_4_too(
    claim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("recoverdsl.api.load", interrupted)
    done = cli("run", claim, "--out", tmp_path / "out")
    assert done.code == 4
    assert "Traceback" not in done.said


def test_the_order_of_memory_running_out_changes_nothing_but_the_batches(
    claim: Path, run: recoverdsl.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small(indices: list[int]) -> None:
        if len(indices) > 3:
            raise torch.OutOfMemoryError("no room")

    for kind in ("attribution", "recover"):
        before_each_batch(monkeypatch, kind, small)
    again = recoverdsl.load(claim).run(store=tmp_path, batch_size=8)
    assert again.result.environment["batch_sizes"]["rank features chosen"] == 2
    assert again.result.counts == run.result.counts
    assert list(again.examples["recovered"]) == list(run.examples["recovered"])
    assert torch.allclose(
        torch.tensor(again.examples["norm"].to_numpy()),
        torch.tensor(run.examples["norm"].to_numpy()),
        rtol=1e-3,
    )
