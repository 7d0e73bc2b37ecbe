"""Text → tokens, with what is written otherwise read as what this language writes."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from functools import cache
from itertools import pairwise

from attrs import define, field
from lark import Token

from recoverdsl.language.diagnostics.collector import MOST as MOST_MISTAKES
from recoverdsl.language.diagnostics.diagnostic import Edit, Help, replace
from recoverdsl.language.recovery.context import Context
from recoverdsl.language.recovery.mistakes import Mistake
from recoverdsl.language.recovery.spellings import NAMES, PLAIN, ROWS, Row
from recoverdsl.language.schema import BLOCKS, KINDS
from recoverdsl.language.syntax import grammar
from recoverdsl.language.syntax.literals import ESCAPE, ESCAPES, is_number, wrong_escape
from recoverdsl.language.syntax.nodes import Comment, Span
from recoverdsl.language.syntax.tokens import placed, span_of

_PLAIN = re.compile(PLAIN)
_STRAY = '"}%:(['
"""Signs that begin something else: a string, the end of a block, a comment in other languages, a value."""
_LONGEST = 200
"""Characters before and after a sign among which a head is looked for, so that no text takes long."""
_HEAD = re.compile(r"[ \t]*(?P<kind>\w+)(?:[ \t]+[^\W\d]\w*){0,3}[ \t]*")


@define
class Lexed:
    """The tokens and comments of a text, and what is wrong with them."""

    tokens: list[Token] = field(factory=list)
    comments: list[Comment] = field(factory=list)
    found: list[Mistake] = field(factory=list)
    """In the order of the text."""


class Places:
    """Where the offsets of a text are."""

    def __init__(self, text: str) -> None:
        self.starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def span(self, start: int, end: int) -> Span:
        """Return the stretch between two offsets."""
        line, end_line = bisect_right(self.starts, start), bisect_right(self.starts, end)
        return Span(
            start, end, line, start - self.starts[line - 1] + 1,
            end_line, end - self.starts[end_line - 1] + 1,
        )  # fmt: skip


@cache
def _parts() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Return what the table and the grammar know, in the order in which it is tried."""
    known = grammar.terminals()
    rows = [(f"R{i}", row.pattern) for i, row in enumerate(ROWS)]
    shapes = [(name, known[name]) for name in ("STRING", "COMMENT", "SPACE", "NEWLINE")]
    signs = sorted((word for word in grammar.words() if not word.isidentifier()), key=len)
    sign = "|".join(re.escape(sign) for sign in reversed(signs))
    others = [
        ("NUMBER", known["NUMBER"]),
        ("NAME", known["NAME"]),
        ("SIGN", sign),
        ("BROKEN", known["BROKEN"]),
    ]
    parts = [*rows[: len(NAMES)], *shapes, *rows[len(NAMES) :], *others]
    return tuple((name, re.compile(pattern)) for name, pattern in parts)


@cache
def _any(first: int) -> tuple[re.Pattern[str], dict[str, int]]:
    """One pattern for all parts from one on, and where each part is."""
    parts = [(name, _without_groups(part.pattern)) for name, part in _parts()[first:]]
    every = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in parts))
    return every, {name: i for i, (name, _) in enumerate(parts, first)}


def _without_groups(pattern: str) -> str:
    if "(?P" in pattern:
        return pattern
    return re.sub(r"(?<!\\)\((?!\?)", "(?:", pattern)


class Lexer:
    """Reads one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.places = Places(text)
        self.context = Context()
        self.result = Lexed(self.context.tokens)
        self.invisible: list[Span] = []

    def read(self) -> Lexed:
        """Return all tokens, comments and mistakes."""
        at = 0
        while at < len(self.text) and len(self.result.found) <= MOST_MISTAKES and (
            len(self.result.tokens) <= grammar.MOST
        ):  # fmt: skip
            at = self._next(at)
        self._report_invisible()
        for token, after in pairwise(self.result.tokens):
            grammar.named(token, after)
        self.result.found.sort(key=lambda mistake: mistake.span.start)
        return self.result

    def _next(self, at: int) -> int:
        """Take what stands at an offset; return where that ends."""
        if self.text[at] in _STRAY and self._only_spoils_a_head(at):
            between = self.text[at - 1 : at + 2].replace(self.text[at], "")
            help = replace(self.places.span(at, at + 1), " " * between.isalnum(), "remove it")
            message = f"`{self.text[at]}` has no meaning here"
            self.result.found.append(Mistake("REC103", message, self.places.span(at, at + 1), help))
            return at + 1
        plain = _PLAIN.match(self.text, at)
        if plain and plain.lastgroup and not self.context.is_special():
            self._take(plain.lastgroup, plain)
            return plain.end()
        first = 0
        while True:
            every, places = _any(first)
            match = every.match(self.text, at)
            assert match is not None and match.lastgroup is not None
            first = places[match.lastgroup]
            name, part = _parts()[first]
            found = part.match(self.text, at)
            if found and found.end() > at and self._take(name, found):
                return found.end()
            first += 1

    def _only_spoils_a_head(self, at: int) -> bool:
        """Tell whether a sign is all that keeps its line from beginning with the head of a block."""
        start = self.text.rfind("\n", max(0, at - _LONGEST), at) + 1
        end = self.text.find("{", at, at + _LONGEST)
        if end < 0 or at - start > _LONGEST:
            return False
        before, after = self.text[start:at], self.text[at + 1 : end]
        head = _HEAD.fullmatch(f"{before} {after}")
        if head is None or head["kind"] not in {*KINDS, *BLOCKS}:
            return False
        if self.text[at] == ":":
            # After the name it is read as `like`, and before the brace as in other languages.
            return before.strip() == head["kind"] and bool(after.strip())
        braces = [token.value for token in self.result.tokens if token.value in ("{", "}")]
        # A stage is inside an attack, which the sign would close.
        outside = head["kind"] == "stage"
        return self.text[at] != "}" or braces.count("{") - braces.count("}") <= outside

    def _take(self, name: str, match: re.Match[str]) -> bool:
        """Take what matched; tell whether its condition holds."""
        if name.startswith("R"):
            row = ROWS[int(name[1:])]
            return row.where(self.context) and self._row(row, match)
        if name == "SPACE":
            return True
        span, written = self.places.span(*match.span()), match[0]
        if name == "COMMENT":
            self.result.comments.append(Comment(written.rstrip(), span=span))
            return True
        if name in ("SIGN", "NAME"):
            name = grammar.words().get(written, "NAME")
        if name == "BROKEN":
            return self._unknown(span, written)
        self.context.take(self._literal(placed(name, written, span)))
        return True

    def _row(self, row: Row, match: re.Match[str]) -> bool:
        written = match[0].rstrip()
        end = match.start() + (row.mark or len(written))
        span, written = self.places.span(match.start(), end), match[0].rstrip()
        read_as = row.read_as(match) if callable(row.read_as) else row.read_as
        shown = written if len(written) <= 30 else f"{written[:29]}…"
        help: Help | str | None = row.help and row.help.format(shown, read_as)
        if read_as is not None:
            edit = read_as if row.edit is None else row.edit
            text = edit(match) if callable(edit) else edit
            help = replace(span, text, str(help))
        self.result.found.append(Mistake(row.code, row.message.format(shown, read_as), span, help))
        whole = self.places.span(match.start(), match.start() + len(written))
        if read_as is None:
            self.context.take(placed("BROKEN", written, whole))
        for token in grammar.lexed(read_as or ""):
            if token.type != "SPACE":
                self.context.take(placed(token.type, token.value, whole))
        return True

    def _unknown(self, span: Span, written: str) -> bool:
        """Take what nothing else matches."""
        if unicodedata.category(written[0]) in ("Zs", "Cf"):
            self.invisible.append(span)
            return True
        if written != ":" or not self.context.ends_head():
            sign = written if len(written) == 1 else written[:20]
            self.result.found.append(
                Mistake("REC103", f"`{sign}` has no meaning here", span, "remove it")
            )
        self.context.take(placed("BROKEN", written, span))
        return True

    def _literal(self, token: Token) -> Token:
        """Return a token, as `BROKEN` if it is a string or number that cannot be read."""
        span = span_of(token)
        if token.type == "NUMBER" and not is_number(token.value):
            message = "this number is too large or too long"
            self.result.found.append(Mistake("REC111", message, span, "write it as `1e30`"))
            return placed("BROKEN", token.value, span)
        if token.type == "STRING" and (escape := wrong_escape(token.value)):
            if escape["hex"]:
                message = f"`{escape[0]}` is half of a character"
                help: Help | str = "write the whole character"
            else:
                doubled = ESCAPE.sub(_doubled, token.value)
                message = rf"expected `\"`, `\\`, `\n`, `\t`, `\r` or `\uXXXX`, found `{escape[0]}`"
                help = replace(span, doubled, r"write `\\` for a backslash")
                token = placed("STRING", doubled, span)
            self.result.found.append(Mistake("REC110", message, span, help))
            return placed("BROKEN", token.value, span) if escape["hex"] else token
        return token

    def _report_invisible(self) -> None:
        if not self.invisible:
            return
        first = self.text[self.invisible[0].start]
        name = unicodedata.name(first, f"U+{ord(first):04X}").lower()
        many = f"; there are {len(self.invisible)} in this file" if self.invisible[1:] else ""
        edits = tuple(
            Edit(span, "".join(" " * (unicodedata.category(c) == "Zs") for c in self.text[span.start : span.end]))
            for span in self.invisible
        )  # fmt: skip
        help = Help(f"replace it by a plain space, or remove it{many}", edits)
        message = f"an invisible character stands here ({name})"
        self.result.found.append(Mistake("REC103", message, self.invisible[0], help))


def _doubled(escape: re.Match[str]) -> str:
    known = escape["hex"] or escape["one"] in ESCAPES
    return escape[0] if known else f"\\{escape[0]}"
