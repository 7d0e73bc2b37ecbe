"""The head of a report: the facts of the run, what its budget writes, and the protected features."""

from __future__ import annotations

import html
import re
from functools import cache
from pathlib import Path

import pytest
from attrs import evolve

from recoverdsl.measure.results import Result
from recoverdsl.report.html import render_html
from recoverdsl.report.markdown import FEATURES, to_markdown
from recoverdsl.report.protected_features import MANY, feature_tables
from recoverdsl.report.specificity import specificity
from recoverdsl.report.written import facts, spec_of
from tests.report.shown import SPEC, protected, with_unclamped
from tests.report.test_report import HOSTILE, Page, printed

GOLDEN = Path(__file__).with_name("golden")


def head(text: str) -> str:
    """Return the text of the first screen of a page, a line for each element that holds some."""
    inner = text[text.index("<header>") : text.index("</header>")]
    lines = re.sub(r"<[^>]*>", "", inner).splitlines()
    return "".join(f"{html.unescape(line.strip())}\n" for line in lines if line.strip())


@cache
def shown() -> dict[str, str]:
    result, rows = with_unclamped(40)
    return {
        "first_screen.txt": head(render_html(result, rows, spec=SPEC, date="2026-02-28")),
        "terminal.txt": printed(result),
        "report.md": to_markdown(result, rows),
    }


@pytest.mark.parametrize("name", ["first_screen.txt", "terminal.txt", "report.md"])
def test_golden(name: str) -> None:
    """`python -m tests.report.test_head` writes these files anew: read the difference."""
    assert shown()[name] == (GOLDEN / name).read_text(encoding="utf-8")


# --- The facts of the run -------------------------------------------------------------------------


def test_the_facts_say_what_was_tested_and_how_hard() -> None:
    said = {fact.term: fact.says for fact in facts(spec_of(SPEC), "2026-02-28")}
    assert said == {
        "model": 'smollm2, from folder("model")',
        "SAE": 'mid, at the output of layer 14, from folder("sae")',
        "clamp": "the features of chosen set to -5 where active, at every token except the first",
        "attack unconstrained": "norm at most 2, 5, 10 or 20; at most 100 steps of adam; no restarts",
        "attack projected": "norm at most 2, 5, 10 or 20; at most 40 steps of adam; 3 restarts; "
        "constraint: orthogonal",
        "date": "2026-02-28",
    }


@pytest.mark.parametrize(
    ("instead", "says"),
    [
        ("steps = 1", "at most 1 step of adam"),
        ("steps = 7\n  with = apgd()", "at most 7 steps of apgd"),
        ("forward_passes = 60", "at most 60 forward passes"),
        ("restarts = 1", "; 1 restart;"),
    ],
)
def test_what_an_attack_sets_is_in_the_facts(instead: str, says: str) -> None:
    text = SPEC.replace("steps    = 40\n  restarts = 3", instead)
    (said,) = (fact.says for fact in facts(spec_of(text)) if fact.term == "attack projected")
    assert says in f"; {said};"


def test_without_a_spec_only_the_date_is_known() -> None:
    assert facts(None) == []
    assert [fact.term for fact in facts(None, "2026-02-28")] == ["date"]


# --- What the budget writes -----------------------------------------------------------------------


def sentence(count: int | None, norm: float | None = 5.0) -> str:
    result, _ = with_unclamped(count)
    first, *others = result.expectations
    (said,) = specificity(evolve(result, expectations=(evolve(first, norm=norm), *others)))
    return said


def test_the_limit_of_the_claim_comes_first_and_then_the_largest() -> None:
    said = sentence(None)
    assert said.startswith("At norm 5, the limit of the claim, projected recovers ")
    assert ". At norm 20, the largest limit, it recovers " in said
    assert said.count("the same search reaches another example's target (unrelated) in") == 1
    assert said.count("At norm") == 2


def test_a_claim_about_the_largest_limit_names_it_once() -> None:
    for norm in (None, 20.0):
        said = sentence(None, norm)
        assert said.startswith("At norm 20, the limit of the claim, projected recovers ")
        assert "largest" not in said


def test_without_a_claim_about_recovery_no_limit_is_called_one() -> None:
    result, _ = with_unclamped(None)
    for none in ((), result.expectations[1:]):
        (said,) = specificity(evolve(result, expectations=none))
        assert said.startswith("At norm 20, the largest limit, projected recovers ")
        assert "claim" not in said


def test_without_the_clamp_is_said_where_it_was_tried_alone() -> None:
    assert "Without the clamp" not in sentence(None)
    said = sentence(3)
    assert said.count("Without the clamp") == 1
    assert "Without the clamp it reaches the other target in 3 of 70 (unrelated unclamped)." in said
    assert said.index("Without the clamp") < said.index("At norm 20")


def test_the_clamp_makes_a_target_easier_or_harder_only_where_the_intervals_are_apart() -> None:
    """Under the clamp it is reached in 1 of 70."""
    easier, harder = "target easier to reach", "target harder to reach"
    assert easier not in sentence(0) and harder not in sentence(0)
    assert easier not in sentence(1) and harder not in sentence(1)
    assert "in 40 of 70 (unrelated unclamped), clearly more: the clamp makes even" in sentence(40)
    assert harder in sentence(40)
    # The other way round: many under the clamp, none without it.
    result, _ = with_unclamped(0)
    (pair,) = (p for p in result.specificities[0].budgets if p.norm == 5.0)
    under = result.controls["unrelated"]
    rates = {budget.limit: budget.metrics["recovery_rate"] for budget in under.budgets}
    many = evolve(rates[5.0], value=0.5, low=0.38, high=0.62)
    budgets = tuple(
        evolve(
            b, metrics={**b.metrics, "recovery_rate": many if b.limit == 5.0 else rates[b.limit]}
        )
        for b in under.budgets
    )
    result = evolve(
        result, controls={**result.controls, "unrelated": evolve(under, budgets=budgets)}
    )
    (said,) = specificity(result)
    assert pair.n == 70
    assert "in 0 of 70 (unrelated unclamped), clearly fewer: the clamp makes even an unrelated" in said  # fmt: skip
    assert easier in said


# --- The protected features -----------------------------------------------------------------------


def with_features(count: int, **changes: object) -> Result:
    result, _ = with_unclamped(None)
    return evolve(result, protected={"clamp": protected(count, **changes)})


def test_the_table_has_a_row_of_each_feature() -> None:
    (table,) = feature_tables(with_features(3))
    assert [row.cells for row in table.rows] == [
        ("12", "mid", "1", "0.5", "75%", "2.5", "0.125"),
        ("7", "mid", "2", "0.25", "75%", "2.5", "0.125"),
        ("999", "mid", "3", "0.001", "0%", "–", "–"),
    ]
    assert table.summary == (
        "The clamp acts on 3 features of mid, selected by attribution(names_it, over = ranking_prompts). "
        "Without the clamp 2 of them are active in at least one of the 128 tested prompts, at a token that "
        "the clamp covers."
    )


def test_what_the_values_are_over_depends_on_the_clamp() -> None:
    (active,) = feature_tables(with_features(2))
    (always,) = feature_tables(with_features(2, when="always"))
    (none,) = feature_tables(with_features(2, tokens=0, at="generated"))
    at = "the clamp covers (every_token except first)"
    assert f"{at} and at which the feature is active without it." in active.caption
    assert f"{at}." in always.caption
    assert none.caption == "The clamp covers no token of the prompts (generated), so no value was read."  # fmt: skip
    assert "active" not in none.summary


def test_listed_features_have_no_rank() -> None:
    (table,) = feature_tables(with_features(2, ranked_by=None))
    assert "2 features of mid, listed in the spec." in table.summary


@pytest.mark.parametrize(("count", "folded"), [(MANY - 1, False), (MANY, True)])
def test_a_long_table_is_shown_on_demand(count: int, folded: bool) -> None:
    result = with_features(count)
    _, rows = with_unclamped(None)
    text = render_html(result, rows)
    assert (f"<summary>Show the {count} features</summary>" in text) == folded
    assert text.count('<th scope="row">999</th>') == 1
    plain = to_markdown(result)
    assert f"The other {count - FEATURES} are in result.json." in plain
    assert "The other" not in to_markdown(with_features(FEATURES))


def test_only_a_page_of_neuronpedia_is_linked() -> None:
    _, rows = with_unclamped(None)
    bad = (HOSTILE, "https://evil.example/a/b/1", "javascript:alert(1)", "https://www.neuronpedia.org.evil/a", None, "https://www.neuronpedia.org/a/b/1\" x")  # fmt: skip
    result = with_features(2)
    for address in bad:
        of = protected(2)
        features = tuple(evolve(feature, neuronpedia=address) for feature in of.features)
        result = evolve(with_features(2), protected={HOSTILE: evolve(of, features=features, protect=HOSTILE)})  # fmt: skip
        (table,) = feature_tables(result)
        assert {row.link for row in table.rows} == {None}
        assert table.linked == ""
    page = render_html(result, rows)
    assert not [a for tag, a in Page(page).elements if tag == "a"]
    assert "links to its page" not in page
    linked = [a for tag, a in Page(render_html(with_features(2), rows)).elements if tag == "a"]
    assert linked == [{"href": "https://www.neuronpedia.org/a/b/12", "rel": "noreferrer"}]


def test_a_result_that_does_not_have_them_says_nothing_of_them() -> None:
    result, rows = with_unclamped(None)
    without = evolve(result, protected={})
    for text in (render_html(without, rows), to_markdown(without), printed(without)):
        assert "Protected features" not in text and "The clamp acts on" not in text


# --- The glossary ---------------------------------------------------------------------------------


def test_only_metrics_that_the_run_has_are_explained() -> None:
    result, rows = with_unclamped(None)
    text = render_html(result, rows)
    explained = set(re.findall(r'<th scope="row"><code>(\w+)</code></th>', text))
    outcomes = (*result.attacks.values(), *result.controls.values())
    assert explained == {metric for outcome in outcomes for metric in outcome.metrics}
    assert "recovery_rate" in explained
    assert not explained & {"base_like_rate", "generated_drift", "target_rank", "budget_ratio"}


if __name__ == "__main__":
    for file, text in shown().items():
        (GOLDEN / file).write_text(text, encoding="utf-8")
