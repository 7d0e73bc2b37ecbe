"""The report: its content, its safety with hostile names, and its self-containedness."""

from __future__ import annotations

import html
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import attrs
import pandas as pd
import pytest
from rich.console import Console

from recoverdsl.language.schema import METRICS
from recoverdsl.measure.intervals import Estimate
from recoverdsl.measure.results import Result, from_json
from recoverdsl.measure.strength import Sample
from recoverdsl.measure.verdict import Flag
from recoverdsl.report.cells import table
from recoverdsl.report.html import render_fragment, render_html
from recoverdsl.report.markdown import to_markdown
from recoverdsl.report.plots import recovery_against_budget, recovery_against_drift
from recoverdsl.report.sentences import headline
from recoverdsl.report.strength import strength
from recoverdsl.report.terminal import show
from recoverdsl.report.words import clean, figure, interval, percent

HOSTILE = "</script><script>alert(1)</script>\"'&$\\frac$|`*[x](http://evil)\x1b[31m\u202e"


def hostile(result: Result, rows: pd.DataFrame) -> tuple[Result, pd.DataFrame]:
    renamed = rows.assign(name=rows["name"].replace("projected", HOSTILE))
    attacks = {HOSTILE if n == "projected" else n: a for n, a in result.attacks.items()}
    controls = {n: attrs.evolve(c, of=HOSTILE) for n, c in result.controls.items()}
    expectations = tuple(
        attrs.evolve(e, text=HOSTILE, subject=HOSTILE) for e in result.expectations
    )
    changed = attrs.evolve(
        result,
        spec=attrs.evolve(result.spec, name=HOSTILE, audit=HOSTILE, digest=HOSTILE),
        attacks=attacks,
        controls=controls,
        expectations=expectations,
        inputs=(attrs.evolve(result.inputs[0], name=HOSTILE, kind=HOSTILE, digest=HOSTILE),),
        environment={HOSTILE: HOSTILE},
    )
    return changed, renamed


class Page(HTMLParser):
    """Every element of a page, and the text of its scripts."""

    VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


def printed(result: Result, width: int = 80, encoding: str = "utf-8", **more: Any) -> str:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    show(result, Console(file=out, width=width, highlight=False), **more)
    out.flush()
    out.seek(0)
    return out.read()


def test_the_headline_says_what_happened(result: Result) -> None:
    said = headline(result)
    assert said.verdict == "The clamp does not hold"
    assert "at norm 20 a perturbation orthogonal to the clamped features" in said.because
    assert "recovers the behavior in 69 of 69 examples" in said.because
    # Of its controls the headline names that with an unrelated target, which says more than random ones.
    assert "the same search elicits another example's answer in 6 of 70" in said.because
    assert "random" not in said.because
    alone = attrs.evolve(result, controls={"noise": result.controls["noise"]})
    assert "random directions of that norm do so in" in headline(alone).because


def test_the_headline_without_flips_attacks_or_expectations(result: Result) -> None:
    none = attrs.evolve(result, counts=attrs.evolve(result.counts, valid_flips=0))
    assert "nothing to recover" in headline(none).because
    assert "no attack" in headline(attrs.evolve(result, attacks={})).because
    assert headline(attrs.evolve(result, expectations=())).verdict.startswith("Not judged")


def test_the_headline_of_a_claim_that_holds(result: Result) -> None:
    held = tuple(attrs.evolve(e, outcome="met") for e in result.expectations)
    assert headline(attrs.evolve(result, expectations=held)).verdict == (
        "The claim holds against what was tried"
    )
    by = tuple(attrs.evolve(e, by="estimate") for e in held)
    assert headline(attrs.evolve(result, expectations=by)).verdict == (
        "The claim holds by estimate against what was tried"
    )


def test_an_inconclusive_result_gives_its_reasons_and_flags_first(
    result: Result, rows: pd.DataFrame
) -> None:
    why = "0 of 2: at least 73 flips with none recovered are needed for ≤ 5%"
    first, *others = result.expectations
    undecided = attrs.evolve(first, outcome="undecided", reason=why, value=0.0, low=0.0, high=0.66)
    flags = tuple(
        Flag("starved", "flag", "projected", 0.1, f"At norm {limit:g} δ is short.", limit)
        for limit in (2.0, 20.0)
    )
    caution = Flag("displaced", "caution", None, 0.4, "The clamp moves the state far.")
    shown = attrs.evolve(
        result,
        expectations=(undecided, *others),
        checks=("starved",),
        flags=(caution, *flags),
    )
    assert shown.verdict == "inconclusive"
    assert headline(shown).verdict == "Inconclusive"
    said = (
        f"is undecided: {why}",
        "How hard did we try?",
        "Checked by random directions, smaller limits against larger ones and least norms against limits: 1 flag is up.",
        "starved: At norm 20 δ is short. The same at norm 2.",
        "displaced: The clamp moves the state far.",
    )
    page = html.unescape(render_html(shown, rows))
    for text, ends in (
        (printed(shown, 200), "128 examples"),
        (page, "The test"),
        (to_markdown(shown).replace("\\", ""), "128 examples"),
    ):
        places = [text.index(part) for part in said if part != said[1] or part in text]
        assert places == sorted(places)
        assert places[-1] < text.index(ends)
    assert "? undecided  recovery_rate(projected) <= 5%  (found 0% [0–66.0%])" in printed(
        shown, 200
    )


@pytest.mark.parametrize(
    ("searched", "says"),
    [
        ((Sample("projected", 4.0, False, 8, 73),), "Checked by other searches on 8 of the 73 failures of projected at norm 4, random directions and smaller limits against larger ones: no flag is up. Such a sample shows, with a probability of 90% or more, a search that recovers at least 18 of 73."),
        ((Sample("projected", 4.0, True, 5, 5),), "Checked by other searches on 5 of the 5 failures of projected to find a least norm within 4, random directions and smaller limits against larger ones: no flag is up."),
        ((), "Checked by random directions and smaller limits against larger ones: no flag is up."),
    ],
)  # fmt: skip
def test_only_the_checks_that_had_something_to_check_are_named(
    result: Result, searched: tuple[Sample, ...], says: str
) -> None:
    attacks = {
        name: attrs.evolve(
            one, metrics={m: e for m, e in one.metrics.items() if m != "smallest_norm"}
        )
        for name, one in result.attacks.items()
    }
    tried = attrs.evolve(result, attacks=attacks, searched=searched)
    assert strength(tried).summary == says
    only = {
        "projected": attrs.evolve(attacks["projected"], budgets=attacks["projected"].budgets[-1:])
    }
    alone = attrs.evolve(tried, attacks=only, controls={}, searched=None)
    assert strength(alone).summary == "No search was checked: no flag is up."


@pytest.mark.parametrize(
    ("by", "outcome", "line"),
    [
        ("interval", "met", "✓ met  …"),
        ("estimate", "met", "≈ met by estimate  …"),
        ("value", "met", "≈ met by value  …"),
        ("estimate", "broken", "✗ not met by estimate  …"),
        ("interval", "broken", "✗ not met  …"),
        ("estimate", "undecided", "? undecided  …"),
    ],
)
def test_a_tick_is_earned_by_the_interval_alone(
    result: Result, rows: pd.DataFrame, by: Any, outcome: Any, line: str
) -> None:
    e = attrs.evolve(result.expectations[0], by=by, outcome=outcome, text="…", reason=None)
    shown = attrs.evolve(result, expectations=(e,))
    mark = line.removesuffix("  …")
    assert f"  {line}  (found 100% [94.7–100%])" in printed(shown)
    assert f">{mark}</td>" in render_html(shown, rows)
    assert f"| {mark} |" in to_markdown(shown)
    assert f"{mark}: <code>" in render_fragment(shown)
    assert ("✓" in printed(shown)) == (line == "✓ met  …")


def test_a_former_result_is_shown_and_says_that_nothing_was_checked(rows: pd.DataFrame) -> None:
    former = Path(__file__).parents[1] / "measure/former/result.json"
    result = from_json(former.read_text("utf-8"))
    for text in (printed(result, 200), to_markdown(result), html.unescape(render_fragment(result))):
        assert "The clamp does not hold by estimate" in text
        assert "No check of the attacks' strength was made." in text
        assert "≈ met by estimate" in text and "✗ not met by estimate" in text
        assert "✓" not in text
    assert "✗ not met by estimate" in render_html(result, rows)


def test_the_table_has_every_budget(result: Result) -> None:
    rows = table(result)
    assert [(r.name, r.limit) for r in rows][4:8] == [
        ("projected", n) for n in ("2", "5", "10", "20")
    ]
    assert rows[7].n == 69
    assert rows[7].recovered == "100%"
    assert rows[7].smallest_norm
    assert not rows[6].smallest_norm


def test_the_page_holds_the_result(result: Result, rows: pd.DataFrame, spec: str) -> None:
    text = render_html(result, rows, spec=spec, graph="graph TD\n  a --> b")
    page = Page(text)
    assert page.open == []
    assert len(page.scripts) == 1
    assert from_json(page.scripts[0]) == result
    for word in [*METRICS, "Scope of this result", "graph TD", "ioi.rec", "ab" * 32]:
        assert word in text, word
    ids = [a["id"] for _, a in page.elements if a.get("id")]
    assert len(ids) == len(set(ids))


def test_the_page_asks_for_nothing_outside(result: Result, rows: pd.DataFrame) -> None:
    text = render_html(*hostile(result, rows), spec=HOSTILE, graph=HOSTILE)
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form", "image"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "xlink:href", "action", "data", "srcset"}:
                assert value is not None
                assert value.startswith("#")
    assert not re.search(r"@import|url\((?!#)", text)
    assert "default-src 'none'" in text


def test_hostile_names_stay_text(result: Result, rows: pd.DataFrame) -> None:
    bad, bad_rows = hostile(result, rows)
    text = render_html(bad, bad_rows, spec=HOSTILE, graph=HOSTILE)
    page = Page(text)
    assert [a for t, a in page.elements if t == "script"] == [
        {"type": "application/json", "id": "result-json"}
    ]
    assert json.loads(page.scripts[0])["spec"]["audit"] == HOSTILE
    assert page.open == []
    visible = text.replace(page.scripts[0], "")
    assert "\x1b" not in visible
    assert "\u202e" not in visible
    for svg in (recovery_against_drift(bad), recovery_against_budget(bad, bad_rows)):
        assert "script" not in {element.tag for element in ElementTree.fromstring(svg).iter()}


def test_hostile_names_in_the_terminal(result: Result, rows: pd.DataFrame) -> None:
    bad, _ = hostile(result, rows)
    text = printed(bad)
    assert "\x1b" not in text
    assert "\u202e" not in text
    bold = attrs.evolve(result, spec=attrs.evolve(result.spec, audit="[bold]x[/bold] [/]"))
    assert "[bold]x[/bold] [/]" in printed(bold)


def test_hostile_names_in_markdown(result: Result, rows: pd.DataFrame) -> None:
    bad, _ = hostile(result, rows)
    text = to_markdown(bad)
    assert not re.search(r"(?<!\\)<", text)
    assert "](http" not in text.replace("\\]", "")
    cells = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line[:1] == "|"}
    assert cells == {9, 4}


def test_eighty_columns_without_color(result: Result) -> None:
    text = printed(result)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    for words in ("✗ not met", "✓ met", "? undecided", "100% [95–100]", "unconstrained"):
        assert words in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_any_width_and_ascii(result: Result, width: int) -> None:
    text = printed(result, width, "ascii")
    assert "x not met" in text
    assert max(map(len, text.splitlines())) <= width


def test_the_same_result_gives_the_same_bytes(
    result: Result, rows: pd.DataFrame, spec: str
) -> None:
    first = render_html(result, rows, spec=spec)
    assert first == render_html(result, rows, spec=spec)
    assert to_markdown(result) == to_markdown(result)


def test_figures_are_xml_with_alt_text(result: Result, rows: pd.DataFrame) -> None:
    for svg in (recovery_against_drift(result), recovery_against_budget(result, rows)):
        root = ElementTree.fromstring(svg)
        assert root.get("role") == "img"
        assert "projected" in (root.get("aria-label") or "")
        assert "#010203" not in svg
        texts = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
        assert {"projected", "noise"} <= set(texts)


def test_a_result_without_figures_has_a_page(result: Result, rows: pd.DataFrame) -> None:
    empty = attrs.evolve(result, attacks={}, controls={}, expectations=(), intervals={})
    text = render_html(empty, rows.iloc[:0])
    assert Page(text).open == []
    undefined = Estimate(None, None, None, 0)
    nothing = {
        n: attrs.evolve(
            a,
            metrics=dict.fromkeys(a.metrics, undefined),
            budgets=tuple(
                attrs.evolve(b, metrics=dict.fromkeys(b.metrics, undefined)) for b in a.budgets
            ),
        )
        for n, a in result.attacks.items()
    }
    hollow = attrs.evolve(
        result, attacks=nothing, controls={}, counts=attrs.evolve(result.counts, valid_flips=0)
    )
    assert "nothing to recover" in render_html(hollow, rows.iloc[:0]).lower()
    assert "–" in printed(hollow)
    assert to_markdown(hollow)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0"), (1.5e-6, "1.5e-6"), (0.1314, "0.131"), (20.0, "20"), (1234.6, "1235")],
)
def test_figures_read_well(value: float | None, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "–"), (0, "0%"), (1, "100%"), (0.5, "50%"), (0.0417, "4.2%"), (1e-5, "< 0.1%"),
     (0.99999, "> 99.9%")],
)  # fmt: skip
def test_percentages_never_round_to_a_certainty(share: float | None, text: str) -> None:
    assert percent(share) == text


def test_intervals_and_clean_text() -> None:
    assert interval(Estimate(1.0, 0.9478, 1.0, 70)) == "94.8–100%"
    assert interval(Estimate(1.0, None, None, 70)) == ""
    assert clean("a\x1bb\u202ec\n\td\r\ne") == "a\ufffdb\ufffdc\n\td\ne"


def test_the_report_needs_no_model_library() -> None:
    code = (
        "import sys, recoverdsl.report.html, recoverdsl.report.terminal, recoverdsl.report.markdown;"
        "print(sorted({'torch', 'transformers', 'matplotlib', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="."
    )
    assert done.stdout.strip() == "[]"
