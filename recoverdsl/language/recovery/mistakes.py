"""Mistakes of reading, before they are reported."""

from __future__ import annotations

from attrs import frozen

from recoverdsl.language.diagnostics.collector import Collector
from recoverdsl.language.diagnostics.diagnostic import Help
from recoverdsl.language.syntax.nodes import Span


@frozen
class Mistake:
    """One mistake in the way a text is written."""

    code: str
    message: str
    span: Span
    help: Help | str | None = None
    related: tuple[tuple[Span, str], ...] = ()

    def report(self, report: Collector, *, fixed: bool = True) -> None:
        """Add it to a report; without its fix if that does not make the statement readable."""
        help = self.help
        if isinstance(help, Help) and not fixed:
            help = help.help
        report.add(self.code, self.message, self.span, help=help, related=self.related)
