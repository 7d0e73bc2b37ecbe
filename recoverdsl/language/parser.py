"""Text → syntax tree, with every mistake found in one pass.

A text that follows the grammar is read by it alone. Any other is read line by line, so that one
mistake gives one diagnostic and hides no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from recoverdsl.errors import UsageError
from recoverdsl.language.diagnostics.collector import Collector, TooManyError
from recoverdsl.language.diagnostics.diagnostic import Edit, Help
from recoverdsl.language.syntax.grammar import LONGEST, MOST, comments, parse_strictly
from recoverdsl.language.syntax.nodes import Comment, Span, Tree

_HIDDEN = re.compile(r"[\r\x0b\x0c\x85\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Ends of lines that are none here, and changes of the direction of writing."""


def read_file(path: str | Path) -> bytes:
    """Return the bytes of a file, and no more of them than show that it is too long for a spec.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        with Path(path).open("rb") as stream:
            # UTF-8 takes at most four bytes for a character; one more shows that it is too long.
            return stream.read(4 * LONGEST + 4)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError("the spec cannot be read", where=str(path), why=reason) from error


def read_text(text: str | bytes, file: str) -> tuple[Tree, Collector]:
    """Return the tree of a text or of a file's bytes, and what is wrong with them."""
    if isinstance(text, str):
        text = text.removeprefix("\ufeff")
        report = Collector(file, text)
        return parse_text(text, file, report), report
    try:
        return read_text(text.decode("utf-8"), file)
    except UnicodeDecodeError as error:
        shown = text.decode("utf-8", errors="replace")
        before = text[: error.start].decode("utf-8")
        report = Collector(file, shown)
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        span = Span(len(before), len(before) + 1, line, column, line, column + 1)
        byte = f"the byte 0x{text[error.start]:02x} is not UTF-8"
        report.add("REC107", byte, span, help="save the file as UTF-8")
        return Tree((), text=shown, file=file), report


def parse_text(text: str, file: str, report: Collector) -> Tree:
    """Return the tree of a text; statements that cannot be read are `Broken`, and reported."""
    if len(text) > LONGEST:
        return _too_large(f"{len(text):,} characters", f"{LONGEST:,}", text, file, report)
    # A file from a time when lines ended so; no other is without any line feed.
    if "\r" in text and "\n" not in text:
        report.text = text = text.replace("\r", "\n")
        _old_line_ends(text, report)
    statements = parse_strictly(text)
    if statements is not None:
        found = comments(text)
        _report_hidden(found, report)
        return Tree(statements, found, text=text, file=file)
    from recoverdsl.language.recovery.reader import read_loosely

    try:
        statements, lexed = read_loosely(text, report)
        if len(lexed.tokens) > MOST:
            return _too_large(
                f"more than {MOST:,} words and signs", f"{MOST:,}", text, file, report
            )
        _report_hidden(lexed.comments, report)
        unsure = tuple(
            word for mistake in lexed.found if mistake.code == "REC122"
            for word in re.findall(r"\w+", report.text_of(mistake.span))
        )  # fmt: skip
    except TooManyError:
        return Tree((), text=text, file=file)
    return Tree(statements, tuple(lexed.comments), unsure, text, file)


def _report_hidden(comments: Iterable[Comment], report: Collector) -> None:
    """Report what makes an editor show a comment otherwise than it is read: line ends of other systems,
    and changes of the direction of writing."""
    for comment in comments:
        places = [
            Span(
                comment.span.start + m.start(), comment.span.start + m.end(),
                comment.span.line, comment.span.column + m.start(),
                comment.span.line, comment.span.column + m.end(),
            )
            for m in _HIDDEN.finditer(comment.text)
        ]  # fmt: skip
        if places:
            code = f"U+{ord(report.text_of(places[0])):04X}"
            report.add(
                "REC103", f"an invisible character stands in this comment ({code})", places[0],
                why="the text after it is shown elsewhere than it is read",
                help=Help("remove it", tuple(Edit(place, "") for place in places)),
            )  # fmt: skip


def _too_large(found: str, most: str, text: str, file: str, report: Collector) -> Tree:
    report.add(
        "REC108",
        f"the file has {found}",
        Span(0, 0, 1, 1, 1, 1),
        why=f"a spec has at most {most}",
        help="put prompts, texts and long lists into a data file",
    )
    return Tree((), text=text, file=file)


def _old_line_ends(text: str, report: Collector) -> None:
    first = text.index("\n")
    edits = []
    for line, at in enumerate((m.start() for m in re.finditer("\n", text)), 1):
        column = at - text.rfind("\n", 0, at)
        edits.append(Edit(Span(at, at + 1, line, column, line + 1, 1), "\n"))
    report.add(
        "REC103",
        "the lines of this file end with a carriage return alone",
        Span(first, first, 1, first + 1, 1, first + 1),
        help=Help("save it with line feeds", tuple(edits)),
    )
