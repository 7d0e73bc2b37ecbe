"""The blocks whose keys are not fields of a class: `measure` and `sweep`."""

from __future__ import annotations

from collections.abc import Mapping

from recoverdsl.language import schema
from recoverdsl.language.checker.index import Symbol
from recoverdsl.language.checker.params import fits_param
from recoverdsl.language.checker.paths import Paths, Target, identity, target_field
from recoverdsl.language.checker.scope import Scope, symbol_of
from recoverdsl.language.checker.values import INVALID, Values
from recoverdsl.language.diagnostics import Collector, replace
from recoverdsl.language.diagnostics.suggestions import help_with_word
from recoverdsl.language.syntax import nodes
from recoverdsl.language.syntax.nodes import (
    Attribute,
    Block,
    Call,
    Expression,
    List,
    Span,
    Statement,
)
from recoverdsl.language.syntax.printer import print_expression


def read_measure(
    statement: Statement,
    into: dict[str, schema.Interval],
    seen: dict[str, Span],
    values: Values,
    spans: dict[str, Span],
) -> None:
    """Read `recovery_rate = wilson(95%)`."""
    report = values.report
    if not isinstance(statement, Attribute):
        if not isinstance(statement, nodes.Broken):
            message = "`measure` holds metrics and their intervals only"
            report.add(
                "REC213", message, statement.span, help="such as `recovery_rate = wilson(95%)`"
            )
        return
    name = statement.key.name or ""
    if name not in schema.METRICS:
        help = help_with_word(statement.key.span, name, schema.METRICS, "metrics")
        report.add("REC210", f"there is no metric `{name}`", statement.key.span, help=help)
    if name in seen:
        report.add(
            "REC208",
            f"`{name}` is given twice",
            statement.key.span,
            help="remove one of them",
            related=[(seen[name], "first given here")],
        )
    seen.setdefault(name, statement.key.span)
    interval = values.read(schema.Interval, statement.value, "a metric's interval", {})
    if interval is INVALID or name not in schema.METRICS:
        return
    if isinstance(interval, schema.Wilson) and not schema.METRICS[name].rate:
        assert isinstance(statement.value, Call)
        report.add(
            "REC404", f"`{name}` is not a rate, and `wilson` is for rates", statement.value.span,
            help=replace(statement.value.function.span, "bootstrap", "use `bootstrap(…)`"),
        )  # fmt: skip
    spans[f"measure.{name}"] = statement.span
    into[name] = interval


def read_sweep(
    block: Block, paths: Paths, values: Values, params: Mapping[str, schema.Param]
) -> schema.Sweep | None:
    """Read `sweep budgets { projected.steps = [50, 100] }`."""
    report = values.report
    axes: dict[str, tuple[str, ...]] = {}
    spans: dict[str, Span] = {}
    targets: dict[tuple[int, str], Span] = {}
    zipped = False
    for statement in block.body:
        if not isinstance(statement, Attribute):
            if not isinstance(statement, nodes.Broken):
                help = "such as `my_attack.steps = [50, 100]`"
                report.add("REC213", "`sweep` holds axes only", statement.span, help=help)
            continue
        path = print_expression(statement.key)
        if path in spans:
            report.add(
                "REC208",
                f"`{path}` is given twice",
                statement.key.span,
                help="remove one of them",
                related=[(spans[path], "first given here")],
            )
        spans.setdefault(path, statement.key.span)
        if path == "zipped":
            zipped = values.read(bool, statement.value, "`zipped`", {}) is True
        elif (target := paths.find(statement.key, report)) is not None:
            _note(statement.key, target, values.scope)
            first = targets.setdefault(identity(target), statement.key.span)
            if first is not statement.key.span and path not in axes:
                report.add(
                    "REC208", f"`{path}` is another path to an axis that is here already",
                    statement.key.span, help="remove one of them", related=[(first, "the other")],
                )  # fmt: skip
            if (items := _axis(statement.value, target, values, params)) is not None:
                axes[path] = items
    lengths = {len(items) for items in axes.values()}
    if zipped and len(lengths) > 1:
        uneven = ", ".join(f"`{path}` has {len(items)}" for path, items in axes.items())
        help = "give each axis as many values, or remove `zipped`"
        report.add(
            "REC410", "zipped axes need as many values each", block.head, why=uneven, help=help
        )
    if not zipped:
        for statement in block.body:
            if isinstance(statement, Attribute) and print_expression(statement.key) in axes:
                _repeated(statement.value, report)
    if not axes and block.whole and not block.body:
        report.add(
            "REC304",
            "a sweep needs at least one axis",
            block.head,
            help="such as `my_attack.steps = [50, 100]`",
        )
    return schema.Sweep(axes, zipped)


def _repeated(value: Expression, report: Collector) -> None:
    """Report a value that an axis of a product has twice."""
    seen: dict[str, Span] = {}
    for item in value.items if isinstance(value, List) else ():
        first = seen.setdefault(print_expression(item), item.span)
        if first is not item.span:
            report.add(
                "REC208", f"`{print_expression(item)}` is given twice", item.span,
                help="remove one of them", related=[(first, "first given here")],
            )  # fmt: skip


def _axis(
    value: Expression,
    target: Target | nodes.Param,
    values: Values,
    params: Mapping[str, schema.Param],
) -> tuple[str, ...] | None:
    """Return the values of one axis, as `--set` takes them."""
    items = value.items if isinstance(value, List) else (value,)
    if not items:
        help = "such as `[50, 100]`"
        values.report.add("REC301", "an axis needs at least one value", value.span, help=help)
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


def _note(path: nodes.Path, target: Target | nodes.Param, scope: Scope) -> None:
    """Note the names in the path of an axis."""
    if isinstance(target, nodes.Param):
        scope.index.use(
            Symbol("param", target.name.text), nodes.Word(target.name.text, span=path.span)
        )
        return
    outer: Block | None = None
    for name, block in zip(target.names, target.blocks, strict=False):
        kind = block.kind.text
        symbol = scope.stage(outer, name.text) if outer else symbol_of(kind, name.text)
        scope.index.use(symbol, name)
        outer = block
