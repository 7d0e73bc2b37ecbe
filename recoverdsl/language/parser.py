"""Text → syntax tree, with every mistake found in one pass.

At a mistake the parser goes back to where the statement began, puts a `BROKEN` statement in its
place and goes on behind it, so that one mistake gives one diagnostic and hides no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from attrs import evolve
from lark import Lark, Token

from recoverdsl.language.diagnostics import Collector, Edit, Mend, TooManyError
from recoverdsl.language.lexer import MOST, tokenize
from recoverdsl.language.machine import Machine, Stacks
from recoverdsl.language.mending.repairs import ENDS, Repairs, Stop
from recoverdsl.language.straight import read_straight
from recoverdsl.language.syntax.builder import Builder
from recoverdsl.language.syntax.nodes import Comment, Span, Tree
from recoverdsl.language.tokens import Mended, Mistake, Slip, Tokens, span_of

LONGEST = 1 << 20
"""Characters in a spec."""

_HIDDEN = re.compile(r"[\r\x0b\x0c\x85\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Ends of lines that are none here, and changes of the direction of writing."""

_STARTS = ("RECOVERDSL", "IMPORT", "AUDIT", "PARAM", "EXPECT", "NAME", *ENDS)


@cache
def grammar() -> str:
    """The text of the grammar: beside this file in a wheel, in `grammar/` in a checkout."""
    here = Path(__file__).parent
    for path in (here / "recover.lark", here.parents[1] / "grammar" / "recover.lark"):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError("recover.lark is missing from this installation of recoverdsl")


@cache
def _lark() -> Lark:
    return Lark(
        grammar(),
        start="file",
        parser="lalr",
        lexer="basic",
        keep_all_tokens=True,
        maybe_placeholders=False,
        transformer=Builder(),
    )


def terminals() -> dict[str, str]:
    """The grammar's terminals in Lark's order: the regular expression of each."""
    return {terminal.name: terminal.pattern.to_regexp() for terminal in _lark().terminals}


def parse_text(text: str, file: str, report: Collector) -> Tree:
    """The tree of a text; statements that cannot be read are `Broken`, and reported."""
    if len(text) > LONGEST:
        return _too_large(f"{len(text):,} characters", f"{LONGEST:,}", text, file, report)
    # A file from a time when lines ended so; no other is without any line feed.
    if "\r" in text and "\n" not in text:
        report.text = text = text.replace("\r", "\n")
        _old_line_ends(text, report)
    if straight := read_straight(_lark(), text):
        statements, comments = straight
        _report_hidden(comments, report)
        return Tree(statements, tuple(comments), text=text, file=file)
    read = tokenize(_lark(), text)
    if read is None:
        return _too_large(f"more than {MOST:,} words and signs", f"{MOST:,}", text, file, report)
    try:
        for span, mistake in read.found:
            _report(report, mistake, span)
        _report_hidden(read.comments, report)
        reader = _Reader(_lark(), read, report)
        statements = reader.read()
        unsure = tuple(re.findall(r"\w+", " ".join(text[s.start : s.end] for s in reader.renamed)))
    except TooManyError:
        return Tree((), text=text, file=file)
    return Tree(statements, tuple(read.comments), unsure, text, file)


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
                why="what is behind it is shown elsewhere than it is read",
                help=Mend("remove it", tuple(Edit(place, "") for place in places)),
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
        help=Mend("save it with line feeds", tuple(edits)),
    )


def _report(report: Collector, mistake: Mistake, span: Span) -> None:
    report.add(
        mistake.code, mistake.message, mistake.span or span,
        why=mistake.why, help=mistake.help, related=mistake.related,
    )  # fmt: skip


def lexed(text: str) -> list[Token]:
    """Every token as it is written, comments and spaces among them; none of a text that is too long."""
    return list(_lark().lex(text, dont_ignore=True)) if len(text) <= LONGEST else []


class _Reader:
    """Feeds tokens to the parser, one file long."""

    def __init__(self, lark: Lark, read: Tokens, report: Collector) -> None:
        self.parser = Machine(lark)
        self.tokens, self.report = read.tokens, report
        self.repairs = Repairs(lark)
        self.at = 0
        self.began = 0
        self.open = 0
        self.fresh = True
        self.bracketed = False
        """Whether a bracket of the statement at hand is already said to lack its partner."""
        self.slipped = 0
        """How many mistakes were reported with the last slip in the statement at hand."""
        self.renamed: list[Span] = []
        """Where names stand that cannot be names as they are written."""
        self.repaired = -1
        """Where a repair was last made, since one that did not help is not made again."""
        self.before: Stacks = ([], [])

    def read(self) -> tuple[Any, ...]:
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            if self.fresh:
                self.began, self.bracketed, self.slipped = self.at, False, 0
            if token.type == "BROKEN":
                self._say(token)
                self._recover()
                continue
            if not self._feed(token):
                self._unexpected()
                continue
            self._say(token)
            self.open += {"{": 1, "}": -1}.get(token.value, 0)
            if self.fresh:
                self.before = self.parser.stacks()
            self.fresh = token.type in ENDS or token.value == "{"
            self.at += 1
        return self._finish()

    def _feed(self, token: Token) -> bool:
        """Whether the parser has taken a token.

        An LALR parser may complete what is on its stack before it notices that a token is wrong;
        between statements there would be no way back, so there it does not look at every token.
        """
        possible = (
            self.open > 0 if token.type == "RBRACE" else not self.fresh or token.type in _STARTS
        )
        return possible and self.parser.take(token)

    def _finish(self) -> tuple[Any, ...]:
        last = self.tokens[-1] if self.tokens else Token("NEWLINE", "", 0, 1, 1, 1, 1, 0)
        statements: tuple[Any, ...] | None = self.parser.finish(last)
        if statements is None:
            if self._repaired():
                return self.read()
            if not self.slipped:
                self._complain()
            self._replace(self.at)
            statements = self.parser.finish(last)
        assert statements is not None
        return statements

    # --- What to say --------------------------------------------------------------------------

    def _say(self, token: Token) -> None:
        """Report what is wrong with a token that was taken, or broken."""
        if isinstance(token, Slip):
            self.bracketed = self.bracketed or token.mistake.code == "REC105"
            self.slipped = len(self.report.found) + 1
            if token.mistake.code == "REC122":
                self.renamed.append(span_of(token))
            _report(self.report, token.mistake, span_of(token))

    def _unexpected(self) -> None:
        if self._repaired():
            return
        if self.slipped and (self.bracketed or isinstance(self.tokens[self.at - 1], Slip)):
            # What was meant by it, nobody can say, so that nothing else is said of this statement.
            last = self.report.found[self.slipped - 1]
            self.report.found[self.slipped - 1] = evolve(last, fix=())
        else:
            self._complain()
        self._recover()

    def _stop(self) -> Stop:
        return Stop(
            self.parser.accepted(), self.tokens, self.began, self.at, self.fresh, self.open > 0,
            self.report.text,
        )  # fmt: skip

    def _repaired(self) -> bool:
        """Whether one token put in, or read as another, lets the statement go on."""
        repair = self.repairs.find(self._stop()) if self.at != self.repaired else None
        if repair is None:
            return False
        self.repaired = self.at
        if repair.anew:
            self._rewind()
        for put in repair.tokens:
            self.parser.take(put)
            if self.fresh:
                self.before = self.parser.stacks()
            self.fresh = put.type in ENDS
        if repair.mistake:
            _report(self.report, repair.mistake, repair.span)
        self.at = repair.at
        return True

    def _complain(self) -> None:
        stop = self._stop()
        token = stop.token() or stop.token(-1)
        start = Span(0, 0, 1, 1, 1, 1)
        _report(self.report, self.repairs.complaint(stop), span_of(token) if token else start)

    # --- Going on -----------------------------------------------------------------------------

    def _recover(self) -> None:
        token = self.tokens[self.at]
        if token.value == "}" and (self.fresh or not self.open):
            self.at += 1
            return
        # Behind a closing brace the statement is complete, and only the rest of the line is wrong.
        complete = not self.fresh and self.tokens[self.at - 1].value == "}"
        depth, stop = 0, self.at
        while stop < len(self.tokens):
            token = self.tokens[stop]
            if token.value == "{":
                if not complete and depth == 0 and self._head_of_block(stop):
                    return
                depth += 1
            elif token.value == "}":
                if depth == 0:
                    break
                depth -= 1
            elif token.type in ENDS and depth == 0:
                break
            stop += 1
        if complete:
            self.at = stop
        else:
            self._replace(stop)

    def _head_of_block(self, brace: int) -> bool:
        """Mend a head that cannot be read, so that the block's inside still is."""
        first = self.tokens[self.began]
        behind = self.tokens[brace + 1].type if brace + 1 < len(self.tokens) else ""
        if first.type != "NAME" or behind != "NEWLINE" or self.tokens[brace].type == "BROKEN":
            return False
        self._rewind()
        self.parser.take(Mended.new_borrow_pos("NAME", str(first), first))
        if brace > self.began + 1 and self.tokens[self.began + 1].type == "NAME":
            self.parser.take(self.tokens[self.began + 1])
        self.at, self.fresh = brace, False
        self.before = (list(self.parser.states), list(self.parser.values))
        return True

    def _rewind(self) -> None:
        if not self.fresh:
            self.parser.set_back(self.before)
            self.fresh = True

    def _replace(self, stop: int) -> None:
        """Put a broken statement in place of what was begun, and go on at `stop`."""
        self._rewind()
        skipped = self.tokens[self.began : max(stop, self.began + 1)]
        words = " ".join(t for t in skipped[:50] if t.type == "NAME")
        broken = Token.new_borrow_pos("BROKEN", words, skipped[0])
        self.parser.take(broken)
        self.fresh = False
        self.at = stop
        self.before = self.parser.stacks()
