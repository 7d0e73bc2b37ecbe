"""Diagnostics as text for people and as JSON for programs."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from typing import Any

from recoverdsl.language.diagnostics.diagnostic import Diagnostic
from recoverdsl.language.syntax.nodes import Span

_WIDEST = 160
"""Columns of an excerpt; a longer line is cut around what is marked."""


def render_text(diagnostic: Diagnostic, *, color: bool = False) -> str:
    """Return a diagnostic with an excerpt of the source, as people read it."""
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
    """Return a JSON list of what `as_record` gives."""
    return json.dumps([as_record(d) for d in diagnostics], indent=2, ensure_ascii=True)


def as_record(d: Diagnostic) -> dict[str, Any]:
    """Return a diagnostic as plain data; lines and columns from 1, the end exclusive."""
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
    """Return the text with every character that a terminal would obey, or not show, written out."""
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
    """Return a line and the marks under it, the line cut if it is very long."""
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
    """Return how wide a text is in a terminal."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)
