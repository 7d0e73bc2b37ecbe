"""`--set path=value`: a spec as if the value were written in it."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from recoverdsl.language.checker.params import fits_param, read_param
from recoverdsl.language.checker.paths import Paths, identity, target_field
from recoverdsl.language.diagnostics import Collector
from recoverdsl.language.parser import parse_text
from recoverdsl.language.syntax import nodes
from recoverdsl.language.syntax.nodes import (
    SET,
    Attribute,
    Block,
    Param,
    Source,
    Span,
    Tree,
    from_source,
)
from recoverdsl.language.syntax.printer import quote


def apply_overrides(tree: Tree, overrides: Mapping[str, str], report: Collector) -> Tree:
    """Return the tree as if each `path=value` were written in it."""
    texts = {
        s.name.text
        for s in tree.statements
        if isinstance(s, Param) and isinstance(s.value, nodes.String)
    }
    for path, value in overrides.items():
        # A shell takes quotation marks away.
        if path in texts and not value.startswith('"'):
            value = quote(value)
        if (change := _parse(path, value, report)) is not None:
            tree = set_value(_unswept(tree, change.key), change, report)
    return tree


def _unswept(tree: Tree, path: nodes.Path) -> Tree:
    """Return the tree without the axes of what is set: it has one value now. A sweep without axes is none."""
    paths, quiet = Paths(tree), Collector("")
    if (set_ := paths.find(path, quiet)) is None:
        return tree

    def swept(statement: nodes.Statement) -> bool:
        if not isinstance(statement, Attribute) or statement.key.name == "zipped":
            return False
        target = paths.find(statement.key, quiet)
        return target is not None and identity(target) == identity(set_)

    statements: list[nodes.Statement] = []
    for one in tree.statements:
        if isinstance(one, Block) and one.kind.text == "sweep" and any(map(swept, one.body)):
            kept = tuple(s for s in one.body if not swept(s))
            one = evolve(one, body=kept)
            if not any(isinstance(s, Attribute) and s.key.name != "zipped" for s in kept):
                continue
        statements.append(one)
    return evolve(tree, statements=tuple(statements))


def set_value(tree: Tree, change: Attribute, report: Collector) -> Tree:
    """Return the tree with one value replaced, or added where it is not written: a path and what it becomes."""
    target = Paths(tree).find(change.key, report)
    if isinstance(target, Param):
        return _replace(tree, target, evolve(target, value=_fitting(target, change.value, report)))
    if target and target_field(target, report):
        return _replace(tree, target.blocks[0], _changed(target.blocks, target.key, change))
    return tree


def _fitting(param: Param, value: nodes.Expression, report: Collector) -> nodes.Expression:
    """Return what a param becomes: the value, if it may have it. If not, that is reported."""
    if (read := read_param(param, Collector(""))) is None:
        return value
    before = len(report.found)
    fits_param(read, value, report)
    return value if len(report.found) == before else param.value


def _parse(path: str, value: str, report: Collector) -> Attribute | None:
    source = Source(SET, f"{path} = {value}")
    found = Collector(SET, source.text)
    statements = parse_text(source.text, SET, found).statements
    end = len(source.text)
    everything = Span(0, end, 1, 1, 1, end + 1, source=source)
    one = statements[0] if len(statements) == 1 else None
    if found.found and one is not None:
        first = found.found[0]
        span = evolve(first.span, source=source)
        report.add(first.code, first.message, span, why=first.why, help=first.help)
        return None
    if not isinstance(one, Attribute):
        report.add("REC212", "this sets nothing", everything, help="write `--set path=value`")
        return None
    sourced: Attribute = from_source(one, source)
    return sourced


def _replace(tree: Tree, old: nodes.Statement, new: nodes.Statement) -> Tree:
    return evolve(tree, statements=tuple(new if s is old else s for s in tree.statements))


def _changed(line: tuple[Block, ...], key: nodes.Word, change: Attribute) -> Block:
    """Return the outermost block, with the attribute of the innermost replaced or added."""
    block, *inner = line
    if inner:
        new: nodes.Statement = _changed(tuple(inner), key, change)
        return evolve(block, body=tuple(new if s is inner[0] else s for s in block.body))
    attribute = evolve(change, key=nodes.Path((key,), span=key.span))
    kept = [s for s in block.body if not (isinstance(s, Attribute) and s.key.name == key.text)]
    return evolve(block, body=(*kept, attribute))
