"""`expect recovery_rate(projected, norm = 10) <= 5%`, also `… by estimate`."""

from __future__ import annotations

from typing import Any

import attrs

from recoverdsl.language import schema
from recoverdsl.language.checker.arithmetic import is_arithmetic
from recoverdsl.language.checker.conversions import flipped, written
from recoverdsl.language.checker.values import INVALID, Values
from recoverdsl.language.diagnostics import Help, replace
from recoverdsl.language.diagnostics.suggestions import did_you_mean, help_with_word
from recoverdsl.language.schema.fields import hints
from recoverdsl.language.schema.strongest import STRONGEST
from recoverdsl.language.syntax import nodes
from recoverdsl.language.syntax.nodes import (
    Argument,
    Binary,
    Call,
    Expression,
    Index,
    Path,
    Span,
    Word,
)
from recoverdsl.language.syntax.printer import print_expression

_COMPARISONS = ("<", "<=", ">", ">=")


def read_expectation(
    statement: nodes.Expect, values: Values, path: str, spans: dict[str, Span]
) -> schema.Expectation | None:
    """Return the expectation that a statement states; None if it cannot be read, which is reported.

    The places of its parts are noted in `spans`, under `path`.
    """
    report = values.report
    spans[path] = statement.span
    match statement.condition:
        case Binary(operator, Call() as call, right) if operator in _COMPARISONS:
            spans[f"{path}.operator"] = _operator(statement.condition, values)
            spans[f"{path}.value"] = right.span
        case other:
            report.add(
                "REC301", "an expectation compares a metric of an attack with a number", other.span,
                help=_meant(other, values) or "such as `expect recovery_rate(my_attack) <= 5%`",
            )  # fmt: skip
            return None
    name = call.function.text
    metric = schema.METRICS.get(name)
    if metric is None:
        help = help_with_word(call.function.span, name, schema.METRICS, "metrics")
        report.add("REC210", f"there is no metric `{name}`", call.function.span, help=help)
    subject, norm = _subject(call, values, path, spans)
    if isinstance(right, Call) and right.function.text in schema.METRICS:
        help = f"compare each with a number, such as `{print_expression(call)} {operator} 0.5`"
        report.add("REC301", "two metrics cannot be compared", right.span, help=help)
        return None
    unit = {"unit": metric.unit if metric else "fraction"}
    value = values.read(float, right, f"`{name}`", unit)
    by = _by(statement, values)
    if metric is None or INVALID in (subject, norm, value, by):
        return None
    text = print_expression(statement.condition)
    text += " by estimate" if by == "estimate" else ""
    return schema.Expectation(name, subject, norm, operator, value, text, by)  # type: ignore[arg-type]


def _by(statement: nodes.Expect, values: Values) -> Any:
    """Return what is compared with the bound."""
    known = attrs.fields(schema.Expectation).by
    if statement.by is None:
        return known.default
    word = Path((statement.by,), span=statement.by.span)
    return values.read(hints(schema.Expectation)["by"], word, "`by`", known.metadata)


def _operator(condition: Binary, values: Values) -> Span:
    left, right = condition.left.span, condition.right.span
    if left.end_line != right.line:
        return condition.span
    between = left.after.to(right.before)
    within = values.report.text_of(between).find(condition.operator)
    if within < 0:
        return between
    at, column = between.start + within, between.column + within
    end = len(condition.operator)
    return Span(at, at + end, between.line, column, between.line, column + end, left.source)


def _subject(call: Call, values: Values, path: str, spans: dict[str, Span]) -> tuple[Any, Any]:
    """Return the attack or control whose metric it is, and the norm."""
    report, name = values.report, call.function.text
    subject: Any = INVALID
    norm: Any = None
    positional = 0
    for argument in call.arguments:
        key = argument.name.text if argument.name else ("of", "norm")[min(positional, 1)]
        positional += argument.name is None
        if key == "norm" and norm is None:
            spans[f"{path}.norm"] = argument.span
            norm = values.read(float, argument.value, "`norm`", {})
        elif argument.name is None and positional == 1:
            spans[f"{path}.subject"] = argument.span
            if _is_strongest(argument.value, values):
                subject = STRONGEST
                continue
            ref = hints(schema.Expectation)["subject"]
            subject = values.read(ref, argument.value, f"`{name}`", {})
        else:
            report.add(
                "REC204",
                f"`{name}` has no argument `{key}` here",
                argument.span,
                help=_argument(argument, name),
            )
            return INVALID, INVALID
    if not positional:
        report.add(
            "REC305", f"`{name}` needs the name of an attack or control", call.span,
            help=f"write `{name}(my_attack)`",
        )  # fmt: skip
    return subject, norm


def _is_strongest(value: Expression, values: Values) -> bool:
    """Tell whether a subject is all attacks together, and no block that has their name by mistake."""
    if not isinstance(value, Path) or value.name != STRONGEST:
        return False
    return STRONGEST not in (*values.scope.names("attack", "control"), *values.scope.lost)


def _argument(argument: Argument, metric: str) -> Help | str:
    if argument.name and did_you_mean(argument.name.text, ["norm"]):
        return replace(argument.name.span, "norm", "did you mean `norm`?")
    return f"write `{metric}(attack, norm = 10)`"


def _meant(condition: Expression, values: Values) -> Help | str | None:
    """Return what an expectation of another shape was meant as."""
    scope = values.scope
    if not isinstance(condition, Binary):
        return None
    operator, left, right = condition.operator, condition.left, condition.right
    if operator in ("==", "!="):
        return "write `<=` or `>=`: a measured figure is hardly ever equal to a number"
    if operator not in _COMPARISONS:
        return None
    if is_arithmetic(left) and isinstance(right, Call):
        other = f"{written(right, scope)} {flipped(operator)} {written(left, scope)}"
        return replace(condition.span, other)
    names: tuple[str, ...] = ()
    match left:
        case Path((Word(name),)):
            names = (name, *scope.names("attack", "control"))
        case Path((Word(name), Word(other))):
            names = (name, other) if name in schema.METRICS else (other, name)
        case Path((Word(name), Index(Path((Word(other),))))):
            names = (name, other)
        case Binary("of", Path((Word(name),)), Path((Word(other),))):
            names = (name, other)
    if not names or names[0] not in schema.METRICS:
        return None
    if len(names) != 2:
        return f"write `{names[0]}(…)`, with the name of an attack or control"
    return replace(left.span, f"{names[0]}({names[1]})")
