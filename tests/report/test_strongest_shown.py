"""The row `strongest`, wherever attacks are shown: with the attacks that it covers."""

from __future__ import annotations

from attrs import evolve

from recoverdsl.language.schema import Wilson
from recoverdsl.measure.results import Result, from_json, metric_rows, to_json
from recoverdsl.measure.summary import Planned, summarize
from recoverdsl.report.cells import caption, table
from recoverdsl.report.html import render_html
from recoverdsl.report.markdown import to_markdown
from recoverdsl.report.sentences import attack_sentence, headline
from tests.report.conftest import planted_result, planted_rows

LIMITS = (2.0, 5.0, 10.0, 20.0)


def together() -> Result:
    """Return a result whose two attacks are covered; one of them was not run at norm 2."""
    rows = planted_rows()
    rows = rows[~((rows["name"] == "unconstrained") & (rows["limit"] == 2.0))]
    planned = {"unconstrained": Planned(LIMITS[1:], "jacobian"), "projected": Planned(LIMITS, "orthogonal")}  # fmt: skip
    summary = summarize(
        rows, {"recovery_rate": Wilson()}, attacks=planned, strongest=("unconstrained", "projected")
    )
    return evolve(planted_result(planted_rows()), attacks=summary.attacks)


def test_every_report_has_the_row_and_says_what_it_covers() -> None:
    result = together()
    assert [row.limit for row in table(result) if row.name == "strongest"] == ["2", "5", "10", "20"]
    said = (
        "strongest: recovered by any of unconstrained and projected; at norm 2, by projected alone."
    )
    assert said in caption(result)
    assert said in to_markdown(result)
    page = render_html(result, planted_rows())
    assert said in page
    assert "is the worst case over unconstrained and projected, example by example" in page
    assert "At norm 2 it is over projected alone." in attack_sentence(result.attacks["strongest"])
    assert page.count("strongest") > 5
    assert {row["name"] for row in metric_rows(result)} >= {"strongest"}
    assert from_json(to_json(result)) == result


def test_a_row_that_every_limit_shares_speaks_of_no_limit() -> None:
    summary = summarize(
        planted_rows(), {}, attacks={n: Planned(LIMITS) for n in ("unconstrained", "projected")},
        strongest=("unconstrained", "projected"),
    )  # fmt: skip
    result = evolve(together(), attacks=summary.attacks)
    assert "strongest: recovered by any of unconstrained and projected." in caption(result)
    assert "alone" not in attack_sentence(result.attacks["strongest"])


def test_the_headline_of_the_worst_case_names_the_controls_of_its_attacks() -> None:
    result = together()
    result = evolve(
        result,
        expectations=(evolve(result.expectations[0], subject="strongest", outcome="broken"),),
    )
    said = str(headline(result))
    assert said.startswith("The clamp does not hold: ")
    assert "the same search elicits another example's answer in 6 of 70" in said


def test_counts_by_category_include_it() -> None:
    rows = planted_rows()
    rows["category"] = "only"
    counts = to_markdown(together(), rows).partition("Recovered, by category")[2]
    assert "strongest" in counts
    assert "0 of 0" not in counts


def test_a_result_without_it_is_shown_as_before() -> None:
    result = planted_result(planted_rows())
    assert "strongest" not in render_html(result, planted_rows())
