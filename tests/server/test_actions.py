"""Code actions make the edits that the diagnostics carry, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from lsprotocol.types import CodeAction, CodeActionKind, Range

from recoverdsl.language import check
from recoverdsl.language.diagnostics import apply_edits
from recoverdsl.server.actions import actions
from recoverdsl.server.document import Document
from tests.language.texts import DIAGNOSTICS, SMALL

TWO = SMALL + "expect drit(go) <= 5%\nexpect recovery_rat(go) <= 5%\n"


def whole(document: Document) -> Range:
    return document.lines.range(0, len(document.text))


def after(document: Document, action: CodeAction) -> str:
    """Return the text with the edits of an action applied, the last one first."""
    assert action.edit
    assert action.edit.changes
    text = document.text
    for edit in reversed(action.edit.changes[document.uri]):
        start, end = (document.lines.offset(p) for p in (edit.range.start, edit.range.end))
        text = text[:start] + edit.new_text + text[end:]
    return text


def kinds(found: Sequence[CodeAction]) -> list[CodeActionKind | str | None]:
    return [action.kind for action in found]


@pytest.mark.parametrize("path", sorted(DIAGNOSTICS.glob("*.rec")), ids=lambda path: path.stem)
def test_every_fix_is_an_action(path: Path) -> None:
    document = Document(path.read_text(encoding="utf-8"))
    fixes = [d for d in check(document.text).diagnostics if d.fix]
    found = actions(document, whole(document), [CodeActionKind.QuickFix.value])
    assert kinds(found) == [CodeActionKind.QuickFix] * len(fixes)
    for action, diagnostic in zip(found, fixes, strict=True):
        assert after(document, action) == apply_edits(document.text, diagnostic.fix)
        (fixed,) = action.diagnostics or ()
        assert fixed.code == diagnostic.code
        assert action.title


def test_only_what_is_wrong_in_the_range() -> None:
    document = Document(TWO)
    place = TWO.index("drit")
    found = actions(document, document.lines.range(place + 1, place + 1), ["quickfix"])
    assert [action.title for action in found] == ["Did you mean `drift`?"]
    assert actions(document, document.lines.range(0, 3), ["quickfix"]) == []


def test_all_of_a_file_at_once() -> None:
    document = Document(TWO)
    found = actions(document, document.lines.range(0, 0))
    assert kinds(found) == [CodeActionKind.SourceFixAll]
    assert found[0].title == "Fix 2 mistakes in this file"
    assert check(after(document, found[0])).diagnostics == ()
    assert kinds(actions(document, whole(document), ["source"])) == [CodeActionKind.SourceFixAll]
    assert actions(document, whole(document), ["refactor"]) == []
    assert actions(Document(SMALL), whole(document)) == []


def test_one_mistake_alone_is_one_action() -> None:
    document = Document(SMALL + "expect drit(go) <= 5%\n")
    assert kinds(actions(document, whole(document))) == [CodeActionKind.QuickFix]
    (found,) = actions(document, whole(document), ["source.fixAll"])
    assert check(after(document, found)).diagnostics == ()


@pytest.mark.parametrize("path", sorted(DIAGNOSTICS.glob("*.rec")), ids=lambda path: path.stem)
def test_edits_of_one_action_never_overlap(path: Path) -> None:
    document = Document(path.read_text(encoding="utf-8"))
    for action in actions(document, whole(document)):
        assert action.edit
        assert action.edit.changes
        ranges = [edit.range for edit in action.edit.changes[document.uri]]
        places = sorted((one.start, one.end) for one in ranges)
        assert all(a[1] <= b[0] for a, b in pairwise(places))
