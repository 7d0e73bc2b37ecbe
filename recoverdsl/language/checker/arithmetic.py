"""Arithmetic of constants, exact: `0.1 + 0.2` is 0.3."""

from __future__ import annotations

import re
from fractions import Fraction

from attrs import frozen

from recoverdsl.language.diagnostics import Collector, Help, replace
from recoverdsl.language.syntax.nodes import Binary, Expression, Number, String, Unary

_ARITHMETIC = ("+", "-", "*", "/")


@frozen
class Quantity:
    """A number, and whether it was written with `%`."""

    value: Fraction
    percent: bool = False

    @property
    def plain(self) -> Fraction:
        """Return the number that is meant: 5% is 0.05."""
        return self.value / 100 if self.percent else self.value


def is_arithmetic(value: Expression) -> bool:
    """Tell whether a value is made like a number, whatever it is made from."""
    if isinstance(value, Number):
        return True
    if isinstance(value, Unary):
        return value.operator == "-" and is_arithmetic(value.operand)
    if isinstance(value, Binary):
        return value.operator in _ARITHMETIC and (
            is_arithmetic(value.left) or is_arithmetic(value.right)
        )
    return False


def fold(value: Expression, report: Collector) -> Quantity | None:
    """Return the number that an expression is; None if it is none, which is reported."""
    if isinstance(value, Number):
        return Quantity(Fraction(value.text.rstrip("%")), value.text.endswith("%"))
    if isinstance(value, Unary) and value.operator == "-":
        operand = fold(value.operand, report)
        return operand and Quantity(-operand.value, operand.percent)
    if isinstance(value, Binary) and value.operator in _ARITHMETIC:
        left, right = fold(value.left, report), fold(value.right, report)
        return _combine(value, left, right, report) if left and right else None
    help: Help | str = "write a number, or the name of a `param` that is one"
    if isinstance(value, String) and re.fullmatch(r"[0-9]+(\.[0-9]+)?%?", value.value):
        help = replace(value.span, value.value, "write it without quotation marks")
    report.add("REC309", "only numbers can be calculated with", value.span, help=help)
    return None


def _combine(at: Binary, left: Quantity, right: Quantity, report: Collector) -> Quantity | None:
    if at.operator in ("+", "-"):
        if left.percent != right.percent:
            report.add(
                "REC303",
                "a share and a plain number cannot be added",
                at.span,
                help="give both a `%`, or neither",
            )
            return None
        sign = 1 if at.operator == "+" else -1
        return Quantity(left.value + sign * right.value, left.percent)
    if at.operator == "*":
        if left.percent and right.percent:
            return Quantity(left.plain * right.plain)
        return Quantity(left.value * right.value, left.percent or right.percent)
    if not right.value:
        report.add("REC309", "this divides by zero", at.right.span, help="divide by another number")
        return None
    if left.percent and not right.percent:
        return Quantity(left.value / right.value, True)
    return Quantity(left.plain / right.plain)
