"""The report of an audit that is judged by generated texts."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import attrs
import pandas as pd
import pytest

from recoverdsl.measure.intervals import wilson
from recoverdsl.measure.results import Result
from recoverdsl.report import parts
from recoverdsl.report.cells import costs, headings, table
from recoverdsl.report.evidence import cautions, finding
from recoverdsl.report.html import _outcomes, render_html
from recoverdsl.report.markdown import to_markdown
from recoverdsl.report.openings import OPENINGS, categories, openings
from recoverdsl.report.plots import part_bars, recovery_against_budget, recovery_against_drift
from recoverdsl.report.sentences import attack_sentence, headline
from recoverdsl.report.written import spec_of
from tests.report import planted_answers as planted
from tests.report.test_report import Page, printed

N = 43


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return planted.planted_rows(N)


@pytest.fixture(scope="module")
def result(rows: pd.DataFrame) -> Result:
    return planted.planted_result(rows)


@pytest.fixture(scope="module")
def page(result: Result, rows: pd.DataFrame) -> str:
    return render_html(result, rows, spec=planted.SPEC)


def with_rates(result: Result, control: str, successes: dict[float, int]) -> Result:
    """Return the result with other recovery rates of a control at its limits."""
    old = result.controls[control]
    budgets = tuple(
        attrs.evolve(
            b, metrics={**b.metrics, "recovery_rate": wilson(successes[b.limit or 0.0], N)}
        )
        for b in old.budgets
    )
    rate = {"recovery_rate": budgets[-1].metrics["recovery_rate"]}
    new = attrs.evolve(old, budgets=budgets, metrics={**old.metrics, **rate})
    return attrs.evolve(result, controls={**result.controls, control: new})


def flat(text: str) -> str:
    return " ".join(text.split())


# --- The table ---


def test_the_table_shows_both_drifts_and_how_base_like_the_texts_are(result: Result) -> None:
    assert {"base_like", "drift", "generated_drift", "recovered"} <= set(headings(result))
    last = next(row for row in table(result) if row.name == "recover" and row.limit == "40")
    metrics = result.attacks["recover"].metrics
    assert last.base_like == f"{100 * (metrics['base_like_rate'].value or 0):.1f}%"
    assert (last.recovered, last.generated_drift) == ("100%", "0")
    assert last.drift.endswith("e-7")
    assert last.smallest_norm


def test_a_suffix_has_no_norm_and_is_not_called_unlimited(result: Result, page: str) -> None:
    row = next(row for row in table(result) if row.name == "suffix")
    assert (row.limit, row.norm, row.smallest_norm) == ("suffix", "–", "")
    for text in (page, to_markdown(result), printed(result)):
        assert "no limit" not in text
        assert "A suffix has no norm" in flat(text)


def test_attacks_read_as_they_are_made(result: Result) -> None:
    spec = spec_of(planted.SPEC)
    assert spec is not None
    written = spec.attacks
    said = {n: attack_sentence(a, written.get(n)) for n, a in result.attacks.items()}
    assert "in 2 stages of norm at most 30 and 40" in said["staged"]
    assert "together at most 50" in said["staged"]
    assert "appends 16 trained embeddings to each request" in said["suffix"]
    assert "residual stream, one" not in said["suffix"]
    assert "appends a suffix to each request" in attack_sentence(result.attacks["suffix"])
    assert spec_of("no spec at all {") is None


# --- The controls ---


def test_an_unrelated_answer_that_is_also_elicited_makes_recovery_weak_evidence(
    result: Result, rows: pd.DataFrame
) -> None:
    elicited = with_rates(result, "unrelated", {5.0: 0, 10.0: 0, 20.0: 0, 40.0: 41})
    found = finding(elicited.controls["unrelated"], elicited.attacks["recover"])
    assert found is not None
    assert "elicited in 41 of 43" in found.found
    assert "recovery at this budget is weak evidence" in found.shows
    assert "At norm 20 it is elicited in none" in found.shows
    for text in (render_html(elicited, rows), to_markdown(elicited), printed(elicited)):
        assert "Recovery by the attack recover at norm 40 is weak evidence" in flat(text)


def test_a_recovery_not_clearly_more_frequent_than_chance_is_weak_evidence(
    result: Result,
) -> None:
    rare = with_rates(result, "noise", {5.0: 0, 10.0: 0, 20.0: 0, 40.0: 0})
    attack = rare.attacks[rare.controls["noise"].of]
    once = {"recovery_rate": wilson(1, N)}
    budgets = tuple(attrs.evolve(b, metrics=b.metrics | once) for b in attack.budgets)
    seldom = attrs.evolve(attack, budgets=budgets, metrics=attack.metrics | once)
    found = finding(rare.controls["noise"], seldom)
    assert found is not None
    assert "nearly any change" not in found.shows
    assert "so rare there that random directions" in found.caution
    assert "too" not in found.caution.split()


def test_where_it_is_elicited_in_a_few_only_those_are_weak(result: Result) -> None:
    few = with_rates(result, "unrelated", {5.0: 0, 10.0: 0, 20.0: 0, 40.0: 2})
    assert "weak evidence in 2 of 43 examples" in cautions(few)[0]


def test_an_unrelated_answer_that_is_not_elicited_is_no_reason_for_caution(result: Result) -> None:
    none = with_rates(result, "unrelated", {5.0: 0, 10.0: 0, 20.0: 0, 40.0: 0})
    found = finding(none.controls["unrelated"], none.attacks["recover"])
    assert found is not None
    assert "does not also elicit an unrelated answer" in found.shows
    assert cautions(none) == []


def test_the_norm_of_an_unrelated_answer_is_reported(result: Result) -> None:
    ratio = result.controls["unrelated"].metrics["budget_ratio"]
    found = finding(result.controls["unrelated"], result.attacks["recover"])
    assert found is not None
    assert f"every token of it took at least {ratio.value:.3g} times the norm" in found.found
    assert f"{ratio.n} examples whose base answer was reached" in found.found


def test_the_smallest_norm_is_said_to_reach_the_target_and_not_to_recover(
    result: Result, page: str
) -> None:
    assert headings(result)["smallest_norm"] == "smallest norm that reaches the target"
    for text in (page, to_markdown(result), printed(result)):
        assert "every token of the target" in flat(text)
        assert "norm that recover" not in flat(text)


def test_the_columns_of_a_terminal_have_the_names_of_the_report(result: Result) -> None:
    shown = flat(printed(result))
    for name in ("base-like:", "drift (generated):", "smallest norm:"):
        assert name in shown


def test_random_directions_that_recover_as_often_are_a_caution(result: Result) -> None:
    assert "the direction of the change matters" in str(
        finding(result.controls["noise"], result.attacks["recover"])
    )
    many = with_rates(result, "noise", {5.0: 0, 10.0: 9, 20.0: 30, 40.0: 42})
    assert any("random directions of that norm" in said for said in cautions(many))


@pytest.mark.parametrize("elicited", [0, 20, N])
def test_another_answer_without_the_clamp_says_nothing_about_the_clamp(
    result: Result, elicited: int
) -> None:
    half = with_rates(result, "undefended", {5.0: 0, 10.0: 0, 20.0: 0, 40.0: elicited})
    found = finding(half.controls["undefended"], half.attacks["recover"])
    assert found is not None and not found.caution
    assert (
        f"with nothing clamped, the unrelated answer is elicited in {elicited} of {N}"
        in found.found
    )
    assert "it says nothing about the clamp" in found.shows
    assert "times the norm" not in str(found)
    only = attrs.evolve(half, controls={"undefended": half.controls["undefended"]})
    assert "answer" not in headline(only).because


def test_each_control_states_its_finding_in_every_form(result: Result, page: str) -> None:
    for text in (page, to_markdown(result), printed(result)):
        for said in (
            "random directions recover the behavior", "the unrelated answer is elicited in",
            "with nothing clamped, the unrelated answer is elicited in",
        ):  # fmt: skip
            assert said in flat(text)


def test_the_headline_says_what_the_same_budget_also_elicits(result: Result) -> None:
    assert "elicits another example's answer in" in headline(result).because


# --- Parts of δ ---


def test_each_part_is_reported_alone_and_delta_without_it(result: Result) -> None:
    alone, without = (parts.bars(result, "recover", how) for how in ("alone", "without"))
    labels = [bar.label for bar in alone]
    assert labels == [
        "whole δ", "clamped features", "other features", "top 10 other features", "SAE residual",
    ]  # fmt: skip
    assert [bar.label for bar in without] == labels
    assert [round(bar.length or 0, 3) for bar in alone] == [1, 0.02, 0.9, 0.5, 1.3]
    assert alone[0].recovered == result.attacks["recover"].metrics["recovery_rate"]


@pytest.mark.parametrize("how", ["alone", "without"])
def test_the_bars_are_drawn_with_their_intervals_and_described_in_words(
    result: Result, how: str
) -> None:
    svg = part_bars(result, "recover", how, "x")
    root = ElementTree.fromstring(svg)
    said = root.get("aria-label") or ""
    rate = next(bar for bar in parts.bars(result, "recover", how) if bar.label == "SAE residual")
    assert rate.recovered and f"SAE residual: {100 * (rate.recovered.value or 0):.3g}%" in said
    texts = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"recovered", "base-like", "1.3 × δ" if how == "alone" else "0.9 × δ"} <= set(texts)
    assert svg == part_bars(result, "recover", how, "x")


def test_the_parts_are_in_every_form(result: Result, page: str) -> None:
    assert page.count("<figure>") == 4
    for text in (page, to_markdown(result), printed(result)):
        assert "SAE residual" in flat(text) or "residual" in text
        assert "without" in text
        assert "ablated" not in text
    assert "may be longer than δ" in page
    assert page.count("δ without each part") == 3  # its axis, description and caption


def test_parts_of_a_behavior_without_texts_have_no_base_like_rate(result: Result) -> None:
    def without_texts(metrics: dict[str, object]) -> dict[str, object]:
        return {m: e for m, e in metrics.items() if "_like" not in m}

    attacks = {
        n: attrs.evolve(a, metrics=without_texts(dict(a.metrics)))
        for n, a in result.attacks.items()
    }
    scored = attrs.evolve(result, attacks=attacks, controls={})
    assert parts.headings(scored) == ["part", "norm, × δ", "recovered", "norm, × δ, without", "recovered, without"]  # fmt: skip
    assert {len(cells) for cells in parts.rows(scored, "recover")} == {5}
    assert "base-like" not in part_bars(scored, "recover", "alone", "x")


# --- Texts ---


def test_openings_count_every_text_once(result: Result, rows: pd.DataFrame) -> None:
    counted = {row.name: row.counts for row in openings(result, rows)}
    assert set(counted) == {"recover", "staged", "suffix", "noise", "unrelated", "undefended"}
    for counts in counted.values():
        assert list(counts) == list(OPENINGS)
        assert sum(map(int, counts.values())) == N


def test_recovery_by_category_adds_up(result: Result, rows: pd.DataFrame) -> None:
    for row in categories(result, rows):
        found = [tuple(map(int, count.split(" of "))) for count in row.counts.values()]
        outcome = {**result.attacks, **result.controls}[row.name].metrics["recovery_rate"]
        assert sum(tried for _, tried in found) == outcome.n == N
        assert sum(back for back, _ in found) == round((outcome.value or 0) * N)
    assert categories(result, rows.assign(category=None)) == ()


@pytest.fixture(scope="module")
def drawn(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with three draws of the control by random directions, of which the second recovers
    the first example, with and without the constraint; without it the third recovers it too."""
    noise = rows[rows["name"] == "noise"]
    draws = [
        noise.assign(draw=draw, kind=kind, recovered=(noise["example"] == noise["example"].iloc[0]) & back)
        for kind, more in (("control", 0), ("unconstrained_control", 1))
        for draw, back in ((0, False), (1, True), (2, bool(more)))
    ]  # fmt: skip
    together = pd.concat([rows[rows["name"] != "noise"], *draws], ignore_index=True)
    return together.astype({"draw": "Int64", "recovered": "boolean"})


def test_several_draws_are_counted_as_draws_in_every_form(drawn: pd.DataFrame) -> None:
    result = planted.planted_result(drawn)
    found = finding(result.controls["noise"], result.attacks["recover"])
    assert found is not None
    assert f"random directions recover the behavior in 1 of {3 * N} draws, the attack" in str(found)
    assert (
        f"Without the constraint on the clamped features they do so in 2 of {3 * N} draws."
        in str(found)
    )
    page = render_html(result, drawn)
    for text in (page, to_markdown(result), printed(result)):
        assert f"1 of {3 * N} draws" in flat(text)
        assert "over all draws, 3 draws for each flip, and its interval over flips" in flat(text)
    (by_category,) = [row for row in categories(result, drawn) if row.name == "noise"]
    assert all(count.endswith(" draws") for count in by_category.counts.values())
    tried = [int(count.split()[2]) for count in by_category.counts.values()]
    back = [int(count.split()[0]) for count in by_category.counts.values()]
    assert (sum(tried), sum(back)) == (3 * N, 1)


def test_the_bar_of_random_directions_has_a_part_for_each_draw(drawn: pd.DataFrame) -> None:
    (bar,) = [one for one in _outcomes(planted.planted_result(drawn), drawn) if one.name == "noise"]
    assert sum(bar.parts.values()) == 3 * N
    assert (bar.with_reactivation + bar.without_reactivation, bar.failed) == (1, 0)


def test_costs_are_reported_for_every_attack(result: Result, page: str) -> None:
    spent = {cost.name: (cost.forward_passes, cost.gradient_steps) for cost in costs(result)}
    assert spent["recover"] == ("60", "31")
    assert "<h2>Cost</h2>" in page


def test_seconds_are_shown_only_in_the_terminal(result: Result) -> None:
    took = {"attack": {"recover": 28.53}}
    out = " ".join(printed(result, seconds=took).split())
    assert "recover 60 forward passes, 31 gradients, 28.5 s;" in out
    assert "forward passes" not in printed(result)


# --- The whole ---


def test_the_page_is_complete_and_its_ids_differ(page: str) -> None:
    read = Page(page)
    assert read.open == []
    ids = [a["id"] for _, a in read.elements if a.get("id")]
    assert len(ids) == len(set(ids))
    for heading in (
        "drift on the generated text", "Attribution of δ to its parts: recover",
        "Openings of the generated texts", "Recovery by category", "<h2>Cost</h2>",
    ):  # fmt: skip
        assert heading in page


def test_figures_show_drift_on_the_text_and_leave_suffixes_out_of_budgets(
    result: Result, rows: pd.DataFrame
) -> None:
    assert "drift on the generated text" in recovery_against_drift(result)
    assert "suffix" in recovery_against_drift(result)
    budget = recovery_against_budget(result, rows)
    assert "suffix" not in budget
    assert "staged" in budget


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_terminal_at_any_width(result: Result, width: int) -> None:
    assert max(map(len, printed(result, width).splitlines())) <= width
    assert max(map(len, printed(result, width, "ascii").splitlines())) <= width


def test_markdown_tables_are_even(result: Result, rows: pd.DataFrame) -> None:
    text = to_markdown(result, rows)
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    for words in ("Openings of the generated texts", "by category", "forward passes"):
        assert words in text


# --- Revealed ---


def test_texts_are_folded_and_escaped(rows: pd.DataFrame) -> None:
    revealed = planted.planted_result(rows, revealed=True)
    text = render_html(revealed, rows, texts=planted.planted_texts())
    read = Page(text)
    assert read.open == []
    assert len(read.scripts) == 1
    assert "&lt;b&gt;boil&lt;/b&gt;" in text
    assert "\x1b" not in text
    assert '<details class="texts">' in text
    assert "This run reveals texts" in text
    assert "This run reveals texts" in printed(revealed)


def test_a_redacted_run_says_so(page: str, result: Result) -> None:
    assert "left out of this page and of every file of the run" in flat(page)
    assert "revealed" not in printed(result)
    assert '<details class="texts">' not in page
