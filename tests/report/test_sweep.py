"""The table, record and page of a sweep, on planted results."""

from __future__ import annotations

import io
import re

import attrs
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from recoverdsl.errors import UsageError
from recoverdsl.measure.intervals import wilson
from recoverdsl.measure.results import ClampedBehavior, ClampResult, Counts, Result
from recoverdsl.measure.sweeps import (
    PointResult,
    SweepResult,
    axes_of,
    from_json,
    number,
    to_frame,
    to_json,
)
from recoverdsl.report.clamps import flips_named
from recoverdsl.report.sweep_page import (
    render_sweep,
    sweep_expectations,
    sweep_headline,
    sweep_rows,
)
from recoverdsl.report.sweep_plots import over_axis
from recoverdsl.report.terminal import show_sweep
from tests.report.test_report import Page

FLIPS = 70


def at(result: Result, recovered: int) -> Result:
    """Return the result with `recovered` examples recovered by every attack at its largest limit."""
    attacks = {
        name: attrs.evolve(a, metrics=a.metrics | {"recovery_rate": wilson(recovered, FLIPS)})
        for name, a in result.attacks.items()
    }
    return attrs.evolve(result, attacks=attacks)


@pytest.fixture(scope="module")
def swept(result: Result) -> SweepResult:
    points = [
        PointResult(
            "budgets", {"projected.limit": f"norm <= {limit}", "clamp.to": to},
            f"points/{limit}{to}", at(result, back),
        )
        for limit, found in ((2, (7, 0)), (10, (35, 14)), (20, (70, 21)))
        for to, back in zip(("-5", "-1"), found, strict=True)
    ]  # fmt: skip
    words = PointResult("precision", {"model.dtype": "float32"}, "points/float32", result)
    return SweepResult(result.spec, (*points, words))


def test_a_sweep_is_read_again_as_it_was_written(swept: SweepResult) -> None:
    again = from_json(to_json(swept))
    assert again == swept
    assert to_json(again) == to_json(swept)
    with pytest.raises(UsageError, match="recoverdsl/sweep/2"):
        from_json(to_json(swept).replace("recoverdsl/sweep/2", "recoverdsl/sweep/3"))


def test_the_table_has_a_row_for_every_figure_of_every_point(swept: SweepResult) -> None:
    table = to_frame(swept)
    rates = table[(table.metric == "recovery_rate") & (table.name == "projected")]
    rates = rates[(rates.sweep == "budgets") & (rates.limit == 20.0)]
    found = rates.set_index(["projected.limit", "clamp.to"])["value"].round(9).to_dict()
    # Axes whose values are all numbers, or limits, are numbers.
    assert found == {
        (2, -5): 0.1, (2, -1): 0.0, (10, -5): 0.5, (10, -1): 0.2, (20, -5): 1.0, (20, -1): 0.3,
    }  # fmt: skip
    figures = sum(
        len(b.metrics) for p in swept.points
        for o in (*p.result.attacks.values(), *p.result.controls.values()) for b in o.budgets[:-1]
    ) + sum(
        len(o.metrics) for p in swept.points
        for o in (*p.result.attacks.values(), *p.result.controls.values())
    )  # fmt: skip
    assert len(table) == figures
    assert set(table.loc[table.sweep == "precision", "model.dtype"]) == {"float32"}
    assert pd.read_csv(io.StringIO(table.to_csv(index=False))).shape == table.shape


@pytest.mark.parametrize("param", ["n", "value", "point", "kind", "name", "metric", "verdict"])
def test_a_param_may_have_the_name_of_a_column(swept: SweepResult, param: str) -> None:
    points = [attrs.evolve(p, values={param: str(i)}) for i, p in enumerate(swept.points)]
    table = to_frame(attrs.evolve(swept, points=tuple(points)))
    assert set(table[f"param.{param}"]) == set(range(len(points)))
    assert set(table["kind"]) == {"attack", "control"}


@pytest.mark.parametrize(
    ("text", "value"),
    [("50", 50), ("-5.0", -5), ("- 5", -5), ("95%", 0.95), ("1e-3", 1e-3), ("norm <= 20", 20)],
)
def test_a_value_that_is_a_number_has_its_place_on_the_axis(text: str, value: float) -> None:
    assert number(text) == pytest.approx(value)


@given(st.sampled_from(["mid", "true", '"a 5"', "[1, 2]", "norm <= [2, 5]", "adam(lr = 0.1)", ""]))
def test_other_values_are_words(text: str) -> None:
    assert number(text) is None


def test_the_axis_along_which_something_changes_comes_first(result: Result) -> None:
    points = [PointResult("s", {"a": "1", "b": b}, b, result) for b in ("2", "3")]
    assert axes_of(points) == ("b", "a")


def test_the_page_shows_every_point_and_links_its_report(swept: SweepResult) -> None:
    page = render_sweep(swept, spec="recoverdsl 1\n# <b>\n")
    read = Page(page)
    assert read.open == []
    ids = [a["id"] for _, a in read.elements if a.get("id")]
    assert len(ids) == len(set(ids))
    links = [a["href"] for tag, a in read.elements if tag == "a"]
    assert links == [f"{p.folder}/report.html" for p in swept.points]
    for row in sweep_rows(swept.sweeps["budgets"]):
        assert all(cell in page for cell in row.figures)
    assert "&lt;b&gt;" in page and "<b>" not in page
    assert sweep_headline(swept) in page
    assert sweep_headline(swept) == "The claim does not hold at 7 of 7 points."


def test_points_have_one_number_throughout_the_page(swept: SweepResult) -> None:
    links = re.findall(r'href="([^"]*)/report.html">(\d+)<', render_sweep(swept))
    assert links == [(p.folder, str(at)) for at, p in enumerate(swept.points, start=1)]


def test_the_page_says_at_which_points_an_expectation_is_met(swept: SweepResult) -> None:
    first, *others = swept.points[0].result.expectations
    outcomes = ["met", "met", "broken", "undecided", "broken", "broken", "met"]
    points = [
        attrs.evolve(
            p,
            result=attrs.evolve(
                p.result, expectations=(attrs.evolve(first, outcome=outcome), *others)
            ),
        )
        for p, outcome in zip(swept.points, outcomes, strict=True)
    ]
    mixed = attrs.evolve(swept, points=tuple(points))
    expected, *_ = sweep_expectations(mixed)
    says = "met at points 1–2 and 7, not met at points 3 and 5–6, undecided at point 4"
    assert (expected.text, str(expected)) == (first.text, says)
    assert says in render_sweep(mixed)
    console = Console(file=io.StringIO(), width=200, highlight=False)
    show_sweep(mixed, console)
    assert f"{first.text}: {says}" in console.file.getvalue()  # type: ignore[attr-defined]


def test_numbers_that_have_no_room_on_the_axis_are_left_out(result: Result) -> None:
    values = ["0.5", "1", "1.5", "2", "2.5", "3", "10", "100"]
    points = [
        PointResult("s", {"projected.limit": f"norm <= {v}"}, v, at(result, 7)) for v in values
    ]
    drawn = over_axis(points, "recovery_rate", "one", rate=True)
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
    assert "projected.limit: norm ≤" in labels
    shown = [label for label in labels if label in values]
    assert {"0.5", "1", "100"} <= set(shown)
    assert not {"2.5", "3"} <= set(shown)


def test_figures_are_drawn_at_their_numbers(swept: SweepResult) -> None:
    drawn = over_axis(swept.sweeps["budgets"], "recovery_rate", "one", rate=True)
    label = re.search(r'aria-label="([^"]*)"', drawn)
    assert label is not None
    assert (
        "attack projected with clamp.to = -5: 10% at norm &lt;= 2, 50% at norm &lt;= 10 and 100% at norm &lt;= 20"
        in label[1]
    )
    assert over_axis(swept.sweeps["budgets"], "recovery_rate", "one", rate=True) == drawn
    assert "float32" in over_axis(swept.sweeps["precision"], "drift", "two", rate=False)


def test_of_several_clamps_and_behaviors_each_has_its_own_valid_flips(result: Result) -> None:
    """The row of an attack has the flips of its own, and that of a point names each."""
    held, gentle = Counts(96, 80, 70, 0), Counts(96, 80, 9, 0)
    other = Counts(96, 60, 33, 0)
    under = {
        name: attrs.evolve(attack, under=clamp, behavior="says")
        for (name, attack), clamp in zip(result.attacks.items(), ("held", "gentle"), strict=False)
    }
    clamps = {"held": ClampResult({"says": ClampedBehavior(held)}), "gentle": ClampResult({"says": ClampedBehavior(gentle)})}  # fmt: skip
    made = attrs.evolve(result, counts=held, clamps=clamps, attacks=under, controls={})
    points = SweepResult(result.spec, (PointResult("s", {"clamp.to": "1"}, "points/1", made),))
    frame = to_frame(points)
    assert frame.groupby("name")["valid_flips"].unique().map(list).to_dict() == dict(
        zip(under, ([70], [9]), strict=True)
    )
    assert flips_named(made) == "held 70, gentle 9"
    assert "<td>held 70, gentle 9</td>" in render_sweep(points)
    two = attrs.evolve(made, clamps={}, behaviors={"says": held, "ranked": other})
    assert flips_named(two) == "says 70, ranked 33"
    both = {name: attrs.evolve(one, behaviors={**one.behaviors, "ranked": ClampedBehavior(other)}) for name, one in clamps.items()}  # fmt: skip
    assert flips_named(
        attrs.evolve(made, clamps=both, behaviors={"says": held, "ranked": other})
    ) == ("held says 70, held ranked 33, gentle says 9, gentle ranked 33")
    assert flips_named(result) == str(result.counts.valid_flips)
