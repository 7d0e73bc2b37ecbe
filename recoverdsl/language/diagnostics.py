"""Diagnostics: one record per mistake, with a stable code, a place, a reason and a way to mend it."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import evolve, field, frozen

from recoverdsl.language.codes import CODES, Severity
from recoverdsl.language.nodes import Span

MOST = 100
"""Mistakes after which no more are gathered."""

_WIDEST = 160
"""Columns of an excerpt; a longer line is cut around what is marked."""


@frozen
class Edit:
    """A stretch of the source and the text to put in its place; an empty stretch is a place between."""

    span: Span
    text: str


@frozen
class Mend:
    """How to mend a mistake: in words, and as edits where a program can do it."""

    help: str
    fix: tuple[Edit, ...] = ()


def replace(span: Span, text: str, help: str | None = None) -> Mend:
    """The mending that puts a text in place of what stands somewhere."""
    return Mend(help or f"write `{text}`", (Edit(span, text),))


@frozen
class Diagnostic:
    """One mistake."""

    code: str
    message: str
    """What is wrong, in one sentence."""
    span: Span
    file: str = "<text>"
    why: str | None = None
    """What was found, or the reason behind the rule."""
    help: str | None = None
    """How to mend it."""
    related: tuple[tuple[Span, str], ...] = ()
    """Other places that have to do with it."""
    fix: tuple[Edit, ...] = ()
    """What a program would change to mend it, in the order of the text; empty where that takes a person."""
    text: str = field(default="", eq=False, repr=False)
    """The text of the file that was checked, for excerpts."""
    checked: str = field(default="<text>", eq=False, repr=False)
    """Its name; `file` is another where the mistake is in an imported file or a value of `--set`."""
    severity: Severity = field(init=False)

    @severity.default
    def _severity(self) -> Severity:
        return CODES[self.code].severity

    def file_of(self, span: Span) -> str:
        """The file that a span is in: that of the mistake, or of something related to it."""
        return span.source.file if span.source else self.checked

    def line(self, span: Span) -> str:
        """The line on which a span begins."""
        text = span.source.text if span.source else self.text
        end = text.find("\n", span.start)
        return text[text.rfind("\n", 0, span.start) + 1 : end if end >= 0 else len(text)]


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
        help: Mend | str | None = None,
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
        mend = help if isinstance(help, Mend) else Mend(help or "")
        # What `--set` gives stands in no file that could be edited, and an imported file is another.
        fix = () if span.source else tuple(sorted(mend.fix, key=lambda e: e.span.start))
        self.found.append(
            Diagnostic(
                code, _cut(message), span, file, why and _cut(why), _cut(mend.help) or None,
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
        """What is written there."""
        return (span.source.text if span.source else self.text)[span.start : span.end]

    @property
    def unread(self) -> bool:
        """Whether the text could not be read at all, so that nothing more can be said of it."""
        return self.full or any(d.code in ("REC107", "REC108") for d in self.found)

    @property
    def full(self) -> bool:
        """Whether so much is wrong that going on would help nobody."""
        return len(self.found) > MOST

    def in_order(self) -> tuple[Diagnostic, ...]:
        """The mistakes as a reader meets them. What is inherited is wrong once, not once per heir."""
        from recoverdsl.language.cascades import plausible

        unique = {(d.file, d.span, d.code, d.message): d for d in self.found}
        kept = plausible(list(unique.values()))
        return tuple(sorted(kept, key=lambda d: (d.file, d.span.start, d.span.end, d.code)))


_QUOTED = re.compile(r"`([^`]{60})[^`]+`")


def _cut(text: str) -> str:
    """A sentence that quotes nothing at great length."""
    return _QUOTED.sub(r"`\1…`", text)


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """The text with edits made. They may not overlap."""
    parts: list[str] = []
    end = 0
    for edit in sorted(edits, key=lambda e: (e.span.start, e.span.end)):
        parts += [text[end : edit.span.start], edit.text]
        end = edit.span.end
    return "".join([*parts, text[end:]])


# --- For people and for programs --------------------------------------------------------------


def render_text(diagnostic: Diagnostic, *, color: bool = False) -> str:
    """A diagnostic with an excerpt of the source, as people read it."""
    text = _plain(diagnostic)
    if not color:
        return text
    from rich.console import Console
    from rich.text import Text

    styled = Text(text)
    styled.highlight_regex(r"(?m)^error\[REC\d+\]", "bold red")
    styled.highlight_regex(r"(?m)^warning\[REC\d+\]", "bold yellow")
    styled.highlight_regex(r"(?m)(?<=\| ) *\^+", "bold red")
    styled.highlight_regex(r"(?m)^ *= (why|help):", "bold cyan")
    console = Console(force_terminal=True, color_system="standard", no_color=False)
    with console.capture() as capture:
        console.print(styled, soft_wrap=True, end="")
    return capture.get()


def render_json(diagnostics: Iterable[Diagnostic]) -> str:
    """A JSON list of what `as_record` gives."""
    return json.dumps([as_record(d) for d in diagnostics], indent=2, ensure_ascii=True)


def as_record(d: Diagnostic) -> dict[str, Any]:
    """A diagnostic as plain data; lines and columns from 1, the end exclusive."""
    return {
        "code": d.code,
        "severity": d.severity,
        "message": visible(d.message),
        "why": visible(d.why) if d.why else None,
        "help": visible(d.help) if d.help else None,
        "file": d.file,
        **_place(d.span),
        "related": [
            {"message": visible(m), "file": d.file_of(s), **_place(s)} for s, m in d.related
        ],
        "fix": [{**_place(e.span), "text": e.text} for e in d.fix] or None,
    }


def _place(span: Span) -> dict[str, int]:
    return {
        "line": span.line, "column": span.column,
        "end_line": span.end_line, "end_column": span.end_column,
    }  # fmt: skip


def visible(text: str) -> str:
    """The text with every character that a terminal would obey, or not show, written out."""
    return "".join(_shown(c) for c in text)


def _shown(character: str) -> str:
    if character == " " or unicodedata.category(character)[0] not in "CZ":
        return character
    code = ord(character)
    return {"\t": " "}.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def _plain(d: Diagnostic) -> str:
    places = [(d.span, "^", ""), *((span, "-", message) for span, message in d.related)]
    width = len(str(max(span.line for span, _, _ in places)))
    out = [f"{d.severity}[{d.code}]: {visible(d.message)}"]
    out.append(f"{' ' * width}--> {visible(d.file)}:{d.span.line}:{d.span.column}")
    out.append(f"{' ' * width} |")
    for i, (span, mark, message) in enumerate(places):
        if i and d.file_of(span) != d.file:
            place = f"{visible(d.file_of(span))}:{span.line}:{span.column}"
            out += [f"{' ' * width}::: {place}", f"{' ' * width} |"]
        elif i:
            out.append(f"{' ' * width} :")
        excerpt, under = _marked(d.line(span), span, mark)
        out.append(f"{span.line:>{width}} | {excerpt}".rstrip())
        out.append(f"{' ' * width} | {under} {visible(message)}".rstrip())
    out += [f"{' ' * width} = why: {visible(d.why)}"] if d.why else []
    out += [f"{' ' * width} = help: {visible(d.help)}"] if d.help else []
    return "\n".join(out)


def _marked(source: str, span: Span, mark: str) -> tuple[str, str]:
    """A line and the marks under it, the line cut if it is very long."""
    source = source.rstrip("\r")
    start = span.column - 1
    stop = span.end_column - 1 if span.end_line == span.line else len(source)
    cut = max(0, start - _WIDEST // 2) if len(source) > _WIDEST else 0
    before = ("…" if cut else "") + visible(source[cut:start])
    marked = visible(source[start : min(stop, cut + _WIDEST)])
    after = visible(source[stop : max(stop, cut + _WIDEST)])
    more = "…" if cut + _WIDEST < len(source) else ""
    return before + marked + after + more, " " * _columns(before) + mark * max(1, _columns(marked))


def _columns(text: str) -> int:
    """How wide a text is in a terminal."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)
