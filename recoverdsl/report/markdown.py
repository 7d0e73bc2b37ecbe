"""The verdict as Markdown, to be pasted into a document."""

from __future__ import annotations

import re

import pandas as pd

from recoverdsl.measure.results import Result
from recoverdsl.report import parts
from recoverdsl.report.cells import COST_HEADINGS, Row, caption, costs, headings, rows_shown, table
from recoverdsl.report.clamps import flips_of_all
from recoverdsl.report.evidence import cautions
from recoverdsl.report.openings import OPENING_HEADINGS, Counted, categories, openings
from recoverdsl.report.protected_features import HEADINGS, feature_tables
from recoverdsl.report.sentences import (
    LIMITS,
    control_sentence,
    expected,
    funnel,
    headline,
    method,
    targets,
    undecided,
)
from recoverdsl.report.side_effects import side_effects
from recoverdsl.report.specificity import specificity
from recoverdsl.report.strength import strength
from recoverdsl.report.words import clean_line

FEATURES = 16
"""The number of protected features that are shown of each clamp."""

# An underscore inside a word is not markup, and most names have one.
_MARKUP = re.compile(r"[\\`*\[\]<>|&~#!]|(?<!\w)_|_(?!\w)")


def to_markdown(result: Result, examples: pd.DataFrame | None = None) -> str:
    """Render the question, the verdict, the tables, the findings of the controls and the expectations.

    Names and texts are escaped: they show as written, and cannot add markup, links or HTML.

    Args:
        result: the result to report.
        examples: the table of `measure.table.SCHEMA`, for counts of openings and by category.
    """
    said, tried = headline(result), strength(result)
    lines = [
        f"## {_escape(result.spec.audit or result.spec.name)}",
        "",
        f"**{_escape(said.verdict)}:** {_escape(said.because)}.",
        "",
        *(
            line
            for said in (
                *undecided(result),
                tried.summary,
                *tried.findings,
                *specificity(result),
                *targets(result),
                *cautions(result),
            )
            for line in (_escape(said), "")
        ),
        _escape(funnel(result)),
        "",
        *(line for said in side_effects(result) for line in (_escape(said), "")),
    ]
    if how := method(result):
        lines += [_escape(how), ""]
    rows = table(result)
    if rows:
        shown = headings(result)
        lines += [
            _line(["", *shown.values()]),
            _line([":--", *["--:"] * len(shown)]),
            *(_line(_cells(row, list(shown), flips_of_all(result))) for row in rows),
            "",
            _escape(caption(result)),
            "",
        ]
    for name, control in result.controls.items():
        sentence = control_sentence(control, result.attacks.get(control.of))
        lines.append("- " + _escape(f"The control {name} {sentence}"))
    lines += [""] if result.controls else []
    for name in result.attributions:
        lines += [f"Parts of the δ of {_escape(name)}:", ""]
        lines += [*_grid(parts.headings(result), parts.rows(result, name)), ""]
        lines += [_escape(parts.EXPLANATION), ""]
    for one in feature_tables(result):
        lines += [
            _escape(one.summary),
            "",
            *_grid(list(HEADINGS), [list(row.cells) for row in one.rows[:FEATURES]]),
            "",
        ]
        more = len(one.rows) - FEATURES
        lines += [
            _escape(one.caption) + (f" The other {more} are in result.json." if more > 0 else ""),
            "",
        ]
    if examples is not None:
        examples = rows_shown(result, examples)
        for title, counted, names in (
            ("Openings of the generated texts", openings(result, examples), OPENING_HEADINGS),
            ("Recovered, by category", categories(result, examples), None),
        ):
            if counted:
                lines += [f"{title}:", "", *_counts(counted, names), ""]
    if spent := costs(result):
        lines += ["Mean cost per example, at the largest budget:", ""]
        grid = [[f"{c.name} ({c.kind})", *(getattr(c, f) for f in COST_HEADINGS)] for c in spent]
        lines += [*_grid(["", *COST_HEADINGS.values()], grid), ""]
    if result.expectations:
        lines += [_line(["", "expected", "found"]), _line([":--", ":--", "--:"])]
        for judged in result.expectations:
            e = expected(judged)
            claim = f"{_escape(e.claim)}: {_escape(e.why)}" if e.why else _escape(e.claim)
            lines.append(_line([f"{e.mark} {e.word}", claim, _escape(e.found)]))
        lines.append("")
    lines += [LIMITS, "", f"Spec {_escape(result.spec.name)}, digest {_escape(result.spec.digest)}"]
    return "\n".join(lines) + "\n"


def _cells(row: Row, fields: list[str], valid_flips: int | None) -> list[str]:
    name = f"{_escape(row.name)} ({_escape(row.kind + row.under)})" if row.first else ""
    if row.n != valid_flips:
        name += f" n = {row.n}"
    shown = {field: getattr(row, field) for field in fields}
    if row.interval:
        shown["recovered"] = f"{row.recovered} \\[{row.interval}\\]"
    return [name.strip(), *shown.values()]


def _counts(counted: tuple[Counted, ...], names: dict[str, str] | None) -> list[str]:
    heads = [names[key] if names else key for key in counted[0].counts]
    grid = [[f"{c.name} ({c.kind})", c.limit, *c.counts.values()] for c in counted]
    return _grid(["", "norm ≤", *heads], grid)


def _grid(heads: list[str], rows: list[list[str]]) -> list[str]:
    return [
        _line([_escape(head) for head in heads]),
        _line([":--", *["--:"] * (len(heads) - 1)]),
        *(_line([_escape(cell) for cell in row]) for row in rows),
    ]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escape(text: str) -> str:
    return _MARKUP.sub(r"\\\g<0>", clean_line(text))
