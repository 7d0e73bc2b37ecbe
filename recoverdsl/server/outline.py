"""The outline of a file, and its foldable ranges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from lsprotocol.types import DocumentSymbol, FoldingRange, FoldingRangeKind, SymbolKind

from recoverdsl.language.syntax.nodes import Attribute, Audit, Block, Expect, Param, Statement
from recoverdsl.language.syntax.printer import print_expression
from recoverdsl.server.document import Document


def symbols(document: Document) -> list[DocumentSymbol]:
    """List the blocks with their stages, the params and the expectations, in the order of the text."""
    return [s for one in document.checked.tree.statements if (s := _symbol(document, one))]


def _symbol(document: Document, statement: Statement) -> DocumentSymbol | None:
    within: list[DocumentSymbol] = []
    match statement:
        case Block(kind, name, like, body):
            title = name.text if name else kind.text
            detail = kind.text + (f" like {like.text}" if like else "")
            within = [s for one in body if isinstance(one, Block) and (s := _symbol(document, one))]
            shown, sort = (name or kind).span, SymbolKind.Class
        case Param(name, value):
            title, detail = name.text, f"param = {print_expression(value)}"
            shown, sort = name.span, SymbolKind.Constant
        case Expect(condition):
            title, detail = print_expression(condition), "expect"
            shown, sort = condition.span, SymbolKind.Boolean
        case Audit(text):
            title, detail = text.value, "audit"
            shown, sort = text.span, SymbolKind.String
        case _:
            return None
    return DocumentSymbol(
        title.strip() or detail,
        sort,
        document.lines.of(statement.span),
        document.lines.of(shown),
        detail=detail,
        children=within or None,
    )


def folds(document: Document) -> list[FoldingRange]:
    """List the ranges that can be folded: blocks, and values and comments over several lines."""
    return [*_folds(document, document.checked.tree.statements), *_comments(document)]


def _folds(document: Document, statements: Iterable[Statement]) -> Iterator[FoldingRange]:
    for statement in statements:
        if isinstance(statement, (Block, Attribute)):
            where = document.lines.of(statement.span)
            # The line with the closing bracket stays visible.
            if where.end.line - 1 > where.start.line:
                yield FoldingRange(where.start.line, where.end.line - 1)
        if isinstance(statement, Block):
            yield from _folds(document, statement.body)


def _comments(document: Document) -> Iterator[FoldingRange]:
    text = document.text
    own = [
        document.lines.position(comment.span.start).line
        for comment in document.checked.tree.comments
        if not text[text.rfind("\n", 0, comment.span.start) + 1 : comment.span.start].strip()
    ]
    ends = [i for i, (line, after) in enumerate(pairwise([*own, -1])) if after != line + 1]
    for first, last in zip([0, *(end + 1 for end in ends)], ends, strict=False):
        if last > first:
            yield FoldingRange(own[first], own[last], kind=FoldingRangeKind.Comment)
