"""The blocks and statements whose keys are not fields of a class: `measure`, `expect`, `sweep`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recoverdsl.language import nodes, schema
from recoverdsl.language.nodes import Attribute, Binary, Block, Call, List, Span, Statement
from recoverdsl.language.params import fits_param
from recoverdsl.language.paths import Paths, target_field
from recoverdsl.language.printer import print_expression
from recoverdsl.language.suggest import mend_word
from recoverdsl.language.values import INVALID, Values, hints

_COMPARISONS = ("<", "<=", ">", ">=")


def read_measure(
    statement: Statement,
    into: dict[str, schema.Interval],
    seen: dict[str, Span],
    values: Values,
    spans: dict[str, Span],
) -> None:
    """`recovery_rate = wilson(95%)`."""
    report = values.report
    if not isinstance(statement, Attribute):
        if not isinstance(statement, nodes.Broken):
            report.add("REC213", "`measure` holds metrics and their intervals only", statement.span)
        return
    name = statement.key.name or ""
    if name not in schema.METRICS:
        help = mend_word(statement.key.span, name, schema.METRICS, "metrics")
        report.add("REC210", f"there is no metric `{name}`", statement.key.span, help=help)
    if name in seen:
        report.add(
            "REC208",
            f"`{name}` is given twice",
            statement.key.span,
            related=[(seen[name], "first given here")],
        )
    seen.setdefault(name, statement.key.span)
    interval = values.read(schema.Interval, statement.value, "a metric's interval", {})
    if interval is INVALID or name not in schema.METRICS:
        return
    if isinstance(interval, schema.Wilson) and not schema.METRICS[name].rate:
        report.add(
            "REC404", f"`{name}` is not a rate, and `wilson` is for rates", statement.value.span,
            help="use `bootstrap(…)`",
        )  # fmt: skip
    spans[f"measure.{name}"] = statement.span
    into[name] = interval


def read_expectation(statement: nodes.Expect, values: Values) -> schema.Expectation | None:
    """`expect recovery_rate(projected, norm = 10) <= 5%`."""
    report = values.report
    match statement.condition:
        case Binary(operator, Call() as call, right) if operator in _COMPARISONS:
            pass
        case other:
            report.add(
                "REC301", "an expectation compares a metric of an attack with a number", other.span,
                help="such as `expect recovery_rate(my_attack) <= 5%`",
            )  # fmt: skip
            return None
    metric = schema.METRICS.get(call.function.text)
    if metric is None:
        help = mend_word(call.function.span, call.function.text, schema.METRICS, "metrics")
        report.add(
            "REC210", f"there is no metric `{call.function.text}`", call.function.span, help=help
        )
    subject, norm = _subject(call, values)
    unit = {"unit": metric.unit if metric else "fraction"}
    value = values.read(float, right, f"`{call.function.text}`", unit)
    if metric is None or subject is INVALID or norm is INVALID or value is INVALID:
        return None
    text = print_expression(statement.condition)
    return schema.Expectation(call.function.text, subject, norm, operator, value, text)  # type: ignore[arg-type]


def _subject(call: Call, values: Values) -> tuple[Any, Any]:
    """Whose metric, and at which norm."""
    report, name = values.report, call.function.text
    subject: Any = INVALID
    norm: Any = None
    positional = 0
    for argument in call.arguments:
        key = argument.name.text if argument.name else ("of", "norm")[min(positional, 1)]
        positional += argument.name is None
        if key == "norm" and norm is None:
            norm = values.read(float, argument.value, "`norm`", {})
        elif argument.name is None and positional == 1:
            ref = hints(schema.Expectation)["subject"]
            subject = values.read(ref, argument.value, f"`{name}`", {})
        else:
            report.add(
                "REC204",
                f"`{name}` has no argument `{key}` here",
                argument.span,
                help=f"write `{name}(attack, norm = 10)`",
            )
            return INVALID, INVALID
    if not positional:
        report.add("REC305", f"`{name}` needs the name of an attack or control", call.span)
    return subject, norm


def read_sweep(
    block: Block, paths: Paths, values: Values, params: Mapping[str, schema.Param]
) -> schema.Sweep | None:
    """`sweep budgets { projected.steps = [50, 100] }`."""
    report = values.report
    axes: dict[str, tuple[str, ...]] = {}
    spans: dict[str, Span] = {}
    zipped = False
    for statement in block.body:
        if not isinstance(statement, Attribute):
            if not isinstance(statement, nodes.Broken):
                report.add("REC213", "`sweep` holds axes only", statement.span)
            continue
        path = print_expression(statement.key)
        if path in spans:
            report.add(
                "REC208",
                f"`{path}` is given twice",
                statement.key.span,
                related=[(spans[path], "first given here")],
            )
        spans.setdefault(path, statement.key.span)
        if path == "zipped":
            zipped = values.read(bool, statement.value, "`zipped`", {}) is True
        elif (items := _axis(statement, paths, values, params)) is not None:
            axes[path] = items
    lengths = {len(items) for items in axes.values()}
    if zipped and len(lengths) > 1:
        uneven = ", ".join(f"`{path}` has {len(items)}" for path, items in axes.items())
        report.add("REC410", "zipped axes need as many values each", block.head, why=uneven)
    if not axes and block.whole and not block.body:
        report.add(
            "REC304",
            "a sweep needs at least one axis",
            block.head,
            help="such as `my_attack.steps = [50, 100]`",
        )
    return schema.Sweep(axes, zipped)


def _axis(
    statement: Attribute, paths: Paths, values: Values, params: Mapping[str, schema.Param]
) -> tuple[str, ...] | None:
    """The values of one axis, as `--set` takes them."""
    target = paths.find(statement.key, values.report)
    if target is None:
        return None
    items = statement.value.items if isinstance(statement.value, List) else (statement.value,)
    if not items:
        values.report.add("REC301", "an axis needs at least one value", statement.value.span)
    for item in items:
        if isinstance(target, nodes.Param):
            if target.name.text in params:
                fits_param(params[target.name.text], item, values.report)
        elif found := target_field(target, values.report):
            annotation, what, meta = found
            values.read(annotation, item, what, meta)
        else:
            return None
    return tuple(print_expression(item) for item in items)
