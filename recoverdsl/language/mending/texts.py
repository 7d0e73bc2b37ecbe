"""Texts in other quotation marks, in half of them, and in none."""

from __future__ import annotations

from recoverdsl.language.diagnostics import Edit, Mend, replace
from recoverdsl.language.mending.cursor import Cursor
from recoverdsl.language.mending.unquoted import unquoted_text
from recoverdsl.language.syntax.nodes import Span
from recoverdsl.language.syntax.printer import quote
from recoverdsl.language.tokens import Mistake, across, adjacent, slip, span_of

QUOTES = "'‘’`“”„«»"
"""What others put around a text."""


def quotes(cursor: Cursor, at: int) -> int:
    token = cursor.tokens[at]
    written = str(token)
    if written[0] == '"' and written[-1] not in "“”":
        return open_string(cursor, at)
    if cursor.text.startswith("```", token.start_pos) and cursor.begins():
        stop = cursor.line_end(at)
        place = across(token, cursor.tokens[stop - 1])
        mistake = Mistake(
            "REC101", "a fence of Markdown is no part of a spec",
            help=Mend("remove it", (Edit(place, ""),)),
        )  # fmt: skip
        cursor.found.append((place, mistake))
        return stop - at
    if len(written) == 1:
        mistake = Mistake(
            "REC113", f"`{written}` is no quotation mark of this language",
            help='a text is written `"like this"`',
        )  # fmt: skip
        return cursor.broken(at, 1, mistake)
    literal = quote(written[1:-1])
    mistake = Mistake(
        "REC113", 'a text is written in straight double quotation marks, `"`',
        help=replace(span_of(token), literal),
    )  # fmt: skip
    cursor.out.append(slip("STRING", literal, span_of(token), mistake))
    return 1


def open_string(cursor: Cursor, at: int) -> int:
    """A string without its end, which is the next comma within brackets and else the line's."""
    token = cursor.tokens[at]
    previous = cursor.previous()
    after = cursor.peek(at + 1)
    if len(token) == 1 and previous is not None and adjacent(previous, token):
        return closing_quote(cursor, at)
    within = cursor.text.rfind("\n", 0, token.start_pos)
    line = cursor.text[within + 1 : token.start_pos]
    nested = any(line.count(o) > line.count(c) for o, c in ("()", "[]", "{}"))
    last = at if nested or after is None else cursor.line_end(at) - 1
    end = cursor.tokens[last]
    stripped = cursor.text[token.start_pos : end.end_pos].rstrip()
    place = Span(
        token.start_pos, token.start_pos + len(stripped), token.line, token.column,
        token.line, token.column + len(stripped),
    )  # fmt: skip
    mistake = Mistake(
        "REC102", "this string is not closed",
        help=Mend('end it with `"` on the same line', (Edit(place.behind, '"'),)),
    )  # fmt: skip
    cursor.out.append(slip("STRING", quote(stripped[1:]), place, mistake))
    return last + 1 - at


def closing_quote(cursor: Cursor, at: int) -> int:
    """`folder(saes/mid")`: what stands before the mark is the text."""
    token = cursor.tokens[at]
    first = len(cursor.out) - 1
    while first > 0 and adjacent(cursor.out[first - 1], cursor.out[first]) and (
        cursor.out[first - 1].value not in ("(", ",", "=", "[")
    ):  # fmt: skip
        first -= 1
    begin = cursor.out[first]
    place = across(begin, token)
    if '"' in cursor.text[place.start : place.end - 1]:
        mistake = Mistake(
            "REC102", "this quotation mark has no other", help="remove it, or add one"
        )
        return cursor.broken(at, 1, mistake)
    mistake = Mistake(
        "REC102", "this string has no opening quotation mark",
        help=Mend('begin it with `"`', (Edit(place.before, '"'),)),
    )  # fmt: skip
    cursor.out[first:] = [
        slip("STRING", quote(cursor.text[place.start : place.end - 1]), place, mistake)
    ]
    return 1


def unquoted(cursor: Cursor, at: int) -> int:
    previous = cursor.previous()
    if previous is None or previous.value not in ("=", "(", ","):
        return 0
    taken = unquoted_text(cursor.tokens, at)
    if not taken:
        return 0
    place = across(cursor.tokens[at], cursor.tokens[at + taken - 1])
    literal = quote(cursor.text[place.start : place.end])
    mistake = Mistake(
        "REC113", "a text is written in quotation marks", help=replace(place, literal)
    )
    cursor.out.append(slip("STRING", literal, place, mistake))
    return taken


def audit(cursor: Cursor, at: int) -> int:
    """`audit Does it hold?`"""
    first = cursor.peek(at + 1)
    stop = cursor.line_end(at)
    if not cursor.begins() or first is None or stop == at + 1:
        return 0
    if first.type == "STRING" or first.value in ("=", ":") or first.value[0] in QUOTES + '"':
        return 0
    place = across(first, cursor.tokens[stop - 1])
    literal = quote(cursor.text[place.start : place.end].strip("'\"“”‘’`"))
    help = replace(place, literal)
    mistake = Mistake("REC113", "a text is written in quotation marks", help=help)
    cursor.out += [cursor.tokens[at], slip("STRING", literal, place, mistake)]
    return stop - at
