"""The verdict as Markdown, to be pasted into a document."""

from __future__ import annotations

import re

from recoverdsl.measure.results import Result
from recoverdsl.report.cells import HEADINGS, Row, caption, table
from recoverdsl.report.sentences import LIMITS, expectation, funnel, headline
from recoverdsl.report.words import clean_line

# An underscore inside a word is not markup, and most names have one.
_MARKUP = re.compile(r"[\\`*\[\]<>|&~#!]|(?<!\w)_|_(?!\w)")


def to_markdown(result: Result) -> str:
    """The question, the verdict, the table and the expectations.

    Names and texts are escaped: they show as written, and cannot add markup, links or HTML.
    """
    said = headline(result)
    lines = [
        f"## {_escape(result.spec.audit or result.spec.name)}",
        "",
        f"**{_escape(said.verdict)}:** {_escape(said.because)}.",
        "",
        _escape(funnel(result)),
        "",
    ]
    rows = table(result)
    if rows:
        lines += [
            _line(["", *HEADINGS.values()]),
            _line([":--", *["--:"] * len(HEADINGS)]),
            *(_line(_cells(row, result.counts.valid_flips)) for row in rows),
            "",
            _escape(caption(result)),
            "",
        ]
    if result.expectations:
        lines += [_line(["", "expected", "found"]), _line([":--", ":--", "--:"])]
        for judged in result.expectations:
            mark, word, claim, value = expectation(judged)
            lines.append(_line([f"{mark} {word}", _escape(claim), value]))
        lines.append("")
    lines += [LIMITS, "", f"Spec {_escape(result.spec.name)}, digest {_escape(result.spec.digest)}"]
    return "\n".join(lines) + "\n"


def _cells(row: Row, valid_flips: int) -> list[str]:
    name = f"{_escape(row.name)} ({row.kind})" if row.first else ""
    if row.n != valid_flips:
        name += f" n = {row.n}"
    recovered = f"{row.recovered} \\[{row.interval}\\]" if row.interval else row.recovered
    return [
        name.strip(), row.limit, recovered, row.quiet, row.drift, row.reactivated, row.norm,
        row.smallest_norm,
    ]  # fmt: skip


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escape(text: str) -> str:
    return _MARKUP.sub(r"\\\g<0>", clean_line(text))
