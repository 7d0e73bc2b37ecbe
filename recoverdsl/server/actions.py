"""Code actions: mistakes mended as their diagnostics say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lsprotocol.types import CodeAction, CodeActionKind, Range, TextEdit, WorkspaceEdit

from recoverdsl.language import Diagnostic
from recoverdsl.language.diagnostics import Edit, visible
from recoverdsl.server.diagnosing import shown
from recoverdsl.server.document import Document

KINDS = (CodeActionKind.QuickFix, CodeActionKind.SourceFixAll)
"""What an editor may ask for."""


def actions(
    document: Document, where: Range, only: Sequence[str] | None = None
) -> list[CodeAction]:
    """How the mistakes in a range can be mended, each alone, and all of the file together."""
    known = [found for found in document.own if found.fix]
    start, end = document.lines.offset(where.start), document.lines.offset(where.end)
    here = [d for d in known if d.span.start <= end and start <= d.span.end]
    made: list[CodeAction] = []
    if _asked(CodeActionKind.QuickFix, only):
        made += [_alone(document, found) for found in here]
    apart = list(_apart(known))
    # With one mistake alone it would be the same action twice.
    if _asked(CodeActionKind.SourceFixAll, only) and len(apart) >= (1 if only else 2):
        title = f"Mend {len(apart)} mistakes of this file" if len(apart) > 1 else "Mend the mistake"
        edits = [edit for found in apart for edit in found.fix]
        made.append(
            CodeAction(title, kind=CodeActionKind.SourceFixAll, edit=_edit(document, edits))
        )
    return made


def _asked(kind: CodeActionKind, only: Sequence[str] | None) -> bool:
    """Whether an editor wants actions of a kind; asking for a kind asks for all below it."""
    return not only or any(f"{kind.value}.".startswith(f"{one}.") for one in only)


def _alone(document: Document, found: Diagnostic) -> CodeAction:
    said = visible(found.help or found.message)
    return CodeAction(
        said[:1].upper() + said[1:],
        kind=CodeActionKind.QuickFix,
        diagnostics=[shown(document, found)],
        edit=_edit(document, found.fix),
        is_preferred=True,
    )


def _edit(document: Document, edits: Iterable[Edit]) -> WorkspaceEdit:
    made = [TextEdit(document.lines.of(edit.span), edit.text) for edit in edits]
    return WorkspaceEdit({document.uri: made})


def _apart(known: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """The diagnostics whose edits do not touch those of the ones before."""
    taken: list[tuple[int, int]] = []
    for found in known:
        spans = [(edit.span.start, edit.span.end) for edit in found.fix]
        if all(end < a or b < start for start, end in spans for a, b in taken):
            taken += spans
            yield found
