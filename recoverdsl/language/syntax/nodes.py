"""Syntax nodes: what a `.rec` file says, before anyone asks whether it makes sense.

Two nodes are equal when they say the same, wherever they stand: spans do not count.
"""

from __future__ import annotations

from typing import Any

from attrs import define, evolve, field, frozen

SET = "--set"
"""The name of what `--set` gives, in place of a file's."""


@frozen
class Source:
    """A text that is not the file at hand: what `--set` gives, or an imported file."""

    file: str
    """Its name in diagnostics."""
    text: str = field(repr=False)


# Frozen in spirit: so many are made that the guard of a frozen class would cost a second a mebibyte.
@define(unsafe_hash=True)
class Span:
    """A stretch of the source. Offsets from 0, end exclusive; lines and columns from 1."""

    start: int
    end: int
    line: int
    column: int
    end_line: int
    end_column: int
    source: Source | None = None
    """The text that it is a stretch of, where that is not the file."""

    def to(self, other: Span) -> Span:
        """Return the span from the start of this one to the end of the other."""
        return Span(
            self.start, other.end, self.line, self.column, other.end_line, other.end_column,
            self.source,
        )  # fmt: skip

    @property
    def before(self) -> Span:
        """Return the empty stretch at its start, where something can be put before it."""
        return evolve(self, end=self.start, end_line=self.line, end_column=self.column)

    @property
    def after(self) -> Span:
        """Return the empty stretch at its end, where something can be put after it."""
        return evolve(self, start=self.end, line=self.end_line, column=self.end_column)


@frozen
class Word:
    """A name as written: of a block, an attribute, an argument."""

    text: str
    span: Span = field(eq=False, repr=False, kw_only=True)


# --- Expressions ------------------------------------------------------------------------------


@frozen
class Number:
    """`20`, `1e-3`, `95%`: kept as written, so that nothing is rounded before it is needed."""

    text: str
    span: Span = field(eq=False, repr=False, kw_only=True)


@frozen
class String:
    value: str
    span: Span = field(eq=False, repr=False, kw_only=True)


@frozen
class Boolean:
    value: bool
    span: Span = field(eq=False, repr=False, kw_only=True)


@frozen
class Index:
    """The `[14]` of a path."""

    value: Expression
    span: Span = field(eq=False, repr=False, kw_only=True)


@frozen
class Path:
    """A name, or a dotted path from a name: `mid`, `smollm2.layers[14].output`."""

    parts: tuple[Word | Index, ...]
    span: Span = field(eq=False, repr=False, kw_only=True)

    @property
    def name(self) -> str | None:
        """Return the name, where the path is only that."""
        head = self.parts[0]
        return head.text if len(self.parts) == 1 and isinstance(head, Word) else None


@frozen
class Argument:
    name: Word | None
    value: Expression
    span: Span = field(eq=False, repr=False, kw_only=True)


@frozen
class Call:
    function: Word
    arguments: tuple[Argument, ...]
    span: Span = field(eq=False, repr=False, kw_only=True)


@frozen
class List:
    """`[a, b]`, or `a, b` as the whole value of an attribute."""

    items: tuple[Expression, ...]
    bare: bool = False
    span: Span = field(eq=False, repr=False, kw_only=True)


@frozen
class Unary:
    """`-` or `not`."""

    operator: str
    operand: Expression
    span: Span = field(eq=False, repr=False, kw_only=True)


@frozen
class Binary:
    """Every operator between two values, words such as `at` and `except` among them."""

    operator: str
    left: Expression
    right: Expression
    span: Span = field(eq=False, repr=False, kw_only=True)


Expression = Number | String | Boolean | Path | Call | List | Unary | Binary

# --- Statements -------------------------------------------------------------------------------


@frozen
class Version:
    number: Number
    span: Span = field(eq=False, repr=False, kw_only=True)


@frozen
class Import:
    """`import smollm2, mid from "ioi.rec"`; without names, everything that has one."""

    names: tuple[Word, ...]
    path: String
    span: Span = field(eq=False, repr=False, kw_only=True)


@frozen
class Audit:
    text: String
    span: Span = field(eq=False, repr=False, kw_only=True)


@frozen
class Param:
    name: Word
    value: Expression
    range: Expression | None
    span: Span = field(eq=False, repr=False, kw_only=True)


@frozen
class Expect:
    """`expect drift(projected) <= 5%`, also with `by estimate` after it."""

    condition: Expression
    by: Word | None = None
    span: Span = field(eq=False, repr=False, kw_only=True)


@frozen
class Attribute:
    key: Path
    value: Expression
    span: Span = field(eq=False, repr=False, kw_only=True)


@frozen
class Block:
    kind: Word
    name: Word | None
    like: Word | None
    body: tuple[Statement, ...]
    span: Span = field(eq=False, repr=False, kw_only=True)
    head: Span = field(eq=False, repr=False, kw_only=True)
    """From the kind to the opening brace."""
    whole: bool = True
    """False if its head could not be read, so that what is missing is not complained about."""


@frozen
class Broken:
    """A statement that could not be read; its mistake is already reported."""

    words: tuple[str, ...]
    """The names in it, so that what it may have defined is not reported as missing."""
    span: Span = field(eq=False, repr=False, kw_only=True)


Statement = Version | Import | Audit | Param | Expect | Attribute | Block | Broken


@frozen
class Comment:
    """`# …`, without the trailing space."""

    text: str
    span: Span = field(eq=False, repr=False, kw_only=True)


@frozen
class Tree:
    """A parsed file. Statements that could not be read are `Broken`."""

    statements: tuple[Statement, ...]
    comments: tuple[Comment, ...] = ()
    unsure: tuple[str, ...] = field(default=(), eq=False)
    """Words that may have been meant as names, so that a use of one is no further mistake."""
    text: str = field(default="", eq=False, repr=False)
    file: str = field(default="<text>", eq=False)


def from_source(node: Any, source: Source | None) -> Any:
    """Return the node with what it is from noted in every span; None: the file at hand."""
    if isinstance(node, Span):
        return evolve(node, source=source)
    if isinstance(node, tuple):
        return tuple(from_source(item, source) for item in node)
    if not hasattr(node, "__attrs_attrs__"):
        return node
    changes = {a.name: from_source(getattr(node, a.name), source) for a in node.__attrs_attrs__}
    return evolve(node, **changes)
