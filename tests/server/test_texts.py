"""Diagnostics, positions, layout, outline and folds of a text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsprotocol.types import (
    DiagnosticSeverity,
    DocumentSymbol,
    FoldingRangeKind,
    Position,
    PositionEncodingKind,
    SymbolKind,
)
from pygls.uris import from_fs_path

from recoverdsl.language import beside, check, format_text
from recoverdsl.language.diagnostics import MOST
from recoverdsl.server.diagnostics import diagnose
from recoverdsl.server.document import Document
from recoverdsl.server.format import format_document
from recoverdsl.server.lines import Lines
from recoverdsl.server.outline import folds, symbols
from tests.language.texts import DIAGNOSTICS, FULL, SMALL
from tests.server.places import SPECS

UNITS = {
    PositionEncodingKind.Utf8: lambda text: len(text.encode("utf-8", "surrogatepass")),
    PositionEncodingKind.Utf16: lambda text: sum(1 + (c > "\uffff") for c in text),
    PositionEncodingKind.Utf32: len,
}
"""The units of each encoding."""


# --- Positions --------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", UNITS)
@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["a", "é", "模", "😀", "\ud800", "\n", "\r", "\r\n", "\u2028", "\x0c"])
    ).map("".join)
)
def test_positions_go_back_and_forth(encoding: PositionEncodingKind, text: str) -> None:
    lines = Lines(text, encoding)
    for offset in range(len(text) + 1):
        if text[offset - 1 : offset + 1] == "\r\n" or text[offset - 1 : offset] == "\r":
            continue
        assert lines.offset(lines.position(offset)) == offset


@pytest.mark.parametrize(("encoding", "character"), [("utf-8", 21), ("utf-16", 14), ("utf-32", 13)])
def test_positions_after_wide_characters(encoding: str, character: int) -> None:
    document = Document('recoverdsl 1\naudit "é😀模型" oops\n', encoding=encoding)
    (found,) = diagnose(document)
    assert found.range.start == Position(1, character)
    assert found.range.end == Position(1, character + 4)


def test_lines_end_where_an_editor_ends_them() -> None:
    text = 'recoverdsl 1\r\n# \u2028 \x0c \x85 \r here too\naudit "x"\nfoo = 3\n'
    hidden, found = diagnose(Document(text))
    assert (hidden.code, hidden.range.start.line) == ("REC103", 1)
    assert found.range.start == Position(4, 0)
    assert Lines(text).offset(Position(4, 0)) == text.index("foo")


def test_positions_past_the_end() -> None:
    lines = Lines("ab\ncd")
    assert lines.offset(Position(0, 99)) == 2
    assert lines.offset(Position(9, 0)) == 5
    assert lines.position(5) == Position(1, 2)


# --- Diagnostics ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(DIAGNOSTICS.glob("*.rec")), ids=lambda path: path.stem)
def test_every_mistake_is_shown_at_its_place(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    document = Document(text, from_fs_path(str(path)) or "")
    found = diagnose(document)
    known_of_it = check(text, str(path), read=beside(path)).diagnostics
    for shown, known in zip(found, known_of_it, strict=True):
        start, end = (document.lines.offset(p) for p in (shown.range.start, shown.range.end))
        assert (start, end) == (known.span.start, known.span.end)
        assert shown.code == known.code == path.stem
        assert shown.message.startswith(known.message)
        assert shown.message.endswith(f"recoverdsl explain {known.code}")
        assert (known.help or "") in shown.message
        errors = known.severity == "error"
        assert shown.severity == (
            DiagnosticSeverity.Error if errors else DiagnosticSeverity.Warning
        )
        related = [one.message for one in shown.related_information or []]
        assert related == [message for _, message in known.related]


def test_other_places_are_told_to_an_editor_that_cannot_show_them() -> None:
    text = SMALL + "attack go { maximize = says }\n"
    (found, *_) = diagnose(Document(text), related=False)
    assert found.related_information is None
    assert "line 8: first defined here" in found.message


def test_a_hundred_mistakes() -> None:
    found = diagnose(Document(SMALL + "= 3\n" * (MOST + 50)))
    assert len(found) == MOST + 1
    assert {one.range.start.line for one in found[:-1]} == set(range(8, 8 + MOST))


# --- Layout -----------------------------------------------------------------------------------


def test_a_text_is_put_into_its_layout() -> None:
    text = FULL.replace(" = ", "=")
    document = Document(text)
    (edit,) = format_document(document)
    assert edit.new_text == format_text(FULL)
    assert document.lines.offset(edit.range.end) == len(text)
    assert format_document(Document(edit.new_text)) == []


def test_line_ends_stay_as_they_are() -> None:
    (edit,) = format_document(Document("recoverdsl  1\r\n# é\r\n"))
    assert edit.new_text == "recoverdsl 1\r\n# é\r\n"


def test_what_cannot_be_read_is_left_alone() -> None:
    assert format_document(Document(SMALL + "attack a {  steps == 3 }")) == []


# --- Outline ----------------------------------------------------------------------------------


def titles(found: list[DocumentSymbol]) -> list[tuple[str, str | None]]:
    return [(one.name, one.detail) for one in found]


def test_outline() -> None:
    found = symbols(Document(FULL))
    assert titles(found)[:4] == [
        ("Can refusal steering be trusted?", "audit"),
        ("layer", "param = 14"),
        ("smollm2", "model"),
        ("early", "sae"),
    ]
    assert ("refusing", "data like requests") in titles(found)
    assert ("measure", "measure") in titles(found)
    (recover,) = [one for one in found if (one.name, one.detail) == ("recover", "attack")]
    assert titles(list(recover.children or [])) == [("opening", "stage"), ("answer", "stage")]
    assert [one.name for one in found[-2:]] == ["others", "ranked"]
    assert found[-3].name == "budget_ratio(unrelated) > 2"
    assert found[-3].kind == SymbolKind.Boolean


def test_what_is_marked_in_the_outline_lies_inside_it() -> None:
    for text in (*SPECS.values(), FULL, SMALL + "attack x {\nattack y {\n", 'audit ""\nx{'):
        for one in symbols(Document(text)):
            assert one.name.strip()
            assert one.range.start <= one.selection_range.start
            assert one.selection_range.end <= one.range.end


# --- Folds ------------------------------------------------------------------------------------


def test_folds() -> None:
    text = "# a\n# b\nx = 1  # c\n# d\nattack a {\n  b = [\n    1,\n  ]\n  stage s {\n    c = 2\n  }\n}\nx { y = 1 }\n"
    found = folds(Document(text))
    assert [(one.start_line, one.end_line) for one in found] == [(4, 10), (5, 6), (8, 9), (0, 1)]
    assert [one.kind for one in found][-1] == FoldingRangeKind.Comment


@pytest.mark.parametrize("name", SPECS)
def test_a_fold_leaves_the_closing_bracket_in_sight(name: str) -> None:
    lines = SPECS[name].split("\n")
    for one in folds(Document(SPECS[name])):
        if one.kind != FoldingRangeKind.Comment:
            assert lines[one.start_line].rstrip().endswith(("{", "[", "("))
            assert lines[one.end_line + 1].strip() in ("}", "]", ")")
        else:
            assert all(line.startswith("#") for line in lines[one.start_line : one.end_line + 1])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, len(FULL)))
def test_every_prefix_has_an_outline(cut: int) -> None:
    document = Document(FULL[:cut])
    symbols(document)
    folds(document)
    diagnose(document)
    format_document(document)
