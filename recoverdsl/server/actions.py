"""Code actions: apply the fixes that diagnostics carry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lsprotocol.types import CodeAction, CodeActionKind, Range, TextEdit, WorkspaceEdit

from recoverdsl.language import Diagnostic
from recoverdsl.language.diagnostics import Edit, visible
from recoverdsl.server.diagnostics import to_lsp
from recoverdsl.server.document import Document

KINDS = (CodeActionKind.QuickFix, CodeActionKind.SourceFixAll)
"""The kinds of action that an editor may ask for."""


def actions(
    document: Document, where: Range, only: Sequence[str] | None = None
) -> list[CodeAction]:
    """Return a fix for each mistake in a range, and one action that fixes the whole file."""
    known = [found for found in document.own if found.fix]
    start, end = document.lines.offset(where.start), document.lines.offset(where.end)
    here = [d for d in known if d.span.start <= end and start <= d.span.end]
    result: list[CodeAction] = []
    if _is_requested(CodeActionKind.QuickFix, only):
        result += [_quick_fix(document, found) for found in here]
    fixed = list(_without_overlap(known))
    # For a single mistake this would repeat its quick fix.
    if _is_requested(CodeActionKind.SourceFixAll, only) and len(fixed) >= (1 if only else 2):
        title = f"Fix {len(fixed)} mistakes in this file" if len(fixed) > 1 else "Fix the mistake"
        edits = [edit for found in fixed for edit in found.fix]
        result.append(
            CodeAction(title, kind=CodeActionKind.SourceFixAll, edit=_edit(document, edits))
        )
    return result


def _is_requested(kind: CodeActionKind, only: Sequence[str] | None) -> bool:
    """Tell whether an editor asks for actions of a kind; asking for a kind includes its sub-kinds."""
    return not only or any(f"{kind.value}.".startswith(f"{one}.") for one in only)


def _quick_fix(document: Document, found: Diagnostic) -> CodeAction:
    said = visible(found.help or found.message)
    return CodeAction(
        said[:1].upper() + said[1:],
        kind=CodeActionKind.QuickFix,
        diagnostics=[to_lsp(document, found)],
        edit=_edit(document, found.fix),
        is_preferred=True,
    )


def _edit(document: Document, edits: Iterable[Edit]) -> WorkspaceEdit:
    text_edits = [TextEdit(document.lines.of(edit.span), edit.text) for edit in edits]
    return WorkspaceEdit({document.uri: text_edits})


def _without_overlap(known: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Yield each diagnostic whose edits touch none of those already yielded."""
    taken: list[tuple[int, int]] = []
    for found in known:
        spans = [(edit.span.start, edit.span.end) for edit in found.fix]
        if all(end < a or b < start for start, end in spans for a, b in taken):
            taken += spans
            yield found
