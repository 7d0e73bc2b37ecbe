"""A diagnostic: one mistake with a stable code, a place, a reason and a fix."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen

from recoverdsl.language.diagnostics.codes import CODES, Severity
from recoverdsl.language.syntax.nodes import Span


@frozen
class Edit:
    """A stretch of the source and the text to put in its place; an empty stretch is a place between."""

    span: Span
    text: str


@frozen
class Help:
    """A way to fix a mistake: in words, and as edits where a program can do it."""

    help: str
    fix: tuple[Edit, ...] = ()


def replace(span: Span, text: str, help: str | None = None) -> Help:
    """Return the help that puts a text in place of a stretch."""
    return Help(help or f"write `{text}`", (Edit(span, text),))


@frozen
class Diagnostic:
    """One mistake."""

    code: str
    message: str
    """The mistake, in one sentence."""
    span: Span
    file: str = "<text>"
    why: str | None = None
    """The reason of the rule, or more about what was found."""
    help: str | None = None
    """A way to fix it."""
    related: tuple[tuple[Span, str], ...] = ()
    """Other places that have to do with it."""
    fix: tuple[Edit, ...] = ()
    """The edits that fix it, in the order of the text; empty where that takes a person."""
    text: str = field(default="", eq=False, repr=False)
    """The text of the file that was checked, for excerpts."""
    checked: str = field(default="<text>", eq=False, repr=False)
    """Its name; `file` is another where the mistake is in an imported file or a value of `--set`."""
    severity: Severity = field(init=False)

    @severity.default
    def _severity(self) -> Severity:
        return CODES[self.code].severity

    def file_of(self, span: Span) -> str:
        """Return the file that a span is in: that of the mistake, or of something related to it."""
        return span.source.file if span.source else self.checked

    def line(self, span: Span) -> str:
        """Return the line on which a span begins."""
        text = span.source.text if span.source else self.text
        end = text.find("\n", span.start)
        return text[text.rfind("\n", 0, span.start) + 1 : end if end >= 0 else len(text)]


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """Return the text with edits made. They may not overlap."""
    parts: list[str] = []
    end = 0
    for edit in sorted(edits, key=lambda e: (e.span.start, e.span.end)):
        parts += [text[end : edit.span.start], edit.text]
        end = edit.span.end
    return "".join([*parts, text[end:]])
