"""Comments of other languages: `//`, `/* … */`, `--`, `%`."""

from __future__ import annotations

from recoverdsl.language.diagnostics import Edit, Mend, replace
from recoverdsl.language.mending.cursor import Cursor
from recoverdsl.language.syntax.nodes import Span
from recoverdsl.language.tokens import Mistake, across, adjacent, span_of


def slash(cursor: Cursor, at: int) -> int:
    """`// …` or `/* … */`"""
    if cursor.next(at, "/"):
        return comment(cursor, at, 2, cursor.line_end(at), "//")
    if not cursor.next(at, "*"):
        return 0
    stop = at + 2 if cursor.comments_end else len(cursor.tokens)
    while stop < len(cursor.tokens) and not (
        cursor.tokens[stop].value == "/" and cursor.tokens[stop - 1].value == "*"
        and adjacent(cursor.tokens[stop - 1], cursor.tokens[stop])
    ):  # fmt: skip
        stop += 1
    if stop == len(cursor.tokens):
        cursor.comments_end = False
        return comment(cursor, at, 2, cursor.line_end(at), "/*")
    place = across(cursor.tokens[at], cursor.tokens[stop])
    behind = cursor.peek(stop + 1)
    fix: tuple[Edit, ...] = ()
    if behind is None or behind.type == "NEWLINE":
        lines = cursor.text[place.start + 2 : place.end - 2].strip().split("\n")
        fix = (Edit(place, "\n".join(f"# {line.strip()}".rstrip() for line in lines)),)
    mistake = Mistake(
        "REC118", "a comment is written `# like this`",
        help=Mend("begin each of its lines with `#`", fix),
    )  # fmt: skip
    cursor.found.append((place, mistake))
    return stop + 1 - at


def comment(cursor: Cursor, at: int, marks: int, stop: int, sign: str) -> int:
    """Drop the rest of a line, which is a comment."""
    begin = span_of(cursor.tokens[at])
    mark = Span(
        begin.start, begin.start + marks, begin.line, begin.column,
        begin.line, begin.column + marks,
    )  # fmt: skip
    mistake = Mistake(
        "REC118", f"a comment begins with `#`, not with `{sign}`", help=replace(mark, "#")
    )
    cursor.found.append((mark, mistake))
    return stop - at
