"""What holds of all specs and of all texts, as functions that raise if it does not."""

from __future__ import annotations

import json

from recoverdsl.language import (
    canonical,
    check,
    format_text,
    parse,
    render_json,
    render_text,
)  # fmt: skip
from recoverdsl.language.syntax.grammar import LONGEST
from tests.language.fixing import unfixed


def comes_back(text: str) -> None:
    """What can be read is printed and read again as the same tree, in a layout that stays."""
    tree, diagnostics = parse(text)
    assert not diagnostics, render_text(diagnostics[0])
    printed = format_text(text)
    again, diagnostics = parse(printed)
    assert not diagnostics, render_text(diagnostics[0])
    assert again.statements == tree.statements
    assert format_text(printed) == printed


def means_the_same(text: str) -> None:
    """A spec without a mistake keeps its meaning when it is printed."""
    checked = check(text)
    assert not checked.errors, render_text(checked.errors[0])
    assert checked.spec is not None
    again = check(format_text(text)).spec
    assert canonical(again) == canonical(checked.spec)


def is_only_explained(text: str | bytes) -> None:
    """Whatever a file holds, diagnostics come out of it, in order, each with its place."""
    checked = check(text)
    assert (checked.spec is None) == bool(checked.errors)
    assert len(checked.diagnostics) <= 101
    source = checked.tree.text
    places = []
    for diagnostic in checked.diagnostics:
        for span in (diagnostic.span, *(edit.span for edit in diagnostic.fix)):
            assert (
                0 <= span.start <= span.end <= len(source) <= LONGEST or diagnostic.code == "REC108"
            )
            assert span.line == source.count("\n", 0, span.start) + 1
            assert span.column == span.start - (source.rfind("\n", 0, span.start) + 1) + 1
        ends = [0, *(edit.span.end for edit in diagnostic.fix)]
        starts = [edit.span.start for edit in diagnostic.fix]
        assert all(end <= start for end, start in zip(ends, starts, strict=False)), "edits overlap"
        assert render_text(diagnostic).isprintable() or "\n" in render_text(diagnostic)
        places.append((diagnostic.span.start, diagnostic.span.end))
    assert places == sorted(places)
    json.loads(render_json(checked.diagnostics))


def is_fixed(text: str) -> None:
    """Where one thing is wrong, a fix takes it away and adds nothing."""
    assert unfixed(text) == []
