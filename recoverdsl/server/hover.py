"""Hover: explains the word at the cursor, or shows the definition of the name there."""

from __future__ import annotations

from pathlib import Path

import attrs
from lsprotocol.types import Hover, MarkupContent, MarkupKind

from recoverdsl.language import Checked, schema
from recoverdsl.language.checker.index import Definition
from recoverdsl.language.schema import descriptions as meaning
from recoverdsl.language.schema.fields import literals
from recoverdsl.language.syntax.nodes import Block
from recoverdsl.server.cursor import Cursor, cursor_at, is_string
from recoverdsl.server.document import Document
from recoverdsl.server.expected_type import Expected, argument_doc, declared, expected_at


def hover(
    document: Document, offset: int, *, markup: MarkupKind = MarkupKind.Markdown
) -> Hover | None:
    """Return the explanation of the word at an offset; None where there is none."""
    index = document.checked.index
    if found := index.at(offset):
        symbol, place = found
        if definitions := index.definitions.get(symbol):
            text = _name(document.checked, definitions[0])
            where = document.lines.of(place.span)
            return Hover(MarkupContent(markup, text), where)
    cursor = cursor_at(document, offset)
    if cursor is None or cursor.word is None or is_string(cursor.word):
        return None
    if cursor.before[:1] == ("import",):
        known = [d for s in index.named(str(cursor.word)) for d in index.definitions[s]]
        where = document.lines.range(cursor.start, cursor.word.end_pos)
        text = "\n\n---\n\n".join(_name(document.checked, d) for d in known)
        return Hover(MarkupContent(markup, text), where) if known else None
    said = _word(cursor, str(cursor.word))
    where = document.lines.range(cursor.start, cursor.word.end_pos)
    return Hover(MarkupContent(markup, said), where) if said else None


def _name(checked: Checked, definition: Definition) -> str:
    """Return the head of a block, or a whole param, with the comment above it, as Markdown."""
    node, tree = definition.node, checked.tree
    span = node.head if isinstance(node, Block) else node.span
    text = span.source.text if span.source else tree.text
    code = text[span.start : span.end].rstrip("{ \t\r\n")
    said: list[str] = []
    line = span.line
    for comment in reversed(() if span.source else tree.comments):
        if comment.span.line == line - 1 and tree.text[: comment.span.start].endswith("\n"):
            line -= 1
            said.insert(0, comment.text.lstrip("# "))
    kind = node.kind.text if isinstance(node, Block) else "param"
    doc = getattr(schema.BLOCKS.get(kind), "__doc__", None) or schema.STATEMENTS.get(kind, "")
    place = f"In {Path(span.source.file).name}, line {span.line}." if span.source else ""
    return "\n\n".join(p for p in (f"```rec\n{code}\n```", " ".join(said), doc, place) if p)


def _word(cursor: Cursor, word: str) -> str | None:
    value = expected_at(cursor)
    if value is not None:
        return _in_value(cursor, word, value)
    if found := declared(cursor, [*cursor.before, word]):
        return _attribute(*found)
    if not cursor.before and (not cursor.block or word == "stage"):
        known = word in schema.BLOCKS or word in schema.STATEMENTS
        return meaning.statement(word) if known else None
    return None


def _attribute(kind: str, key: str) -> str:
    if kind == "measure":
        return meaning.metric(key)
    if key == "stage":
        return meaning.statement(key)
    return meaning.field(kind, schema.BLOCKS[kind], key)


def _in_value(cursor: Cursor, word: str, value: Expected) -> str | None:
    call = value.call
    if cursor.after == "=" and call and not value.before:
        known = [one.key for one in call.parameters if one.named]
        return argument_doc(call, word) if word in known else None
    if cursor.after == "(":
        if schema.Expectation in value.types:
            return meaning.metric(word) if word in schema.METRICS else None
        if word in schema.FUNCTIONS:
            return meaning.function(word)
        return meaning.form_word(schema.CALLS, word) if word in schema.CALLS else None
    if schema.Expectation in value.types and (word == "by" or "by" in value.before):
        return f"**by** in `expect`\n\n{attrs.fields(schema.Expectation).by.metadata['doc']}"
    if word in schema.POSITIONS:
        return meaning.position(word)
    if word in schema.DETECTORS:
        return meaning.detector(word)
    for known_words in (schema.WORDS, schema.PLACES):
        if word in known_words:
            return meaning.form_word(known_words, word)
    if not any(word in literals(one) for one in value.items):
        return None
    if call and call.next:
        return argument_doc(call, call.next.key)
    key = declared(cursor, cursor.before[: cursor.before.index("=")])
    return _attribute(*key) if key else None
