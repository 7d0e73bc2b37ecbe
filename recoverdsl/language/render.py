"""Diagnostics for people and for programs."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping
from typing import IO, Any

from recoverdsl.language.diagnostics import CODES, Diagnostic
from recoverdsl.language.nodes import Span

_WIDEST = 160
"""Columns of an excerpt; a longer line is cut around what is marked."""


def visible(text: str) -> str:
    """The text with every character that a terminal would obey, or not show, written out."""
    return "".join(_shown(c) for c in text)


def _shown(character: str) -> str:
    if character == " " or unicodedata.category(character)[0] not in "CZ":
        return character
    code = ord(character)
    return {"\t": " "}.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def to_json(diagnostics: Iterable[Diagnostic]) -> list[dict[str, Any]]:
    """A list of {code, severity, message, help, file, line, column, end_line, end_column, related}."""
    return [
        {
            "code": d.code,
            "severity": d.severity,
            "title": CODES[d.code].title,
            "message": visible(d.message),
            "why": visible(d.why) if d.why else None,
            "help": visible(d.help) if d.help else None,
            "file": d.file,
            **_place(d.span),
            "related": [{"message": visible(m), "file": d.file, **_place(s)} for s, m in d.related],
        }
        for d in diagnostics
    ]


def _place(span: Span) -> dict[str, int]:
    return {
        "line": span.line, "column": span.column,
        "end_line": span.end_line, "end_column": span.end_column,
    }  # fmt: skip


def to_text(diagnostics: Iterable[Diagnostic], sources: Mapping[str, str]) -> str:
    """Every diagnostic with an excerpt of the source. `sources` maps files to their texts."""
    lines = {file: text.split("\n") for file, text in sources.items()}
    return "\n\n".join(_text(d, lines.get(d.file, [])) for d in diagnostics)


def _text(d: Diagnostic, lines: list[str]) -> str:
    if d.span.source is not None:
        lines = [d.span.source]
    places = [(d.span, "^", ""), *((span, "-", message) for span, message in d.related)]
    width = len(str(max(span.line for span, _, _ in places)))
    out = [f"{d.severity}[{d.code}]: {visible(d.message)}"]
    out.append(f"{' ' * width}--> {visible(d.file)}:{d.span.line}:{d.span.column}")
    out.append(f"{' ' * width} |")
    for i, (span, mark, message) in enumerate(places):
        if i:
            out.append(f"{' ' * width} :")
        source = lines[span.line - 1] if span.line <= len(lines) else ""
        excerpt, under = _marked(source, span, mark)
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


def show(diagnostics: Iterable[Diagnostic], sources: Mapping[str, str], stream: IO[str]) -> None:
    """Write diagnostics to a stream, in color if it is a terminal and NO_COLOR is not set."""
    text = to_text(diagnostics, sources)
    if not text:
        return
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        stream.write(text + "\n")
        return
    from rich.console import Console
    from rich.text import Text

    styled = Text(text)
    styled.highlight_regex(r"(?m)^error\[REC\d+\]", "bold red")
    styled.highlight_regex(r"(?m)^warning\[REC\d+\]", "bold yellow")
    styled.highlight_regex(r"(?m)^ *\| +\^+", "bold red")
    styled.highlight_regex(r"(?m)^ *= (why|help):", "bold cyan")
    Console(file=stream).print(styled, soft_wrap=True)
