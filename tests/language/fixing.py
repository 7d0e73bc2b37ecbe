"""What a fix must do: take its own mistake away, and add none."""

from __future__ import annotations

from collections import Counter

from recoverdsl.language.diagnostics import Diagnostic, apply_edits
from tests.language.corpus import diagnostics


def said(found: tuple[Diagnostic, ...]) -> Counter[tuple[str, str]]:
    """What the diagnostics say, wherever they stand."""
    return Counter((d.code, d.message) for d in found)


def unfixed(text: str) -> list[str]:
    """What is wrong with the fixes of a text's diagnostics, one line each."""
    found = diagnostics(text)
    wrong = []
    for diagnostic in found:
        if not diagnostic.fix:
            continue
        before = said(found)
        after = said(diagnostics(apply_edits(text, diagnostic.fix)))
        itself = (diagnostic.code, diagnostic.message)
        if after[itself] >= before[itself]:
            wrong.append(
                f"{diagnostic.code} at line {diagnostic.span.line} stays: {diagnostic.message}"
            )
        # Whether something is used is said of a whole spec only.
        more = Counter(
            {said: n for said, n in (after - before).items() if said[0] not in ("REC421", "REC423")}
        )
        if more:
            wrong.append(f"{diagnostic.code} at line {diagnostic.span.line} adds {dict(more)}")
    return wrong
