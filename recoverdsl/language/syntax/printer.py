"""Expression → text on one line, in the one canonical spacing."""

from __future__ import annotations

from recoverdsl.language.syntax import nodes
from recoverdsl.language.syntax.nodes import (
    Argument,
    Binary,
    Boolean,
    Call,
    Expression,
    List,
    Number,
    Path,
    String,
    Unary,
)  # fmt: skip

BINDING = {
    "or": 1, "and": 2, "not": 3, "<": 4, "<=": 4, ">": 4, ">=": 4, "==": 4, "!=": 4, "at": 5, "except": 6,
    "..": 7, "+": 8, "-": 8, "*": 9, "/": 9, "negative": 10, "of": 11,
}  # fmt: skip
"""How tightly an operator holds its values; what is no operator holds tightest."""

CHAINS = frozenset({"or", "and", "+", "-", "*", "/"})
"""Operators that take themselves on their left without brackets; the others do not repeat."""

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def quote(value: str) -> str:
    """Return a string literal."""
    return (
        '"'
        + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _escape(c)) for c in value)
        + '"'
    )


def _escape(character: str) -> str:
    # Beyond U+FFFF there is no escape of one character.
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else character


def print_expression(value: Expression) -> str:
    """Return an expression on one line, with no brackets but those that it needs."""
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
        case Unary(operator, operand):
            return f"{sign(operator)}{print_operand(operand, needed(value)[0])}"
        case Binary(operator, left, right):
            before, after = needed(value)
            return f"{print_operand(left, before)}{joint(operator)}{print_operand(right, after)}"
    raise TypeError(value)


def print_operand(value: Expression, at_least: int) -> str:
    """Return an operand on one line, in brackets if its operator holds less tightly than is needed."""
    text = print_expression(value)
    return text if binding(value) >= at_least else f"({text})"


def binding(value: Expression) -> int:
    """Return how tightly the operator of an expression holds."""
    if isinstance(value, Unary):
        return BINDING["not" if value.operator == "not" else "negative"]
    return BINDING[value.operator] if isinstance(value, Binary) else max(BINDING.values()) + 1


def needed(value: Unary | Binary) -> tuple[int, int]:
    """Return how tightly the operands of an operator must hold: the left or only one, and the right one."""
    own = binding(value)
    if isinstance(value, Unary) or value.operator in CHAINS:
        return own, own + 1
    return own + 1, own + 1


def sign(operator: str) -> str:
    """Return what stands before the operand of `not` or `-`."""
    return "not " if operator == "not" else operator


def joint(operator: str) -> str:
    """Return what stands between two operands."""
    return ".." if operator == ".." else f" {operator} "


def _argument(argument: Argument) -> str:
    value = print_expression(argument.value)
    return f"{argument.name.text} = {value}" if argument.name else value
