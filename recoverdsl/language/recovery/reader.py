"""A text that does not follow the grammar → a tree and its mistakes, line by line."""

from __future__ import annotations

from attrs import define, evolve, field
from lark import Token

from recoverdsl.language.diagnostics.collector import Collector
from recoverdsl.language.diagnostics.diagnostic import Edit, Help
from recoverdsl.language.recovery.lexer import Lexed, Lexer
from recoverdsl.language.recovery.lines import Line, lines_of
from recoverdsl.language.recovery.mistakes import Mistake
from recoverdsl.language.recovery.statements import broken, read_head, read_statement, unseparated
from recoverdsl.language.syntax.nesting import DEEPEST, Nesting
from recoverdsl.language.syntax.nodes import Block, Broken, Span, Statement, Word
from recoverdsl.language.syntax.tokens import across, adjacent, span_of


@define
class Open:
    """A block that is being read."""

    head: Block
    column: int
    """Of its first word."""
    brace: Token | None
    """None if it lacks its `{`."""
    body: list[Statement] = field(factory=list)

    @property
    def lacks_brace(self) -> bool:
        """Tell whether it begins without `{`."""
        return self.brace is None or self.brace.value != "{"


def read_loosely(text: str, report: Collector) -> tuple[tuple[Statement, ...], Lexed]:
    """Return the statements of a text and its tokens; every mistake is reported once.

    Raises:
        TooManyError: there are too many mistakes.
    """
    lexed = Lexer(text).read()
    reader = _Reader(text, lexed, report)
    return reader.read(), lexed


class _Reader:
    def __init__(self, text: str, lexed: Lexed, report: Collector) -> None:
        self.text, self.report = text, report
        self.lines = lines_of(lexed.tokens)
        self.found = lexed.found[::-1]
        """The mistakes of the lexer that are not reported yet, the first of them last."""
        self.open: list[Open] = []
        self.statements: list[Statement] = []
        ends = [line.ends_with for line in self.lines]
        self.lacking = ends.count("{") - ends.count("}")
        """How many blocks of the text lack their `}`; below 0 there are too many."""

    def read(self) -> tuple[Statement, ...]:
        """Return the statements at the top of the text."""
        at = 0
        while at < len(self.lines):
            line = self.lines[at]
            if line.tokens and line.alone:
                self._end_by_layout(line.tokens[0].column)
            if line.ends_with == "{":
                self._begin(at)
            elif line.tokens and self._lacks_brace(at):
                at += self._begin_without_brace(at)
            elif line.tokens:
                at += self._statement(at)
            if self.lines[at].ends_with == "}":
                self._end(at)
            at += 1
        self._end_by_layout(0)
        self._slips(len(self.text) + 1)
        return tuple(self.statements)

    # --- What the lexer found ---------------------------------------------------------------------

    def _slips(self, end: int, fixed: bool = True) -> bool:
        """Report the mistakes of the lexer before a place; tell whether there were any in a statement."""
        slipped = False
        while self.found and self.found[-1].span.start < end:
            mistake = self.found.pop()
            comment = mistake.code == "REC118"
            mistake.report(self.report, fixed=fixed or comment)
            slipped = slipped or not comment
        return slipped

    def _say(self, line: Line, mistake: Mistake | None, readable: bool) -> None:
        """Report what is wrong with a line: of one that is not readable, its first mistake alone."""
        self._slips(line.tokens[0].start_pos)
        slipped = self._slips(
            line.end.start_pos if line.end else len(self.text) + 1, fixed=readable
        )
        if mistake is not None and (readable or not slipped):
            mistake.report(self.report)

    # --- Statements -------------------------------------------------------------------------------

    @property
    def _body(self) -> list[Statement]:
        return self.open[-1].body if self.open else self.statements

    def _statement(self, at: int) -> int:
        """Read the statement on a line; return how many more lines it takes."""
        line = self.lines[at]
        if deep := self._too_deep(line):
            self._say(line, deep, False)
            self._body.append(broken(line.tokens))
            return 0
        if joined := self._joined(at):
            more, statement, split = joined
            last = self.lines[at + more]
            self._say(Line([*line.tokens, *last.tokens], last.end, True), split, True)
            self._body.append(statement)
            return more
        statements, mistake = read_statement(line.tokens, bool(self.open))
        readable = not any(isinstance(statement, Broken) for statement in statements)
        if (
            readable
            and mistake is None
            and at
            and not line.alone
            and self.lines[at - 1].ends_with == "}"
        ):
            mistake = unseparated(self.lines[at - 1].end, line.tokens[0])
        self._say(line, mistake, readable)
        self._body.extend(statements)
        return 0

    def _too_deep(self, line: Line) -> Mistake | None:
        nesting = Nesting()
        nesting.depth = len(self.open)
        for token in line.tokens:
            if nesting.too_deep(token):
                return _deep(span_of(token))
        return None

    def _joined(self, at: int) -> tuple[int, Statement, Mistake] | None:
        """Return the statement that goes on over the ends of lines, and how many more it takes."""
        first, column = self.lines[at], self.lines[at].tokens[0].column
        tokens, more = list(first.tokens), 0
        edits: list[Edit] = []
        where, message = None, ""
        while at + more + 1 < len(self.lines) and self.lines[at + more].ends_with == "\n":
            after = self.lines[at + more + 1].tokens
            hanging = tokens[-1].value in JOINING and tokens[-1].type not in ("NAME", "BROKEN")
            leading = (
                bool(after)
                and after[0].value in JOINING
                and after[0].type not in ("NAME", "BROKEN", "NOT")
            )
            if not after or after[0].column <= column or not (hanging or leading):
                break
            if where is None:
                where = span_of(tokens[-1] if hanging else after[0])
                message = (
                    "expected a value, found the end of the line" if hanging
                    else f"expected a statement, found `{after[0]}`"
                )  # fmt: skip
            edits.append(Edit(span_of(tokens[-1]).after.to(span_of(after[0]).before), " "))
            tokens, more = [*tokens, *after], more + 1
        if where is None:
            return None
        (statement, *others), mistake = read_statement(tokens, bool(self.open))
        if mistake or others:
            return None
        plain = all(not self.text[e.span.start : e.span.end].strip() for e in edits)
        help = Help(
            "write it on one line, or put the value in `( )`", tuple(edits) if plain else ()
        )
        return more, statement, Mistake("REC121", message, where, help)

    # --- Blocks -----------------------------------------------------------------------------------

    def _begin(self, at: int) -> None:
        """Begin the block whose head is on a line."""
        line = self.lines[at]
        assert line.end is not None
        before = self.lines[at - 1].end if at else None
        if (
            not line.tokens
            and before is not None
            and before.value == "{"
            and adjacent(before, line.end)
        ):
            self.lacking -= 1
            remove = Help("remove it", (Edit(span_of(line.end), ""),))
            Mistake(
                "REC105", "expected a statement, found another `{`", span_of(line.end), remove
            ).report(self.report)
            return
        if not line.tokens:
            place = span_of(line.end)
            Mistake(
                "REC120",
                "expected the kind of a block before `{`",
                place,
                "such as `attack my_attack {`",
            ).report(self.report)
            self._push(
                Block(_word("", place), None, None, (), span=place, head=place, whole=False), line
            )
            return
        self._restore_signs(line)
        head, mistake = read_head(line.tokens)
        strange = any(token.type == "BROKEN" for token in line.tokens)
        readable = not strange and (mistake is None or isinstance(mistake.help, Help))
        if mistake is None and not line.alone and at and before is not None and before.value == "}":
            mistake = unseparated(before, line.tokens[0])
        self._say(line, mistake, readable)
        self._push(head, line)

    def _restore_signs(self, line: Line) -> None:
        """Restore the signs of a head that the lexer read as `=`: there is no value in a head."""
        for at, token in enumerate(line.tokens):
            written = self.text[token.start_pos : token.end_pos]
            if token.value == "=" != written:
                line.tokens[at] = Token.new_borrow_pos(token.type, written, token)
                self.found = [one for one in self.found if one.span.start != token.start_pos]

    def _push(self, head: Block, line: Line) -> None:
        column = (line.tokens[0] if line.tokens else line.end).column  # type: ignore[union-attr]
        if self.open and not line.alone:
            column = max(column, self.open[-1].column)
        self.open.append(Open(head, column, line.end if line.ends_with == "{" else None))
        if len(self.open) == DEEPEST:
            _deep(head.head).report(self.report)

    def _lacks_brace(self, at: int) -> bool:
        """Tell whether a line is the head of a block without its `{`."""
        line, after = self.lines[at], self.lines[at + 1] if at + 1 < len(self.lines) else None
        words = line.tokens[:-1] if line.tokens[-1].value == ":" else line.tokens
        if (
            line.ends_with != "\n"
            or after is None
            or not after.alone
            or not Line(words, None, True).is_head
        ):
            return False
        if not after.tokens:
            return after.ends_with == "{" or (
                after.end is not None and after.end.column == words[0].column and len(words) > 1
            )
        return bool(after.tokens[0].column > words[0].column)

    def _begin_without_brace(self, at: int) -> int:
        """Begin a block without its `{`; return how many more lines its head takes."""
        line, after = self.lines[at], self.lines[at + 1]
        colon = line.tokens[-1] if line.tokens[-1].value == ":" else None
        words = line.tokens[:-1] if colon else line.tokens
        head, mistake = read_head(words)
        if not after.tokens and after.ends_with == "{":
            assert after.end is not None
            gap = span_of(words[-1]).after.to(span_of(after.end).before)
            empty = not self.text[gap.start : gap.end].strip()
            help = Help(
                "write it after the name, on the same line", (Edit(gap, " "),) if empty else ()
            )
            related = ((across(words[0], words[-1]), "it belongs here"),)
            mistake = Mistake(
                "REC120",
                "expected `{` on the line of the block's name",
                span_of(after.end),
                help,
                related,
            )
            self._say(Line(words, line.end, True), mistake, True)
            self._push(head, Line(words, after.end, True))
            return 1
        self._say(Line(words, line.end, True), mistake, mistake is None)
        self.lacking += 1
        self._push(head, line)
        self.open[-1].brace = colon
        return 0

    def _end(self, at: int) -> None:
        """End the innermost block at the `}` of a line."""
        line = self.lines[at]
        assert line.end is not None
        brace = line.end
        if line.alone and not line.tokens:
            self._end_by_layout(brace.column, of_brace=True)
        after = self.lines[at + 1] if at + 1 < len(self.lines) else None
        if not self.open:
            self._surplus(brace, "expected a statement, found a `}` that closes no block")
        elif (
            self.lacking < 0 and after is not None and after.alone and after.tokens
            and after.tokens[0].column > self.open[-1].column and len(self.open) == 1
        ):  # fmt: skip
            self._surplus(brace, "this `}` closes the block too early")
        else:
            self._close(brace)

    def _surplus(self, brace: Token, message: str) -> None:
        self.lacking += 1
        place = span_of(brace)
        begin, end = self.text.rfind("\n", 0, place.start) + 1, self.text.find("\n", place.end)
        alone = end >= 0 and self.text[begin:end].strip() == "}"
        gone = Span(begin, end + 1, place.line, 1, place.line + 1, 1) if alone else place
        Mistake("REC105", message, place, Help("remove it", (Edit(gone, ""),))).report(self.report)

    def _end_by_layout(self, column: int, of_brace: bool = False) -> None:
        """End the blocks that lack their `}`: a line that is no further in than their heads is outside."""
        while self.open:
            block = self.open[-1]
            outside = column < block.column or (column == block.column and not of_brace)
            if not outside or not (self.lacking > 0 or block.lacks_brace):
                return
            self.lacking -= 1
            self._close(None)

    def _close(self, brace: Token | None) -> None:
        """End the innermost block, at its `}` or by the layout."""
        block = self.open.pop()
        head = block.head.head
        last = block.body[-1].span if block.body else head
        end = span_of(brace) if brace is not None else last
        if len(self.open) < DEEPEST:
            self._body.append(evolve(block.head, body=tuple(block.body), span=head.to(end)))
        closing = ""
        if brace is None:
            line = self.text[self.text.rfind("\n", 0, head.start) + 1 : head.start]
            indent = line[: len(line) - len(line.lstrip(" \t"))]
            closing = " }" if last.end_line == head.line else f"\n{indent}}}"
        if block.lacks_brace:
            self._report_unopened(block, last, closing)
        elif closing and block.brace is not None:
            help = Help("add a `}` where it ends", (Edit(last.after, closing),))
            Mistake("REC105", "this block is not closed", span_of(block.brace), help).report(
                self.report
            )

    def _report_unopened(self, block: Open, last: Span, closing: str) -> None:
        head = block.head.head
        place = head.after if block.brace is None else span_of(block.brace)
        found = "the end of the line" if block.brace is None else "`:`"
        edits = (Edit(place, " {"), *((Edit(last.after, closing),) if closing else ()))
        help = "write `{` after the name" + (", and `}` after the last line" if closing else "")
        Mistake(
            "REC120", f"expected `{{` after the name of a block, found {found}",
            head if block.brace is None else place, Help(help, edits),
        ).report(self.report)  # fmt: skip


JOINING = frozenset(
    [
        "=",
        "+",
        "-",
        "*",
        "/",
        "and",
        "or",
        "not",
        "at",
        "except",
        "of",
        "..",
        "<",
        "<=",
        ">",
        ">=",
        "==",
        "!=",
    ]
)
"""The signs between values, so that a statement does not end before or after it."""


def _deep(at: Span) -> Mistake:
    return Mistake(
        "REC106", f"this nests more than {DEEPEST} deep", at, "write it in smaller parts"
    )


def _word(text: str, at: Span) -> Word:
    return Word(text, span=at)
