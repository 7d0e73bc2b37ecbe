"""The collector, which gathers the mistakes of one file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import evolve

from recoverdsl.language.diagnostics.cascades import plausible
from recoverdsl.language.diagnostics.diagnostic import Diagnostic, Help
from recoverdsl.language.syntax.nodes import Span

MOST = 100
"""Mistakes after which no more are gathered."""


class TooManyError(Exception):
    """So much is wrong that the rest of the file is not looked at. Never leaves this package."""


class Collector:
    """Gathers the mistakes of one file."""

    def __init__(self, file: str, text: str = "") -> None:
        self.file, self.text = file, text
        self.found: list[Diagnostic] = []

    def add(
        self,
        code: str,
        message: str,
        span: Span,
        *,
        why: str | None = None,
        help: Help | str | None = None,
        related: Sequence[tuple[Span, str]] = (),
    ) -> None:
        """Record one mistake.

        Raises:
            TooManyError: with it there are so many that looking for more would help nobody.
        """
        if len(self.found) == MOST:
            code, message = "REC109", f"more than {MOST} mistakes; the rest is not shown"
            why, help, related = None, None, ()
        file = span.source.file if span.source else self.file
        given = help if isinstance(help, Help) else Help(help or "")
        # What `--set` gives stands in no file that could be edited, and an imported file is another.
        fix = () if span.source else tuple(sorted(given.fix, key=lambda e: e.span.start))
        self.found.append(
            Diagnostic(
                code, _cut(message), span, file, why and _cut(why), _cut(given.help) or None,
                tuple((place, _cut(label)) for place, label in related), fix, self.text, self.file,
            )
        )  # fmt: skip
        if self.full:
            raise TooManyError

    def take(self, other: Collector) -> None:
        """Record what was gathered of another file, which is not the one to be edited."""
        for d in other.found:
            self.found.append(evolve(d, fix=()))
            if self.full:
                raise TooManyError

    def text_of(self, span: Span) -> str:
        """Return what is written there."""
        return (span.source.text if span.source else self.text)[span.start : span.end]

    def text_after(self, span: Span) -> str:
        """Return what is written after it."""
        return (span.source.text if span.source else self.text)[span.end :]

    @property
    def errors(self) -> list[Diagnostic]:
        """Return what keeps the spec from running."""
        return [d for d in self.found if d.severity == "error"]

    @property
    def unread(self) -> bool:
        """Tell whether the text could not be read at all, so that nothing more can be said of it."""
        return self.full or any(d.code in ("REC107", "REC108") for d in self.found)

    @property
    def full(self) -> bool:
        """Tell whether so much is wrong that going on would help nobody."""
        return len(self.found) > MOST

    def in_order(self) -> tuple[Diagnostic, ...]:
        """Return the mistakes as a reader meets them. An inherited mistake is reported once, not once per heir."""
        unique = {(d.file, d.span, d.code, d.message): d for d in self.found}
        kept = plausible(list(unique.values()))
        return tuple(sorted(kept, key=lambda d: (d.file, d.span.start, d.span.end, d.code)))


_QUOTED = re.compile(r"`([^`]{60})[^`]+`")


def _cut(text: str) -> str:
    """Return a sentence that quotes nothing at great length."""
    return _QUOTED.sub(r"`\1…`", text)
