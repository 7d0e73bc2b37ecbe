"""`param layer = 14 in 0..29`: values with a name and a range."""

from __future__ import annotations

from recoverdsl.language import nodes, schema
from recoverdsl.language.constants import fold, is_arithmetic
from recoverdsl.language.diagnostics import Collector
from recoverdsl.language.nodes import Boolean, Expression, Param, String, Tree

_WORDS = frozenset((*schema.POSITIONS, *schema.DETECTORS, *schema.WORDS))
"""Words that mean something inside values, where a param would take their place."""


def read_params(tree: Tree, report: Collector) -> tuple[dict[str, Param], dict[str, schema.Param]]:
    """The params as written, to put in place of their uses, and as checked."""
    written: dict[str, Param] = {}
    checked: dict[str, schema.Param] = {}
    for statement in tree.statements:
        if not isinstance(statement, Param):
            continue
        name = statement.name
        if name.text in written:
            first = written[name.text].name.span
            report.add(
                "REC207",
                f"`{name.text}` is defined twice",
                name.span,
                help="give one of them another name",
                related=[(first, "first defined here")],
            )
            continue
        if name.text in _WORDS:
            message = f"`{name.text}` is already a word of the language"
            report.add("REC207", message, name.span, help="give this param another name")
            continue
        written[name.text] = statement
        low, high = _bounds(statement, report)
        param = _literal(statement.value, report)
        if param is not None:
            checked[name.text] = schema.Param(param, low, high)
            fits_param(checked[name.text], statement.value, report)
    return written, checked


def _bounds(param: Param, report: Collector) -> tuple[float | None, float | None]:
    if param.range is None:
        return None, None
    if isinstance(param.range, nodes.Binary) and param.range.operator == "..":
        low, high = fold(param.range.left, report), fold(param.range.right, report)
        if low and high and low.plain > high.plain:
            report.add(
                "REC302", "this range is empty", param.range.span, help="the lower end comes first"
            )
        return (float(low.plain) if low else None), (float(high.plain) if high else None)
    help = "such as `in 0..29`"
    report.add("REC301", "a param's range is written `low..high`", param.range.span, help=help)
    return None, None


def _literal(value: Expression, report: Collector) -> float | int | str | bool | None:
    if isinstance(value, (String, Boolean)):
        return value.value
    if is_arithmetic(value):
        number = fold(value, report)
        if number is None:
            return None
        whole = number.plain.denominator == 1 and not number.percent
        return int(number.plain) if whole and "." not in _written(value) else float(number.plain)
    message = "a param is a number, a text in quotes, `true` or `false`"
    report.add("REC301", message, value.span, help="such as `param layer = 14 in 0..29`")
    return None


def _written(value: Expression) -> str:
    if isinstance(value, nodes.Number):
        return value.text
    return "".join(
        _written(getattr(value, part))
        for part in ("left", "right", "operand")
        if hasattr(value, part)
    )


def fits_param(param: schema.Param, value: Expression, report: Collector) -> None:
    """Report a value that a param cannot have: out of its range, or of another type."""
    given = _literal(value, report)
    if given is None:
        return
    number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if type(given) is not type(param.value) and not (number and type(param.value) in (int, float)):
        report.add(
            "REC301",
            f"this param is like `{param.value}`, and this value is of another type",
            value.span,
            help="a param keeps the type of its own value",
        )
    elif number:
        low = param.low is not None and given < param.low  # type: ignore[operator]
        high = param.high is not None and given > param.high  # type: ignore[operator]
        if low or high:
            message = f"this param lies in {param.low:g}..{param.high:g}"
            help = f"write a number from {param.low:g} to {param.high:g}"
            report.add("REC302", message, value.span, help=help)
