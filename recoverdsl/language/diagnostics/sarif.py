"""Diagnostics as SARIF 2.1.0, which code hosts and editors read.

Source: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from recoverdsl.language.diagnostics.diagnostic import Diagnostic
from recoverdsl.language.diagnostics.explanations import Page, pages, render_page
from recoverdsl.language.diagnostics.rendering import visible
from recoverdsl.language.syntax.nodes import SET, Span
from recoverdsl.version import __version__

_LONGEST = 400
"""Characters of a line that is quoted."""
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def render_sarif(diagnostics: Iterable[Diagnostic]) -> str:
    """Return a SARIF log with one run: every code as a rule, every diagnostic as a result."""
    every = list(pages())
    order = {page.code: i for i, page in enumerate(every)}
    driver = {
        "name": "recoverdsl",
        "version": __version__,
        "rules": [_rule(page) for page in every],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(d, order[d.code]) for d in diagnostics],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule(page: Page) -> dict[str, Any]:
    return {
        "id": page.code,
        "shortDescription": {"text": page.title},
        "fullDescription": {"text": page.meaning},
        "help": {"text": render_page(page), "markdown": page.markdown},
        "defaultConfiguration": {"level": page.severity},
    }


def _result(d: Diagnostic, rule: int) -> dict[str, Any]:
    sentences = [d.message, d.why, d.help]
    text = "; ".join(visible(sentence) for sentence in sentences if sentence)
    result: dict[str, Any] = {
        "ruleId": d.code,
        "ruleIndex": rule,
        "level": d.severity,
        "message": {"text": text},
    }
    if d.span.source is not None and d.file == SET:
        # What `--set` gives stands in no file.
        result["message"]["text"] = f"--set {visible(d.span.source.text)}: {text}"
        return result
    result["locations"] = [_location(d, d.span)]
    if related := [(span, message) for span, message in d.related if d.file_of(span) != SET]:
        result["relatedLocations"] = [
            {"id": i, "message": {"text": visible(message)}, **_location(d, span)}
            for i, (span, message) in enumerate(related, 1)
        ]
    if d.fix:
        replacements = [
            {"deletedRegion": _region(edit.span), "insertedContent": {"text": edit.text}}
            for edit in d.fix
        ]
        change = {"artifactLocation": _artifact(d.file), "replacements": replacements}
        description = {"text": visible(d.help or d.message)}
        result["fixes"] = [{"description": description, "artifactChanges": [change]}]
    return result


def _location(d: Diagnostic, span: Span) -> dict[str, Any]:
    region: dict[str, Any] = _region(span)
    if len(line := d.line(span)) <= _LONGEST:
        region["snippet"] = {"text": visible(line)}
    return {"physicalLocation": {"artifactLocation": _artifact(d.file_of(span)), "region": region}}


def _artifact(file: str) -> dict[str, str]:
    path = Path(file)
    return {"uri": path.as_uri() if path.is_absolute() else quote(path.as_posix())}


def _region(span: Span) -> dict[str, int]:
    return {
        "startLine": span.line, "startColumn": span.column,
        "endLine": span.end_line, "endColumn": span.end_column,
    }  # fmt: skip
