"""Diagnostics of a text in the form of the language server protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lsprotocol.types import (
    Diagnostic,
    DiagnosticRelatedInformation,
    DiagnosticSeverity,
)

from recoverdsl import language
from recoverdsl.language.diagnostics import visible
from recoverdsl.language.syntax.nodes import Import
from recoverdsl.pinning.coverage import uncovered
from recoverdsl.server.document import Document

_SEVERITIES = {"error": DiagnosticSeverity.Error, "warning": DiagnosticSeverity.Warning}


def diagnose(document: Document, *, related: bool = True) -> list[Diagnostic]:
    """Return every mistake in a text. Without `related` the message itself names the other places.

    As in `recoverdsl check`, no warning is given for a source that the lock beside the file pins.
    """
    checked = document.checked
    found = uncovered(checked, document.path) if document.path else checked.diagnostics
    own = [one for one in found if one.file == document.file]
    return [
        *(to_lsp(document, one, related=related) for one in own),
        *_imported(document, [one for one in found if one.file != document.file]),
    ]


def _imported(document: Document, found: Sequence[language.Diagnostic]) -> Iterator[Diagnostic]:
    """Yield one diagnostic for each imported file with mistakes, at the statement that imports it."""
    imports = [s for s in document.checked.tree.statements if isinstance(s, Import)]
    for file in dict.fromkeys(one.file for one in found):
        first = next(one for one in found if one.file == file)
        # A file that only an imported file imports is reported at the first import.
        here = next((s for s in imports if s.path.value == Path(file).name), imports[0])
        said = f"{Path(file).name}, line {first.span.line}: {first.message}"
        yield Diagnostic(
            document.lines.of(here.path.span), visible(said),
            severity=_SEVERITIES[first.severity], code=first.code, source="recoverdsl",
        )  # fmt: skip


def to_lsp(document: Document, found: language.Diagnostic, *, related: bool = True) -> Diagnostic:
    """Convert one diagnostic to the protocol's form."""
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
            DiagnosticRelatedInformation(document.location(span), visible(message))
            for span, message in found.related
        ]
        if related
        else None,
    )
