"""`param`, `--set path=value`, and the paths that both `--set` and `sweep` use.

A path is the name of a param, `block.attribute`, `kind.block.attribute` where the name alone would
be ambiguous, `measure.metric`, or `attack.stage.attribute`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve, frozen

from recoverdsl.language import nodes, schema
from recoverdsl.language.constants import fold, is_arithmetic
from recoverdsl.language.diagnostics import Collector
from recoverdsl.language.nodes import (
    Attribute,
    Block,
    Boolean,
    Expression,
    Param,
    Span,
    String,
    Tree,
)
from recoverdsl.language.parser import parse_text
from recoverdsl.language.suggest import suggest
from recoverdsl.language.values import hints, keys


@frozen
class Target:
    """What a path names: an attribute of a block, which may not be written there yet."""

    blocks: tuple[Block, ...]
    """From the outermost to the one that holds the attribute."""
    key: nodes.Word


def find_target(tree: Tree, path: nodes.Path, report: Collector) -> Target | Param | None:
    """What a path names; None if nothing, which is reported."""
    words = [part for part in path.parts if isinstance(part, nodes.Word)]
    params = {s.name.text: s for s in tree.statements if isinstance(s, Param)}
    if path.name in params:
        return params[path.name]
    blocks = [s for s in tree.statements if isinstance(s, Block)]
    if len(words) < 2 or len(words) < len(path.parts):
        known = [*params, *(b.name.text for b in blocks if b.name)]
        report.add(
            "REC212", f"`{words[0].text}` is no param, and no path to an attribute", path.span,
            help=suggest(words[0].text, known) or "write it like `block.attribute`",
        )  # fmt: skip
        return None
    *route, key = words
    named = [b for b in blocks if b.name and b.name.text == route[0].text]
    if len(named) > 1:
        named = [b for b in named if _could_hold(b, route[1:], key)] or named
    if len(named) == 1:
        return _inside(named[0], route[1:], key, report)
    if named:
        kinds = [f"`{b.kind.text}.{route[0].text}.{key.text}`" for b in named]
        report.add(
            "REC212",
            f"several blocks are named `{route[0].text}`",
            path.span,
            help=f"write {' or '.join(kinds)}",
        )
        return None
    of_kind = [b for b in blocks if b.kind.text == route[0].text]
    if of_kind and len(route) > 1:
        for block in of_kind:
            if block.name and block.name.text == route[1].text:
                return _inside(block, route[2:], key, report)
        known = [b.name.text for b in of_kind if b.name]
        report.add(
            "REC212",
            f"there is no `{route[0].text}` block named `{route[1].text}`",
            route[1].span,
            help=suggest(route[1].text, known, "known here"),
        )
        return None
    if of_kind and of_kind[0].name is None:
        return Target((of_kind[0],), key)
    known = [*(b.name.text for b in blocks if b.name), *(b.kind.text for b in blocks)]
    report.add(
        "REC212",
        f"there is no block named `{route[0].text}`",
        route[0].span,
        help=suggest(route[0].text, known),
    )
    return None


def _could_hold(block: Block, route: list[nodes.Word], key: nodes.Word) -> bool:
    quiet = Collector("")
    target = _inside(block, route, key, quiet)
    return target is not None and target_field(target, quiet) is not None


def _inside(
    block: Block, route: list[nodes.Word], key: nodes.Word, report: Collector
) -> Target | None:
    line = [block]
    for word in route:
        inner = [
            s for s in line[-1].body if isinstance(s, Block) and s.name and s.name.text == word.text
        ]
        if not inner:
            known = [s.name.text for s in line[-1].body if isinstance(s, Block) and s.name]
            report.add(
                "REC212",
                f"there is no block `{word.text}` in `{block.name and block.name.text}`",
                word.span,
                help=suggest(word.text, known),
            )
            return None
        line.append(inner[0])
    return Target(tuple(line), key)


def target_field(target: Target, report: Collector) -> tuple[Any, str, Mapping[str, Any]] | None:
    """Annotation, name and metadata of what a path names; None if its block has no such attribute."""
    kind, key = target.blocks[-1].kind.text, target.key.text
    if kind == "measure" and key in schema.METRICS:
        return schema.Interval, f"`{key}`", {}
    cls = schema.BLOCKS.get(kind)
    known = keys(cls) if cls else {}
    if cls is None or key not in known or key == "stage":
        report.add(
            "REC202",
            f"`{kind}` has no attribute `{key}`",
            target.key.span,
            help=suggest(key, known, f"`{kind}` takes"),
        )
        return None
    return hints(cls)[known[key].name], f"`{key}`", known[key].metadata


# --- Params -----------------------------------------------------------------------------------


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
                related=[(first, "first defined here")],
            )
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
    report.add("REC301", "a param's range is written `low..high`", param.range.span)
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
    report.add("REC301", "a param is a number, a text in quotes, `true` or `false`", value.span)
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
        )
    elif number:
        low = param.low is not None and given < param.low  # type: ignore[operator]
        high = param.high is not None and given > param.high  # type: ignore[operator]
        if low or high:
            report.add("REC302", f"this param lies in {param.low:g}..{param.high:g}", value.span)


# --- Overrides --------------------------------------------------------------------------------


def apply_overrides(tree: Tree, overrides: Mapping[str, str], report: Collector) -> Tree:
    """The tree as if each `path=value` were written in it."""
    for path, value in overrides.items():
        if (change := _parse(path, value, report)) is None:
            continue
        target = find_target(tree, change.key, report)
        if isinstance(target, Param):
            new: Any = evolve(target, value=change.value)
            tree = _replace(tree, target, new)
        elif target and target_field(target, report):
            tree = _replace(tree, target.blocks[0], _changed(target.blocks, target.key, change))
    return tree


def _parse(path: str, value: str, report: Collector) -> Attribute | None:
    source = f"{path} = {value}"
    found = Collector("--set", source)
    statements = parse_text(source, "--set", found).statements
    everything = Span(0, len(source), 1, 1, 1, len(source) + 1, source=source)
    one = statements[0] if len(statements) == 1 else None
    if found.found:
        first = found.found[0]
        span = evolve(first.span, source=source)
        report.add(first.code, first.message, span, why=first.why, help=first.help)
        return None
    if not isinstance(one, Attribute):
        report.add("REC212", "this sets nothing", everything, help="write `--set path=value`")
        return None
    sourced: Attribute = _sourced(one, source)
    return sourced


def _sourced(node: Any, source: str) -> Any:
    """The node with its text noted in every span."""
    if isinstance(node, Span):
        return evolve(node, source=source)
    if isinstance(node, tuple):
        return tuple(_sourced(item, source) for item in node)
    if not hasattr(node, "__attrs_attrs__"):
        return node
    return evolve(
        node, **{a.name: _sourced(getattr(node, a.name), source) for a in node.__attrs_attrs__}
    )


def _replace(tree: Tree, old: nodes.Statement, new: nodes.Statement) -> Tree:
    return evolve(tree, statements=tuple(new if s is old else s for s in tree.statements))


def _changed(line: tuple[Block, ...], key: nodes.Word, change: Attribute) -> Block:
    """The outermost block, with the attribute of the innermost replaced or added."""
    block, *inner = line
    if inner:
        new: nodes.Statement = _changed(tuple(inner), key, change)
        return evolve(block, body=tuple(new if s is inner[0] else s for s in block.body))
    attribute = evolve(change, key=nodes.Path((key,), span=key.span))
    kept = [s for s in block.body if not (isinstance(s, Attribute) and s.key.name == key.text)]
    return evolve(block, body=(*kept, attribute))
