"""Candidates of shell completion: values for options and arguments.

Imports are lazy, and no error is reported: a spec that cannot be read has no candidates.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from recoverdsl.errors import RecoverdslError

if TYPE_CHECKING:
    from recoverdsl.language.syntax.nodes import Block, Tree

Items = list[CompletionItem[str]]


def specs(context: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Leave `*.rec` files and folders to the shell's own completion."""
    return [CompletionItem(incomplete, type="spec")]


def folders(context: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Leave folders to the shell's own completion."""
    return [CompletionItem(incomplete, type="dir")]


def devices(context: click.Context, param: click.Parameter, incomplete: str) -> Items:
    return _items({"auto": "a GPU if there is one", "cpu": "", "cuda": ""}, incomplete)


def codes(context: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """List the codes of diagnostics and the flags on attacks, with their titles."""
    from recoverdsl.language.diagnostics.codes import CODES
    from recoverdsl.measure.flag_pages import names, page

    flags = {name: page(name).title for name in names()}
    return _items({code: kind.title for code, kind in CODES.items()} | flags, incomplete)


def overrides(context: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete `projected.steps=`: blocks of the spec, then their attributes, then words for values."""
    named = context.params.get("spec") or next(iter(context.params.get("specs") or ()), None)
    if named is None:
        return []
    from recoverdsl.language import check_file

    try:
        tree = check_file(named).whole
    except RecoverdslError:
        return []
    found = dict(_paths(tree))
    path, equals, _ = incomplete.partition("=")
    if equals:
        values = _values(tree, *found[path]) if path in found else ()
        return _items({f"{path}={value}": "" for value in values}, incomplete)
    route, dot, _ = path.rpartition(".")
    here = {}
    for full, (_, _, doc) in found.items():
        rest = full.removeprefix(route + dot) if full.startswith(route + dot) else ""
        head, more, _ = rest.partition(".")
        if head:
            here[f"{route}{dot}{head}{more or '='}"] = "" if more else doc
    return _items(here, incomplete)


def saes(context: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete `release:RELEASE/ID`, from sae_lens's table, and `folder:PATH`."""
    from recoverdsl.scaffold.releases import ids
    from recoverdsl.sources.sae_lens_table import releases

    kind, colon, rest = incomplete.partition(":")
    if kind == "folder" and colon:
        return _folders(rest)
    if kind != "release" or not colon:
        return _items({"release:": "as sae_lens names them", "folder:": "in sae_lens's format", "huggingface:": "a repository"}, incomplete)  # fmt: skip
    release, slash, _ = rest.partition("/")
    try:
        known = [f"{release}/{id}" for id in ids(release)] if slash else [f"{r}/" for r in releases()]  # fmt: skip
    except RecoverdslError:
        return []
    return _items({f"release:{name}": "" for name in known}, incomplete)


def models(context: click.Context, param: click.Parameter, incomplete: str) -> Items:
    kind, colon, rest = incomplete.partition(":")
    if kind == "folder" and colon:
        return _folders(rest)
    return _items({"huggingface:": "OWNER/NAME", "folder:": "a local model"}, incomplete)


def _items(known: Mapping[str, str], incomplete: str) -> Items:
    return [
        CompletionItem(value, help=help or None)
        for value, help in known.items()
        if value.startswith(incomplete)
    ]


def _folders(begun: str) -> Items:
    above = Path(os.path.dirname(begun) or ".")
    try:
        inner = sorted(path.name for path in above.iterdir() if path.is_dir())
    except OSError:
        return []
    before = begun[: len(begun) - len(os.path.basename(begun))]
    return _items({f"folder:{before}{name}/": "" for name in inner}, f"folder:{begun}")


# --- Paths of a spec --------------------------------------------------------------------------

_Target = tuple[Any, Mapping[str, Any], str]
"""The annotation, metadata and description of a path's value, from the schema."""


def _paths(tree: Tree) -> Iterator[tuple[str, _Target]]:
    """Yield every path that `--set` can name."""
    from typing import Literal

    from recoverdsl.language import schema
    from recoverdsl.language.checker.paths import Paths
    from recoverdsl.language.syntax import nodes
    from recoverdsl.language.syntax.printer import print_expression

    paths = Paths(tree)
    for name, param in paths.params.items():
        choices = param.range.items if isinstance(param.range, nodes.List) else ()
        words = tuple(print_expression(c).strip('"') for c in choices)
        yield name, (Literal[words] if words else None, {}, "a param")
    for name, blocks in paths.by_name.items():
        inside = [(block, dict(_inside(block, ""))) for block in blocks]
        for block, found in inside:
            for path, target in found.items():
                unique = sum(path in other for _, other in inside) == 1
                yield (f"{name}{path}" if unique else f"{block.kind.text}.{name}{path}"), target
    if paths.by_kind.get("measure"):
        for name, metric in schema.METRICS.items():
            yield f"measure.{name}", (schema.Interval, {}, metric.doc)


def _inside(block: Block, path: str) -> Iterator[tuple[str, _Target]]:
    from recoverdsl.language import schema
    from recoverdsl.language.schema.fields import hints, keys
    from recoverdsl.language.syntax import nodes

    cls = schema.BLOCKS.get(block.kind.text)
    for key, a in keys(cls).items() if cls else ():
        # Stages are written as blocks, and named by their own names.
        if key != "stage":
            yield f"{path}.{key}", (hints(cls)[a.name], a.metadata, a.metadata["doc"])
    for inner in block.body:
        if isinstance(inner, nodes.Block) and inner.name:
            yield from _inside(inner, f"{path}.{inner.name.text}")


def _values(tree: Tree, annotation: Any, metadata: Mapping[str, Any], doc: str) -> Iterable[str]:
    """Yield the words and names that a value may be."""
    from typing import Annotated, Literal, get_args, get_origin

    from recoverdsl.language.schema.fields import alternatives
    from recoverdsl.language.syntax import nodes

    for one in alternatives(annotation):
        if get_origin(one) is Literal:
            yield from get_args(one)
        elif one is bool:
            yield from ("true", "false")
        elif get_origin(one) is Annotated:
            for block in tree.statements:
                if isinstance(block, nodes.Block) and block.name and block.kind.text in one.__metadata__[0].kinds:  # fmt: skip
                    yield block.name.text
