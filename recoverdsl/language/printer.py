"""Syntax tree → text, in the one canonical layout, with the comments in their places."""

from __future__ import annotations

from collections import deque

from recoverdsl.language import nodes
from recoverdsl.language.nodes import (
    Argument,
    Attribute,
    Binary,
    Block,
    Boolean,
    Call,
    Comment,
    Expression,
    List,
    Number,
    Path,
    Statement,
    String,
    Tree,
    Unary,
)  # fmt: skip

WIDTH = 100

_BINDING = {
    "or": 1, "and": 2, "not": 3, "<": 4, "<=": 4, ">": 4, ">=": 4, "==": 4, "at": 5, "except": 6,
    "..": 7, "+": 8, "-": 8, "*": 9, "/": 9, "negative": 10, "of": 11,
}  # fmt: skip
_CHAINS = frozenset({"or", "and", "+", "-", "*", "/"})
"""Operators that take themselves on their left without brackets; the others do not repeat."""

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def print_tree(tree: Tree) -> str:
    """The canonical text of a tree that was read without mistakes."""
    return _Printer(tree).text()


def quote(value: str) -> str:
    """A string literal."""
    return (
        '"'
        + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _escape(c)) for c in value)
        + '"'
    )


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else character


def print_expression(value: Expression) -> str:
    """An expression on one line, with no brackets but those that it needs."""
    match value:
        case Number(text):
            return text
        case String(text):
            return quote(text)
        case Boolean(truth):
            return "true" if truth else "false"
        case Path(parts):
            return "".join(
                f"[{print_expression(part.value)}]" if isinstance(part, nodes.Index)
                else f".{part.text}" if i else part.text
                for i, part in enumerate(parts)
            )  # fmt: skip
        case Call(function, arguments):
            return f"{function.text}({', '.join(map(_argument, arguments))})"
        case List(items, bare):
            inner = ", ".join(map(print_expression, items))
            return inner if bare else f"[{inner}]"
        case Unary("not", operand):
            return f"not {_bracketed(operand, _BINDING['not'])}"
        case Unary(_, operand):
            return f"-{_bracketed(operand, _BINDING['negative'])}"
        case Binary(operator, left, right):
            binding = _BINDING[operator]
            joint = ".." if operator == ".." else f" {operator} "
            before = _bracketed(left, binding if operator in _CHAINS else binding + 1)
            return f"{before}{joint}{_bracketed(right, binding + 1)}"
    raise TypeError(value)


def _argument(argument: Argument) -> str:
    value = print_expression(argument.value)
    return f"{argument.name.text} = {value}" if argument.name else value


def _bracketed(value: Expression, at_least: int) -> str:
    text = print_expression(value)
    if isinstance(value, Unary):
        binding = _BINDING["not" if value.operator == "not" else "negative"]
    elif isinstance(value, Binary):
        binding = _BINDING[value.operator]
    else:
        return text
    return text if binding >= at_least else f"({text})"


class _Printer:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.comments = deque(tree.comments)
        self.lines: list[str] = []
        self.line_before = 0
        """Last line of the source that was printed, to keep one empty line where there were some."""

    def text(self) -> str:
        self._body(self.tree.statements, 0, None)
        return "".join(f"{line.rstrip()}\n" for line in self.lines)

    def _body(self, statements: tuple[Statement, ...], depth: int, end: int | None) -> None:
        first = True
        widths = _widths(statements)
        for i, statement in enumerate(statements):
            inside = statement.head.end if isinstance(statement, Block) else statement.span.end
            first = self._leading(inside, depth, first)
            self._space(statement.span.line, first)
            following = statements[i + 1].span.start if i + 1 < len(statements) else end
            self._statement(statement, depth, following, widths[i])
            self.line_before = statement.span.end_line
            first = False
        self._leading(end, depth, first)

    def _leading(self, before: int | None, depth: int, first: bool) -> bool:
        """Comments on lines of their own, and those from inside the statement that follows."""
        while self.comments and (before is None or self.comments[0].span.start < before):
            comment = self.comments.popleft()
            self._space(comment.span.line, first)
            self.lines.append("  " * depth + comment.text)
            self.line_before = comment.span.line
            first = False
        return first

    def _space(self, line: int, first: bool) -> None:
        if not first and line > self.line_before + 1:
            self.lines.append("")

    def _trailing(self, line: int, before: int | None) -> str:
        """The comment behind what ends on a line."""
        if self.comments and self.comments[0].span.line == line:
            comment: Comment = self.comments[0]
            if before is None or comment.span.start < before:
                self.comments.popleft()
                return f"  {comment.text}"
        return ""

    def _statement(
        self, statement: Statement, depth: int, following: int | None, width: int
    ) -> None:
        indent = "  " * depth
        if isinstance(statement, Block):
            self._block(statement, depth, following)
            return
        text = indent + _simple(statement, width)
        if len(text) > WIDTH and isinstance(statement, Attribute):
            text = _broken_up(statement, depth, width) or text
        self.lines.append(text + self._trailing(statement.span.end_line, following))

    def _block(self, block: Block, depth: int, following: int | None) -> None:
        indent = "  " * depth
        words = [block.kind.text, block.name and block.name.text]
        words += ["like", block.like.text] if block.like else []
        head = indent + " ".join(word for word in words if word)
        commented = bool(self.comments) and self.comments[0].span.start < block.span.end
        if block.span.line == block.span.end_line and not commented:
            inner = "; ".join(_simple(s) for s in block.body if not isinstance(s, Block))
            line = f"{head} {{ {inner} }}" if inner else f"{head} {{}}"
            if len(line) <= WIDTH and not any(isinstance(s, Block) for s in block.body):
                self.lines.append(line + self._trailing(block.span.end_line, following))
                return
        first = block.body[0].span.start if block.body else block.span.end
        self.lines.append(f"{head} {{" + self._trailing(block.head.end_line, first))
        self.line_before = block.head.end_line
        self._body(block.body, depth + 1, block.span.end)
        self.lines.append(indent + "}" + self._trailing(block.span.end_line, following))


def _widths(statements: tuple[Statement, ...]) -> list[int]:
    """For each statement the column of its `=`: the same for attributes on neighbouring lines."""
    widths: list[int] = []
    run: list[Statement] = []
    for i, statement in enumerate(statements):
        after = statements[i + 1] if i + 1 < len(statements) else None
        run.append(statement)
        apart = after is None or after.span.line > statement.span.end_line + 1
        if apart or not (isinstance(statement, Attribute) and isinstance(after, Attribute)):
            keys = [print_expression(s.key) for s in run if isinstance(s, Attribute)]
            widths += [max(map(len, keys), default=0)] * len(run)
            run = []
    return widths


def _simple(statement: Statement, width: int = 0) -> str:
    match statement:
        case nodes.Version(number):
            return f"recoverdsl {number.text}"
        case nodes.Audit(text):
            return f"audit {quote(text.value)}"
        case nodes.Param(name, value, bounds):
            within = f" in {print_expression(bounds)}" if bounds else ""
            return f"param {name.text} = {print_expression(value)}{within}"
        case nodes.Expect(condition):
            return f"expect {print_expression(condition)}"
        case Attribute(key, value):
            return f"{print_expression(key):<{width}} = {print_expression(value)}"
    raise TypeError(statement)


def _broken_up(attribute: Attribute, depth: int, width: int) -> str | None:
    """A long call or list with one part on each line."""
    value, parts = attribute.value, list[str]()
    if isinstance(value, Call):
        opening, closing = f"{value.function.text}(", ")"
        parts = [_argument(a) for a in value.arguments]
    elif isinstance(value, List) and not value.bare:
        opening, closing = "[", "]"
        parts = [print_expression(item) for item in value.items]
    if not parts:
        return None
    indent = "  " * depth
    inner = "".join(f"{indent}  {part},\n" for part in parts)
    return (
        f"{indent}{print_expression(attribute.key):<{width}} = {opening}\n{inner}{indent}{closing}"
    )
