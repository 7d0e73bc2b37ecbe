"""`param layer = 14 in 0..29`: values with a name, and a range or a list of what they may be."""

from __future__ import annotations

from collections.abc import Iterator

from recoverdsl.language import schema
from recoverdsl.language.checker.arithmetic import fold, is_arithmetic
from recoverdsl.language.diagnostics import Collector
from recoverdsl.language.diagnostics.suggestions import help_with_word
from recoverdsl.language.syntax import nodes
from recoverdsl.language.syntax.nodes import Boolean, Expression, Param, String, Tree
from recoverdsl.language.syntax.printer import print_expression, quote

_Literal = float | int | str | bool

_WORDS = frozenset((*schema.POSITIONS, *schema.DETECTORS, *schema.WORDS))
"""Words that mean something inside values, where a param would take their place."""


def read_params(tree: Tree, report: Collector) -> tuple[dict[str, Param], dict[str, schema.Param]]:
    """Return the params as written, to put in place of their uses, and as checked."""
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
        if (param := read_param(statement, report)) is not None:
            checked[name.text] = param
    return written, checked


def read_param(statement: Param, report: Collector) -> schema.Param | None:
    """Return a param with what its value may be; None if its value is none."""
    value = _literal(statement.value, report)
    if value is None:
        return None
    param = _param(value, statement.range, report)
    fits_param(param, statement.value, report)
    return param


def _param(value: _Literal, among: Expression | None, report: Collector) -> schema.Param:
    """Return a param with what its value may be."""
    if among is None:
        return schema.Param(value)
    if isinstance(among, nodes.List):
        if not among.items:
            help = "write what it may be, or leave out `in`"
            report.add("REC301", "this list is empty", among.span, help=help)
        return schema.Param(value, choices=tuple(_choices(value, among, report)))
    if isinstance(among, nodes.Binary) and among.operator == "..":
        if isinstance(value, (str, bool)):
            help = "write what it may be as a list"
            report.add("REC301", "only numbers have a range", among.span, help=help)
            return schema.Param(value)
        low, high = (_end(end, report) for end in (among.left, among.right))
        if low is None or high is None:
            return schema.Param(value)
        if low > high:
            report.add(
                "REC302", "this range is empty", among.span, help="the lower end comes first"
            )
            return schema.Param(value)
        return schema.Param(value, low, high)
    message = "what a param may be is written `low..high`, or as a list"
    report.add("REC301", message, among.span, help='such as `in 0..29` or `in ["a", "b"]`')
    return schema.Param(value)


def _end(value: Expression, report: Collector) -> float | None:
    """Return an end of a range."""
    number = _literal(value, report)
    if isinstance(number, (str, bool)):
        report.add(
            "REC301", "a range goes from one number to another", value.span, help="such as `0..29`"
        )
        return None
    return None if number is None else float(number)


def _choices(value: _Literal, among: nodes.List, report: Collector) -> Iterator[_Literal]:
    """Return the values of a list, each like the param's own."""
    for item in among.items:
        choice = _literal(item, report)
        if choice is not None and _alike(value, choice, item, report):
            yield choice


def _literal(value: Expression, report: Collector) -> _Literal | None:
    if isinstance(value, (String, Boolean)):
        return value.value
    if is_arithmetic(value):
        number = fold(value, report)
        if number is None:
            return None
        whole = number.plain.denominator == 1 and not number.percent
        try:
            real = float(number.plain)
        except OverflowError:
            help = "write a smaller number"
            report.add("REC111", "this number is too large", value.span, help=help)
            return None
        return int(number.plain) if whole and "." not in _written(value) else real
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
    """Report a value that a param cannot have: out of its range, none of its list, or of another type."""
    given = _literal(value, report)
    if given is None or not _alike(param.value, given, value, report):
        return
    if param.choices and given not in param.choices:
        choices = [quote(c) if isinstance(c, str) else f"{c}".lower() for c in param.choices]
        word = print_expression(value)
        near = help_with_word(value.span, word, choices) if isinstance(given, str) else None
        listed = f"it may be {' or '.join(f'`{c}`' for c in choices)}"
        report.add(
            "REC302", f"this param cannot be `{word}`", value.span,
            why=listed if near else None, help=near or listed,
        )  # fmt: skip
    elif (
        not isinstance(given, (str, bool))
        and param.low is not None
        and param.high is not None
        and not param.low <= given <= param.high
    ):
        low, high = (f"{end:.15g}" for end in (param.low, param.high))
        report.add(
            "REC302", f"this param lies in {low}..{high}", value.span,
            help=f"write a number from {low} to {high}",
        )  # fmt: skip


def _alike(own: _Literal, given: _Literal, value: Expression, report: Collector) -> bool:
    """Tell whether two values are of one type: numbers, texts or truth values. If not, it is reported."""
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (own, given))
    if not numbers and type(given) is not type(own):
        report.add(
            "REC301",
            f"this param is like `{own}`, and this value is of another type",
            value.span,
            help="a param keeps the type of its own value",
        )
        return False
    return True
