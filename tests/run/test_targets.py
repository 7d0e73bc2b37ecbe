"""Controls whose target is a behavior: of another row, or another behavior of the same one."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import torch

from recoverdsl.api import load
from recoverdsl.audit.records import Run
from recoverdsl.compiler.steps import ChooseTargets, FindSmallestNorm, ReachBehavior, Recover
from recoverdsl.engine.steps.evaluation import NO_UNLIKE_TOKENS, THERE_ALREADY
from recoverdsl.engine.steps.targets import unlike_rows
from recoverdsl.language import check
from recoverdsl.measure.keys import TableKey
from tests.compiler.test_support import graph_of
from tests.run import claims
from tests.run.test_conditions import SCORED, next_logits

CONTROLS = """\
behavior subject {
  holds = rank(" {s}") <= 12
}

control unrelated {
  of     = projected
  target = names_the_recipient of another_example
}

control unclamped like unrelated {
  on = undefended
}

control distractor {
  of     = projected
  target = subject
}

control unclamped_distractor like distractor {
  on = undefended
}

measure {"""
SPEC = claims.SPEC.replace(SCORED, '  holds = rank(" {io}") <= 12\n').replace("measure {", CONTROLS)


def run_of(folder: Path, text: str, batch_size: int | None = None) -> Run:
    claims.write(folder).write_text(text)
    run = load(folder / "claim.rec").run(store=folder / "store", batch_size=batch_size)
    assert isinstance(run, Run)
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("targets")


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return run_of(folder, SPEC)


def rows_of(run: Run, name: str, kind: str = "control") -> pd.DataFrame:
    return run.examples[(run.examples["name"] == name) & (run.examples["kind"] == kind)]


# --- The graph ------------------------------------------------------------------------------------


def test_a_control_runs_its_target_at_every_limit_and_searches_its_least_norm() -> None:
    graph = graph_of(SPEC)
    for name, example, clamped in (
        ("unrelated", "another", True), ("unclamped", "another", False),
        ("distractor", "own", True), ("unclamped_distractor", "own", False),
    ):  # fmt: skip
        for limit in (2, 4, 8):
            step = graph[graph.tables[TableKey("control", name, limit)]].step
            assert isinstance(step, Recover)
            assert isinstance(step.goal, ReachBehavior)
            assert (step.goal.example, step.defense is not None) == (example, clamped)
            assert (step.goal.behavior == step.behavior) == (example == "another")
        search = graph[graph.tables[TableKey("smallest_norm_control", name, 8)]]
        assert isinstance(search.step, FindSmallestNorm)
        assert "targets" in search.inputs
    # With the clamp and without it, a control has the same targets, chosen once.
    chosen = {
        name: graph[graph.tables[TableKey("control", name, 8)]].inputs["targets"]
        for name in ("unrelated", "unclamped", "distractor", "unclamped_distractor")
    }
    assert chosen["unclamped"] == chosen["unrelated"]
    assert chosen["unclamped_distractor"] == chosen["distractor"]
    assert set(chosen.values()) == set(graph.keys_of(ChooseTargets))
    assert len({graph[key].digest for key in chosen.values()}) == 2


def test_a_control_changes_no_step_of_its_attack() -> None:
    with_controls, without = graph_of(SPEC), graph_of(SPEC.replace(CONTROLS, "measure {"))
    for table, key in without.tables.items():
        assert with_controls[with_controls.tables[table]].digest == without[key].digest


# --- The run --------------------------------------------------------------------------------------


def test_another_row_is_the_next_valid_flip_that_is_unlike(run: Run, folder: Path) -> None:
    """Chosen again with plain transformers for what the model does without the clamp."""
    rows, tokenizer, logits_BV = next_logits(folder)
    own = rows_of(run, "projected", "attack")
    flips = [int(example) - 1 for example in own[own["limit"] == 8]["example"]]
    found = rows_of(run, "unrelated")
    found = found[found["limit"] == 8].set_index("example")
    assert list(found.index) == [f"{flip + 1:04d}" for flip in flips]
    checked = 0
    for at, flip in enumerate(flips):
        row = found.loc[f"{flip + 1:04d}"]
        prompt = rows[flip]["prompt"]
        places = {}
        for other in (*flips[at + 1 :], *flips[:at]):
            name = rows[other]["io"]
            if name != rows[flip]["io"] and not re.search(rf"\b{name}\b", prompt):
                id = tokenizer(f" {name}", add_special_tokens=False).input_ids[0]
                places[other] = int((logits_BV[flip] >= logits_BV[flip][id]).sum())
        # Those that are there already are passed over.
        places = {other: rank for other, rank in places.items() if rank > 12}
        if row["failed"] is None or pd.isna(row["failed"]):
            assert row["rank_base"] in places.values()
            checked += row["rank_base"] == next(iter(places.values()))
        else:
            assert row["failed"] == NO_UNLIKE_TOKENS
    assert checked


def test_no_target_holds_without_delta(run: Run) -> None:
    for name in ("unrelated", "unclamped", "distractor", "unclamped_distractor"):
        found = rows_of(run, name)
        done = found[found["failed"].isna()]
        assert len(done), name
        assert (done["rank_base"] > 12).all()
        assert (done["rank_defended"] > 12).all()
        assert (done["rank_recovered"] <= 12).eq(done["recovered"]).all()
        why = NO_UNLIKE_TOKENS if name.startswith("un") and "distractor" not in name else THERE_ALREADY  # fmt: skip
        assert set(found["failed"].dropna()) <= {why}


def test_a_distractor_that_is_there_already_fails_with_the_reason(run: Run, folder: Path) -> None:
    rows, tokenizer, logits_BV = next_logits(folder)
    found = rows_of(run, "distractor")
    found = found[found["limit"] == 8].set_index("example")
    for example, row in found.iterrows():
        at = int(str(example)) - 1
        id = tokenizer(f" {rows[at]['s']}", add_special_tokens=False).input_ids[0]
        if int((logits_BV[at] >= logits_BV[at][id]).sum()) <= 12:
            assert row["failed"] == THERE_ALREADY
    failed = found["failed"].notna().sum()
    assert run.result.controls["distractor"].metrics["recovery_rate"].n == len(found) - failed


def test_least_norms_are_searched_and_have_a_ratio_under_the_clamp_alone(run: Run) -> None:
    controls = run.result.controls
    assert {name: control.method for name, control in controls.items()} == {
        "noise": "random_direction", "unrelated": "another_row", "unclamped": "another_row_undefended",
        "distractor": "another_behavior", "unclamped_distractor": "another_behavior_undefended",
    }  # fmt: skip
    for name in ("unrelated", "distractor"):
        assert "budget_ratio" in controls[name].metrics
        assert "smallest_norm" in controls[name].metrics
    for name in ("unclamped", "unclamped_distractor"):
        assert "smallest_norm" in controls[name].metrics
        assert "budget_ratio" not in controls[name].metrics
    searched = rows_of(run, "unrelated", "smallest_norm_control")
    reached = searched[searched["recovered"]]
    assert len(reached)
    assert (reached["rank_recovered"] <= 12).all()


def test_targets_do_not_depend_on_the_batch(run: Run, tmp_path: Path) -> None:
    other = run_of(tmp_path, SPEC, batch_size=2)
    for name in ("unrelated", "distractor"):
        one, two = (rows_of(made, name)[["example", "limit", "failed", "rank_base", "rank_defended"]].reset_index(drop=True) for made in (run, other))  # fmt: skip
        pd.testing.assert_frame_equal(one, two)


def test_the_report_of_such_controls_is_written(run: Run) -> None:
    page = run.html()
    assert "on reaching another example&#39;s target, with a norm" in page
    assert "on reaching another example&#39;s target without the clamp" in page
    assert "on another behavior" in page


# --- Which rows are unlike ------------------------------------------------------------------------


class _Resources:
    """Examples whose tokens are their words."""

    def __init__(self, rows: list[dict[str, str]]) -> None:
        from recoverdsl.sources.data import Example

        self.examples = [Example(str(n), row["prompt"], row) for n, row in enumerate(rows)]
        self.words: list[str] = []
        self.prompts = [[id for word in row["prompt"].split() for id in self.encode_text(f" {word}")] for row in rows]  # fmt: skip
        self.model, self.device = self, torch.device("cpu")

    def encode_text(self, text: str) -> list[int]:
        if text not in self.words:
            self.words.append(text)
        return [self.words.index(text)]


def unlike(holds: str, rows: list[dict[str, str]], at: int = 0) -> list[int]:
    checked = check(claims.SPEC.replace(SCORED, f"  holds = {holds}\n"))
    assert checked.spec is not None, checked.errors
    from recoverdsl.compiler.steps import Behavior

    behavior = Behavior(checked.spec.behaviors["names_the_recipient"].holds)
    return list(unlike_rows(_Resources(rows), behavior, range(len(rows)), at))  # type: ignore[arg-type]


ROWS = [
    {"prompt": "Ann and Bob: to", "io": "Ann", "s": "Bob", "gold": "A"},
    {"prompt": "Cat and Dan", "io": "Cat", "s": "Dan", "gold": "A"},
    {"prompt": "Ann and Eve", "io": "Ann", "s": "Eve", "gold": "B"},
    {"prompt": "Bob and Fay", "io": "Bob", "s": "Fay", "gold": "C"},
    {"prompt": "An and Gus", "io": "An", "s": "Gus", "gold": "D"},
]


def test_a_row_with_the_own_token_or_a_word_of_the_prompt_is_not_unlike() -> None:
    # Row 2 has the own name, row 3 one that the prompt has before a colon; "An" is no word of it.
    assert unlike('top_token == " {io}"', ROWS) == [1, 4]
    assert unlike('top_token == " {io}"', ROWS, at=3) == [4, 0, 1, 2]


def test_all_tokens_of_a_row_have_to_be_unlike() -> None:
    assert unlike('logit(" {io}") > logit(" {s}")', [*ROWS, {"prompt": "x", "io": "Hal", "s": "Ann", "gold": "A"}]) == [1, 4]  # fmt: skip


def test_choices_that_every_prompt_shows_may_occur_in_it() -> None:
    rows = [{**row, "prompt": "A B C D"} for row in ROWS]
    assert unlike('most_likely(" A", " B", " C", " D") == " {gold}"', rows) == [2, 3, 4]
