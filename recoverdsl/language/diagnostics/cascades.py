"""Which of several diagnostics at one place are one mistake."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from recoverdsl.language.diagnostics.diagnostic import Diagnostic

_WITHIN_VALUES = frozenset({"REC113", "REC116", "REC117"})
"""Slips within a value, which are no mistake of their own where all of the value is to be replaced."""

_GUESSED = frozenset({"REC105", "REC114", "REC115", "REC116", "REC119", "REC121", "REC123"})
"""Slips whose fix is a guess, which may itself be wrong where something next to it makes no sense."""

_MADE_UP = frozenset({"REC202", "REC203", "REC204", "REC208", "REC211"})
"""Names and words that a wrong guess makes up."""

_NEAR = 1
"""Characters between a guess and what it may have got wrong."""


def plausible(found: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Return the diagnostics without those that follow from others."""
    slips = [d for d in found if d.code in _WITHIN_VALUES | _GUESSED]
    if not slips:
        return list(found)
    whole = [d for d in found if d.code not in _WITHIN_VALUES and len(d.fix) == 1]
    covered = {
        id(d) for d in slips if d.code in _WITHIN_VALUES and any(_covers(w, d) for w in whole)
    }
    doubtful: set[int] = set()
    followed: set[int] = set()
    for slip in slips:
        if slip.code not in _GUESSED or id(slip) in covered:
            continue
        for other in found:
            follows = other.code in _MADE_UP or "REC3" < other.code < "REC4"
            if follows and not other.fix and _near(slip, other):
                doubtful.add(id(slip))
                followed.add(id(other))
    return [
        evolve(d, fix=()) if id(d) in doubtful else d
        for d in found
        if id(d) not in covered | followed
    ]


def _covers(whole: Diagnostic, slip: Diagnostic) -> bool:
    span = whole.fix[0].span
    return whole.file == slip.file and span.start <= slip.span.start and slip.span.end <= span.end


def _near(slip: Diagnostic, other: Diagnostic) -> bool:
    """Tell whether two diagnostics are of the same place, or of places that touch."""
    near = slip.span.start - _NEAR <= other.span.end and other.span.start <= slip.span.end + _NEAR
    return near and slip.file == other.file and slip.span.line <= other.span.end_line
