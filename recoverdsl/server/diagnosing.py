"""What is wrong with a text, as an editor shows it while one types."""

from __future__ import annotations

from pathlib import Path

from lsprotocol.types import (
    Diagnostic,
    DiagnosticRelatedInformation,
    DiagnosticSeverity,
    Location,
)
from pygls.uris import to_fs_path

from recoverdsl import language
from recoverdsl.language.diagnostics import visible
from recoverdsl.pinning.coverage import uncovered
from recoverdsl.server.document import Document

_SEVERITIES = {"error": DiagnosticSeverity.Error, "warning": DiagnosticSeverity.Warning}


def diagnose(document: Document, *, related: bool = True) -> list[Diagnostic]:
    """Every mistake in a text. Without `related` the message says what other places have to do with it.

    As in `recoverdsl check`, a source that the lock beside the file pins is not warned of.
    """
    path = to_fs_path(document.uri)
    checked = document.checked
    found = uncovered(checked, Path(path)) if path else checked.diagnostics
    return [shown(document, one, related=related) for one in found]


def shown(document: Document, found: language.Diagnostic, *, related: bool = True) -> Diagnostic:
    """One mistake as an editor shows it."""
    lines = [found.message, found.why and f"why: {found.why}", found.help and f"help: {found.help}"]
    if not related:
        lines += [f"line {span.line}: {message}" for span, message in found.related]
    lines.append(f"more: recoverdsl explain {found.code}")
    return Diagnostic(
        document.lines.of(found.span),
        "\n".join(visible(line) for line in lines if line),
        severity=_SEVERITIES[found.severity],
        code=found.code,
        source="recoverdsl",
        related_information=[
            DiagnosticRelatedInformation(
                Location(document.uri, document.lines.of(span)), visible(message)
            )
            for span, message in found.related
        ]
        if related
        else None,
    )
