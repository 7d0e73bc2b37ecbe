"""Values that do not fit on one line, or have comments in them: where they are broken.

A newline ends a statement except between brackets, so a value is broken between its own brackets,
or between brackets that are put around it. It is broken from the outside in, and no further than
it must be. Where that is depends on the value and its comments alone, never on how it was laid out
before, so that a formatted text stays as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from attrs import evolve, frozen

from recoverdsl.language.syntax.nodes import (
    Argument,
    Binary,
    Call,
    Comment,
    Expression,
    List,
    Number,
    Span,
    Unary,
)
from recoverdsl.language.syntax.printer import (
    CHAINS,
    binding,
    joint,
    needed,
    print_expression,
    print_operand,
    sign,
)

WIDTH = 100
"""Columns of a line, without the comment at its end."""

_LOOSE = frozenset({"and", "or", "+", "-"})
"""Chains of these are broken at every operator; the other operators stay beside a bracket."""


@frozen
class Line:
    """One line of output."""

    depth: int
    """Indentation, in steps of two columns."""
    code: str
    comment: str | None = None


@frozen
class Laid:
    """A value on lines. The first begins wherever the value begins."""

    lines: list[Line]
    above: tuple[Comment, ...] = ()
    """Comments inside the value, before everything in it, that its lines have no place for."""
    below: tuple[Comment, ...] = ()
    """The same, after everything in it."""
    enclosed: bool = False
    """Whether the lines begin and end with brackets that are not the value's own."""


@frozen
class Place:
    """Where a value begins."""

    depth: int
    """Of the line on which it begins."""
    column: int
    tail: int = 0
    """Columns that must stay free after its last line."""

    def inside(self, before: int = 0) -> Place:
        """Return the place on a new line, one step deeper, with a comma to follow."""
        return Place(self.depth + 1, 2 * (self.depth + 1) + before, 1)


def lay(
    value: Expression, comments: Sequence[Comment], place: Place, *, broken: bool = False
) -> Laid:
    """Return a value on as few lines as may be, with the comments that lie inside it.

    Args:
        value: the value.
        comments: every comment inside its span, in order.
        place: where it begins.
        broken: break it if that is possible, even if it fits on one line.
    """
    flat = Laid([Line(place.depth, print_expression(value))])
    fits = place.column + len(flat.lines[0].code) + place.tail <= WIDTH
    if fits and not comments and not broken:
        return flat
    # The spans of a value given by `--set` have nothing to do with the file and its comments.
    if value.span.source is None:
        match value:
            case List(bare=True):
                return _bare(value, comments, place)
            case List() | Call() if comments or _opens(value):
                return _bracketed(value, comments, place)
            case Unary():
                return _unary(value, comments, place, broken)
            case Binary():
                return _binary(value, comments, place)
    return evolve(flat, above=tuple(comments))


def _opens(value: Expression) -> bool:
    """Tell whether a value has brackets of its own to be broken between."""
    match value:
        case List(items=inside) | Call(arguments=inside):
            return bool(inside)
        case Unary():
            return _opens(value.operand)
        case Binary(operator, left, right):
            return operator not in _LOOSE and (_opens(left) or _opens(right))
    return False


def _is_loose(value: Expression) -> bool:
    return isinstance(value, Binary) and value.operator in _LOOSE


def _head(value: Expression) -> str:
    """Return what stands on the first line of a value that is broken, at least."""
    match value:
        case Call(function):
            return f"{function.text}("
        case Unary(operator, operand):
            return sign(operator) + _head(operand)
        case Binary(operator, left, right) if operator not in _LOOSE:
            if _opens(right):
                return print_expression(left) + joint(operator) + _head(right)
            return _head(left)
    return "("


# --- Lists and calls --------------------------------------------------------------------------


def _bracketed(value: List | Call, comments: Sequence[Comment], place: Place) -> Laid:
    if isinstance(value, Call):
        items: Sequence[Argument | Expression] = value.arguments
        opening, opened = f"{value.function.text}(", value.function.span.end_line
    else:
        items, opening, opened = value.items, "[", value.span.line
    lines = _Lines(comments, place, opening)
    lines.opened(opened, items[0].span.start if items else value.span.end)
    before: Number | None = None
    for i, item in enumerate(items):
        until = items[i + 1].span.start if i + 1 < len(items) else value.span.end
        inner = item.value if isinstance(item, Argument) else item
        name = f"{item.name.text} = " if isinstance(item, Argument) and item.name else ""
        number = inner if isinstance(inner, Number) and not name else None
        if before is None or number is None or not lines.join(before.span, number, bool(comments)):
            lines.add(inner, item.span, place.inside(len(name)), name, ",")
        lines.trailing(item.span, until)
        before = number
    return Laid(lines.closed(value.span.end, ")" if isinstance(value, Call) else "]"))


def _bare(value: List, comments: Sequence[Comment], place: Place) -> Laid:
    """`a, b` has no brackets of its own: only its items can be broken."""
    broken = [i for i, item in enumerate(value.items) if _within(item.span, comments)]
    broken = broken or [i for i, item in enumerate(value.items) if _opens(item)][-1:]
    lines = [Line(place.depth, "")]
    for i, item in enumerate(value.items):
        before = lines[-1].code + (", " if i else "")
        laid = Laid([Line(place.depth, print_expression(item))])
        if i in broken:
            column = (place.column if len(lines) == 1 else 2 * place.depth) + len(before)
            here = Place(place.depth, column)
            laid = lay(item, _within(item.span, comments), here, broken=True)
        if laid.above or laid.below:
            return Laid([Line(place.depth, print_expression(value))], above=tuple(comments))
        first, *rest = laid.lines
        lines[-1:] = [evolve(first, code=before + first.code), *rest]
    return Laid(lines)


# --- Operators --------------------------------------------------------------------------------


def _unary(value: Unary, comments: Sequence[Comment], place: Place, broken: bool) -> Laid:
    operand, before = value.operand, sign(value.operator)
    inner = _within(operand.span, comments)
    here = evolve(place, column=place.column + len(before))
    laid = _operand(operand, inner, here, needed(value)[0], broken)
    first, *rest = laid.lines
    return Laid(
        [evolve(first, code=before + first.code), *rest],
        above=(*(c for c in comments if c.span.start < operand.span.start), *laid.above),
        below=(*laid.below, *(c for c in comments if c.span.start >= operand.span.end)),
    )


def _binary(value: Binary, comments: Sequence[Comment], place: Place) -> Laid:
    if value.operator not in _LOOSE:
        beside = _beside_right(value, comments, place) or _beside_left(value, comments, place)
        if beside:
            return beside
    return _enclosed(value, comments, place)


def _beside_right(value: Binary, comments: Sequence[Comment], place: Place) -> Laid | None:
    """`mid at [` or `2 * (`, with the bracket of the right operand left open."""
    left, right = needed(value)
    inner = _within(value.right.span, comments)
    bracket = _opens(value.right) if binding(value.right) >= right else _is_loose(value.right)
    before = print_operand(value.left, left) + joint(value.operator)
    column = place.column + len(before)
    if not bracket or len(inner) < len(comments) or column + len(_head(value.right)) > WIDTH:
        return None
    laid = _operand(value.right, inner, evolve(place, column=column), right, broken=True)
    first, *rest = laid.lines
    return evolve(laid, lines=[evolve(first, code=before + first.code), *rest], enclosed=False)


def _beside_left(value: Binary, comments: Sequence[Comment], place: Place) -> Laid | None:
    """`) at last_token`, after a left operand that is broken."""
    left, right = needed(value)
    inner = _within(value.left.span, comments)
    bracket = binding(value.left) >= left and (_opens(value.left) or _is_loose(value.left))
    after = joint(value.operator) + print_operand(value.right, right)
    if not bracket or value.operator in CHAINS or len(inner) < len(comments):
        return None
    if 2 * place.depth + len(")" + after) + place.tail > WIDTH:
        return None
    tail = len(after) + place.tail
    laid = lay(value.left, inner, evolve(place, tail=tail), broken=True)
    *rest, last = laid.lines
    return evolve(laid, lines=[*rest, evolve(last, code=last.code + after)], enclosed=False)


def _enclosed(value: Binary, comments: Sequence[Comment], place: Place) -> Laid:
    """Return it with brackets around it, and every operator at the beginning of a line."""
    parts = _chain(value)
    lines = _Lines(comments, place, "(")
    lines.opened(value.span.line, parts[0][1].span.start)
    for i, (operator, operand, at_least) in enumerate(parts):
        until = parts[i + 1][1].span.start if i + 1 < len(parts) else value.span.end
        before = joint(operator).lstrip() if operator else ""
        here = evolve(place.inside(len(before)), tail=0)
        lines.add(operand, operand.span, here, before, "", at_least)
        lines.trailing(operand.span, until)
    return Laid(lines.closed(value.span.end, ")"), enclosed=True)


def _chain(value: Binary) -> list[tuple[str | None, Expression, int]]:
    """Return the operands, each with the operator before it and how tightly it must hold."""
    left, right = needed(value)
    parts: list[tuple[str | None, Expression, int]] = [(None, value.left, left)]
    if isinstance(value.left, Binary) and value.operator in CHAINS and binding(value.left) == left:
        parts = _chain(value.left)
    return [*parts, (value.operator, value.right, right)]


def _operand(
    value: Expression, comments: Sequence[Comment], place: Place, at_least: int,
    broken: bool = False,
) -> Laid:  # fmt: skip
    """Return an operand, in brackets if it needs them."""
    if binding(value) >= at_least:
        return lay(value, comments, place, broken=broken)
    here = Place(place.depth, place.column + 1, place.tail + 1)
    laid = lay(value, comments, here, broken=broken)
    if laid.enclosed:
        return laid
    *rest, last = laid.lines
    lines = [*rest, evolve(last, code=last.code + ")")]
    return evolve(laid, lines=[evolve(lines[0], code="(" + lines[0].code), *lines[1:]])


# --- Comments ---------------------------------------------------------------------------------


def _within(span: Span, comments: Iterable[Comment]) -> tuple[Comment, ...]:
    return tuple(c for c in comments if span.start <= c.span.start < span.end)


class _Lines:
    """The lines between two brackets, one step deeper, with each comment put where it was."""

    def __init__(self, comments: Sequence[Comment], place: Place, opening: str) -> None:
        self.comments, self.place = deque(comments), place
        self.lines = [Line(place.depth, opening)]

    def opened(self, line: int, until: int) -> None:
        """Return the comment after the opening bracket."""
        if self._next_is_before(until) and self.comments[0].span.line == line:
            self._after(self.comments.popleft())

    def add(
        self, value: Expression, span: Span, place: Place, before: str, after: str,
        at_least: int = 0,
    ) -> None:  # fmt: skip
        """Return a value on lines of its own, below the comments that came before it."""
        self._notes(span.start)
        inner = self._take(span.end)
        laid = _operand(value, inner, place, at_least)
        first, *rest = laid.lines
        lines = [evolve(first, code=before + first.code), *rest]
        lines[-1] = evolve(lines[-1], code=lines[-1].code + after)
        self.lines += [self._note(c) for c in laid.above] + lines
        for comment in laid.below:
            self._after(comment)

    def join(self, before: Span, number: Number, as_written: bool) -> bool:
        """Return a number after the number before it, where there is room.

        A long list of numbers is filled, and not one line each. With comments in it, numbers share
        a line only where they were written so, for then a comment may be about a whole line.
        """
        last = self.lines[-1]
        commented = self._next_is_before(number.span.end)
        apart = as_written and number.span.line != before.end_line
        room = 2 * last.depth + len(last.code) + 1 + len(number.text) + 1 <= WIDTH
        if last.comment or commented or apart or not room:
            return False
        self.lines[-1] = evolve(last, code=f"{last.code} {number.text},")
        return True

    def trailing(self, span: Span, until: int) -> None:
        """Return the comment after what ends on a line."""
        if self._next_is_before(until) and self.comments[0].span.line == span.end_line:
            self._after(self.comments.popleft())

    def closed(self, end: int, bracket: str) -> list[Line]:
        """Return all lines, with the closing bracket."""
        self._notes(end)
        return [*self.lines, Line(self.place.depth, bracket)]

    def _take(self, before: int) -> list[Comment]:
        taken = []
        while self._next_is_before(before):
            taken.append(self.comments.popleft())
        return taken

    def _next_is_before(self, offset: int) -> bool:
        return bool(self.comments) and self.comments[0].span.start < offset

    def _notes(self, before: int) -> None:
        self.lines += [self._note(comment) for comment in self._take(before)]

    def _note(self, comment: Comment) -> Line:
        return Line(self.place.depth + 1, "", comment.text)

    def _after(self, comment: Comment) -> None:
        last = self.lines[-1]
        if last.comment:
            self.lines.append(self._note(comment))
        else:
            self.lines[-1] = evolve(last, comment=comment.text)
