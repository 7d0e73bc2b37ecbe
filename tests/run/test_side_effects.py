"""Clamps that deserve cautions and neighbors that do not, from spec to verdict and report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

import recoverdsl
from recoverdsl.language import check
from recoverdsl.measure.cautions import KL, cautions
from recoverdsl.measure.results import Result, from_json, to_json
from recoverdsl.report.evidence import cautions as said
from recoverdsl.report.markdown import to_markdown
from recoverdsl.report.side_effects import side_effects
from tests.run import answers, claims
from tests.run.commands import cli

BEFORE = claims.SPEC[: claims.SPEC.index("attack unconstrained")]

Ran = Callable[..., recoverdsl.Run]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("cautions")
    claims.write(folder)

    def run(clamp: str, select: str = "features(1, 2, 3)") -> recoverdsl.Run:
        text = BEFORE.replace("top(10, by = attribution(names_the_recipient))", select)
        spec = folder / "claim.rec"
        spec.write_text(
            text[: text.index("intervene")] + f"intervene clamp {{ set = chosen; {clamp} }}\n"
        )
        return recoverdsl.load(spec).run(None, store=folder / "store")

    return run


def names(result: Result) -> list[str]:
    return [caution.name for caution in result.cautions]


def test_a_clamp_that_changes_nothing_has_no_effect_and_no_caution(ran: Ran) -> None:
    result = ran("to = 1 * activation").result
    damage = result.damage["clamp"]
    assert (damage.kl.value, damage.kl.low, damage.kl.high) == (0.0, 0.0, 0.0)
    assert damage.perplexity_ratio == 1
    assert (damage.moved_examples.median, damage.moved_text.positions) == (None, 0)
    assert damage.texts == 40
    assert names(result) == []


def test_a_clamp_that_wrecks_the_model_moves_the_state_and_changes_ordinary_text(ran: Ran) -> None:
    result = ran("to = 300.0").result
    damage = result.damage["clamp"]
    assert names(result) == ["moves_the_state", "changes_ordinary_text"]
    assert damage.moved_examples.median is not None and damage.moved_examples.median > 10
    assert damage.kl.value is not None and damage.kl.value > 10 * KL
    assert damage.kl.low is not None and damage.kl.low > KL


def test_a_clamp_that_barely_moves_the_state_is_no_reason_for_caution(ran: Ran) -> None:
    result = ran("to = 0.9 * activation").result
    damage = result.damage["clamp"]
    assert names(result) == []
    assert damage.moved_examples.positions > 0
    assert damage.kl.value is not None and 0 < damage.kl.value < KL


def test_cautions_change_no_verdict(ran: Ran) -> None:
    wild = ran("to = 300.0").result
    assert wild.cautions
    assert evolve(wild, cautions=()).verdict == wild.verdict == "not_judged"
    off = ran("to = 300.0; ordinary_texts = 0").result
    assert (off.counts, off.expectations, off.verdict) == (wild.counts, wild.expectations, wild.verdict)  # fmt: skip


def test_a_clamp_that_is_not_measured_says_so_and_runs_no_step_for_it(ran: Ran) -> None:
    run = ran("to = 0.9 * activation; ordinary_texts = 0")
    assert names(run.result) == ["side_effects_unmeasured"]
    assert run.result.damage == {}
    assert not any("ordinary text" in step or "moved" in step for step in run.states)
    assert side_effects(run.result) == []


def test_fewer_texts_are_the_first_of_them(ran: Ran) -> None:
    few, all_of = (
        ran(f"to = 300.0; ordinary_texts = {count}").result.damage["clamp"] for count in (3, 40)
    )
    assert (few.texts, all_of.texts) == (3, 40)
    assert few.texts_digest != all_of.texts_digest
    assert few.moved_examples == all_of.moved_examples


def test_more_texts_than_there_are_is_a_mistake() -> None:
    text = claims.SPEC.replace("  when = active\n", "  when = active\n  ordinary_texts = 41\n")
    assert ["at most 40" in error.message for error in check(text).errors] == [True]


def test_every_report_shows_the_cautions_and_the_figures(ran: Ran) -> None:
    run = ran("to = 300.0")
    result = run.result
    text, page, fragment = to_markdown(result), run.html(), run._repr_html_()
    for caution in result.cautions:
        assert any(line == f"{caution.name}: {caution.sentence}" for line in said(result))
        for report in (text, page, fragment):
            assert caution.name in report.replace("\\", "")
    kl = result.damage["clamp"].kl
    on_text, moves = side_effects(result)
    assert f"{kl.value:.3g} nats per token" in on_text
    states = result.damage["clamp"].moved_examples
    assert f"at {states.positions} of {states.of} positions" in moves
    assert f"{kl.value:.3g} nats per token" in page


def test_figures_and_cautions_are_in_the_result_file(ran: Ran) -> None:
    result = ran("to = 300.0").result
    read = json.loads(to_json(result))
    assert [caution["name"] for caution in read["cautions"]] == names(result)
    assert read["damage"]["clamp"]["kl"]["n"] == 40
    assert from_json(to_json(result)) == result
    # A file that was written before there were any.
    for key in ("cautions", "damage"):
        del read[key]
    old = from_json(json.dumps(read))
    assert (old.damage, old.cautions, side_effects(old)) == ({}, (), [])


@pytest.mark.parametrize(
    ("at", "prompts", "written"),
    [("every_token", True, False), ("generated", False, True), ("[every_token, generated]", True, True)],
)  # fmt: skip
def test_the_states_of_a_written_text_count_where_the_clamp_acts(
    tmp_path: Path, at: str, prompts: bool, written: bool
) -> None:
    spec = answers.write(tmp_path, attacks="")
    text = spec.read_text()
    kept = "  at  = [every_token, generated] except first"
    assert kept in text
    spec.write_text(text.replace(kept, f"  at  = {at}"))
    run = recoverdsl.load(spec).run(None, store=tmp_path / "store", reveal=True)
    tokens = sum(len(one.prompt.split()) * prompts + answers.TOKENS * written for one in run.texts)
    moved = run.result.damage["clamp"].moved_examples
    assert moved.of == len(answers.LAYERS) * tokens > 0
    assert moved.positions > 0


def test_explain_prints_the_page_of_a_caution() -> None:
    done = cli("explain", "changes_ordinary_text")
    assert done.code == 0
    assert done.out.startswith("changes_ordinary_text: The clamp also changes ordinary text\n")


def test_cautions_of_a_run_follow_from_its_figures(ran: Ran) -> None:
    result = ran("to = 300.0").result
    assert cautions(["clamp"], result.damage) == result.cautions
