"""Syntax tree → text, in the one canonical layout, with the comments in their places.

- Two columns of indentation, one statement a line, no line over 100 columns if that can be helped.
- The `=` of attributes on neighboring lines stand below each other, and so do the comments after
  neighboring lines.
- An empty line stays where there were some; one stands around every block of several lines. A
  block that was written on one line stays on it while it fits.
- A value is broken as `breaking.py` says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from attrs import define, evolve

from recoverdsl.language.format.line_wrapping import WIDTH, Laid, Line, Place, lay
from recoverdsl.language.syntax import nodes
from recoverdsl.language.syntax.nodes import (
    Attribute,
    Block,
    Comment,
    Expression,
    Statement,
    Tree,
    from_source,
)
from recoverdsl.language.syntax.printer import print_expression, quote


def print_tree(tree: Tree) -> str:
    """Return the canonical text of a tree that was read without mistakes."""
    lines = _Layout(tree).body(tree.statements, 0, None)
    return "".join(f"{line}\n" for line in _rendered(lines))


@define
class _Row:
    """An attribute, whose `=` is to be aligned with those of its neighbors."""

    key: str
    value: Expression
    lines: list[Line]
    """Of the value; the comment after the attribute is on the last one."""


_EMPTY = Line(0, "")
_Entry = Line | _Row


class _Layout:
    """The tree's statements and comments, in the order of the text."""

    def __init__(self, tree: Tree) -> None:
        self.comments = deque(tree.comments)
        self.line_before = 0
        """Last line of the source that was printed, to keep one empty line where there were some."""

    def body(self, statements: Sequence[Statement], depth: int, end: int | None) -> list[Line]:
        """Return the statements of the file or of a block, up to where it ends."""
        entries: list[_Entry] = []
        tall_before = False
        for i, statement in enumerate(statements):
            began = len(entries)
            if _written(statement):
                self._notes(statement.span.start, depth, entries)
                self._space(statement.span.line, entries)
            until = _next_start(statements, i + 1, end)
            made = self._statement(statement, depth, until)
            tall = isinstance(statement, Block) and len(made) > 1
            if (tall or tall_before) and began and _EMPTY not in entries[began:]:
                entries.insert(began, _EMPTY)
            entries += made
            tall_before = tall
            if _written(statement):
                self.line_before = statement.span.end_line
        self._notes(end, depth, entries)
        return list(_aligned(entries, depth))

    # --- Comments and empty lines -------------------------------------------------------------

    def _take(self, before: int | None) -> Iterator[Comment]:
        while self.comments and (before is None or self.comments[0].span.start < before):
            yield self.comments.popleft()

    def _notes(self, before: int | None, depth: int, entries: list[_Entry]) -> None:
        """Lay out comments on lines of their own."""
        for comment in self._take(before):
            self._space(comment.span.line, entries)
            entries.append(Line(depth, "", comment.text))
            self.line_before = comment.span.line

    def _space(self, line: int, entries: list[_Entry]) -> None:
        if entries and line > self.line_before + 1:
            entries.append(_EMPTY)

    def _trailing(self, line: int, before: int | None) -> str | None:
        """Return the comment after what ends on a line."""
        if self.comments and self.comments[0].span.line == line:
            return next((comment.text for comment in self._take(before)), None)
        return None

    # --- Statements ---------------------------------------------------------------------------

    def _statement(self, statement: Statement, depth: int, until: int | None) -> Sequence[_Entry]:
        if isinstance(statement, Block) and not _written(statement):
            # Of another file, whose comments stay there.
            return _Layout(Tree(()))._block(from_source(statement, None), depth, None)
        if isinstance(statement, Block):
            return self._block(statement, depth, until)
        given = statement.span.source is not None
        inside = () if given else tuple(self._take(statement.span.end))
        laid = _laid(statement, inside, depth)
        after = None if given else self._trailing(statement.span.end_line, until)
        below = [comment.text for comment in laid.below] + ([after] if after else [])
        lines = laid.lines
        if below:
            lines = [*lines[:-1], evolve(lines[-1], comment=below.pop(0))]
        made: list[_Entry] = [*lines]
        if isinstance(statement, Attribute):
            made = [_Row(print_expression(statement.key), statement.value, lines)]
        above = [Line(depth, "", comment.text) for comment in laid.above]
        return [*above, *made, *(Line(depth, "", text) for text in below)]

    def _block(self, block: Block, depth: int, until: int | None) -> list[Line]:
        words = [block.kind.text, block.name and block.name.text]
        words += ["like", block.like.text] if block.like else []
        head = " ".join(word for word in words if word)
        if one := self._on_one_line(block, head, depth):
            return [Line(depth, one, self._trailing(block.span.end_line, until))]
        first = _next_start(block.body, 0, block.span.end)
        opening = Line(depth, f"{head} {{", self._trailing(block.head.end_line, first))
        self.line_before = block.head.end_line
        body = self.body(block.body, depth + 1, block.span.end)
        closing = Line(depth, "}", self._trailing(block.span.end_line, until))
        return [opening, *body, closing]

    def _on_one_line(self, block: Block, head: str, depth: int) -> str | None:
        if self.comments and self.comments[0].span.start < block.span.end:
            return None
        if not block.body:
            return f"{head} {{}}"
        if block.span.line != block.span.end_line or any(isinstance(s, Block) for s in block.body):
            return None
        texts = [_flat(s) for s in block.body]
        line = f"{head} {{ {'; '.join(texts)} }}"
        return line if 2 * depth + len(line) <= WIDTH else None


def _written(statement: Statement) -> bool:
    """Tell whether a statement stands in the file; `--set` may have added it, or an `import`."""
    return statement.span.source is None


def _next_start(statements: Sequence[Statement], i: int, end: int | None) -> int | None:
    written = (statements[j] for j in range(i, len(statements)) if _written(statements[j]))
    return next((statement.span.start for statement in written), end)


def _laid(statement: Statement, comments: tuple[Comment, ...], depth: int) -> Laid:
    """Return a statement on lines; of an attribute only the value, for its key is yet to be aligned."""
    match statement:
        case Attribute(key, value):
            above = tuple(c for c in comments if c.span.start < value.span.start)
            place = Place(depth, 2 * depth + len(print_expression(key)) + 3)
            laid = lay(value, comments[len(above) :], place)
            return evolve(laid, above=(*above, *laid.above))
        case nodes.Expect(condition, by):
            after = f" by {by.text}" if by else ""
            laid = lay(condition, comments, Place(depth, 2 * depth + 7, len(after)))
            return _after("expect ", _before(laid, after))
        case nodes.Param(name, value, bounds) if not bounds or all(
            c.span.start < value.span.end for c in comments
        ):
            before = f"param {name.text} = "
            after = f" in {print_expression(bounds)}" if bounds else ""
            place = Place(depth, 2 * depth + len(before), len(after))
            return _before(_after(before, lay(value, comments, place)), after)
    return Laid([Line(depth, _flat(statement))], above=comments)


def _after(before: str, laid: Laid) -> Laid:
    first, *rest = laid.lines
    return evolve(laid, lines=[evolve(first, code=before + first.code), *rest])


def _before(laid: Laid, after: str) -> Laid:
    *rest, last = laid.lines
    return evolve(laid, lines=[*rest, evolve(last, code=last.code + after)])


def _flat(statement: Statement) -> str:
    """Return a statement on one line."""
    match statement:
        case nodes.Version(number):
            return f"recoverdsl {number.text}"
        case nodes.Import(names, path):
            taken = f"{', '.join(name.text for name in names)} from " if names else ""
            return f"import {taken}{quote(path.value)}"
        case nodes.Audit(text):
            return f"audit {quote(text.value)}"
        case nodes.Param(name, value, bounds):
            within = f" in {print_expression(bounds)}" if bounds else ""
            return f"param {name.text} = {print_expression(value)}{within}"
        case nodes.Expect(condition, by):
            return f"expect {print_expression(condition)}{f' by {by.text}' if by else ''}"
        case Attribute(key, value):
            return f"{print_expression(key)} = {print_expression(value)}"
    raise TypeError(statement)


# --- What is aligned --------------------------------------------------------------------------


def _aligned(entries: Sequence[_Entry], depth: int) -> Iterator[Line]:
    """Return the lines of a body, with the `=` of neighboring attributes of one line below each other."""
    for run in _runs(entries):
        _break_what_is_too_long(run, depth)
    for run in _runs(entries):
        width = max(len(row.key) for row in run)
        for row in run:
            row.key = f"{row.key:<{width}}"
    for entry in entries:
        if isinstance(entry, Line):
            yield entry
        else:
            first, *rest = entry.lines
            yield evolve(first, code=f"{entry.key} = {first.code}")
            yield from rest


def _runs(entries: Iterable[_Entry]) -> list[list[_Row]]:
    runs: list[list[_Row]] = [[]]
    for entry in entries:
        if isinstance(entry, _Row) and len(entry.lines) == 1:
            runs[-1].append(entry)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _break_what_is_too_long(run: Sequence[_Row], depth: int) -> None:
    """Break what fits after its own key, but not after the longest one."""
    column = 2 * depth + max(len(row.key) for row in run) + 3
    for row in run:
        (line,) = row.lines
        if column + len(line.code) > WIDTH:
            *rest, last = lay(row.value, (), Place(depth, column)).lines
            row.lines = [*rest, evolve(last, comment=line.comment)]


def _rendered(lines: Sequence[Line]) -> Iterator[str]:
    """Return the text of the lines, with the comments after neighboring ones below each other."""

    def neighbors(line: Line) -> int | None:
        """Return the same for lines whose comments are aligned; brackets that open and close stand apart."""
        whole = line.code and line.code[-1] not in "([{" and line.code[0] not in ")]}"
        return line.depth if whole and line.comment else None

    for depth, group in groupby(lines, neighbors):
        run = list(group)
        width = max(len(line.code) for line in run)
        longest = 2 * run[0].depth + width + 2 + max(len(line.comment or "") for line in run)
        for line in run:
            text = "  " * line.depth + line.code
            if line.code and line.comment:
                apart = width - len(line.code) if depth is not None and longest <= WIDTH else 0
                text += " " * (apart + 2)
            yield (text + (line.comment or "")).rstrip()
