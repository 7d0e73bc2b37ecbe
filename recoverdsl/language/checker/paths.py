"""The targets of the paths of `--set` and `sweep`.

A path is the name of a param, `block.attribute`, `kind.block.attribute` where the name alone would
be ambiguous, `measure.metric`, or `attack.stage.attribute`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from attrs import frozen

from recoverdsl.language import schema
from recoverdsl.language.diagnostics import Collector
from recoverdsl.language.diagnostics.suggestions import help_with_word
from recoverdsl.language.schema.fields import hints, keys
from recoverdsl.language.syntax import nodes
from recoverdsl.language.syntax.nodes import Block, Param, Tree


@frozen
class Target:
    """The target of a path: an attribute of a block, which may not be written there yet."""

    blocks: tuple[Block, ...]
    """From the outermost to the one that holds the attribute."""
    key: nodes.Word
    names: tuple[nodes.Word, ...] = ()
    """The words of the path that name these blocks; none for a block without a name."""


def identity(target: Target | Param) -> tuple[int, str]:
    """Return the same for two paths to one value of a tree."""
    if isinstance(target, Param):
        return id(target), ""
    return id(target.blocks[-1]), target.key.text


class Paths:
    """The params and blocks of a tree, to find what a path names.

    Args:
        tree: the tree.
        lost: names in statements that could not be read.
        unnamed: kinds of which a block lacks its name, which may be the one that a path names.
    """

    def __init__(
        self, tree: Tree, lost: Collection[str] = (), unnamed: Collection[str] = ()
    ) -> None:
        self.lost, self.unnamed = lost, unnamed
        self.params = {s.name.text: s for s in tree.statements if isinstance(s, Param)}
        self.by_name: dict[str, list[Block]] = {}
        self.by_kind: dict[str, list[Block]] = {}
        for block in tree.statements:
            if isinstance(block, Block):
                self.by_kind.setdefault(block.kind.text, []).append(block)
                if block.name:
                    self.by_name.setdefault(block.name.text, []).append(block)

    def find(self, path: nodes.Path, report: Collector) -> Target | Param | None:
        """Return what a path names; None if nothing, which is reported."""
        if path.name in self.params:
            return self.params[path.name]
        words = [part for part in path.parts if isinstance(part, nodes.Word)]
        first = words[0]
        if len(words) < 2 or len(words) < len(path.parts):
            report.add(
                "REC212",
                f"expected a param or a path to an attribute, found `{first.text}`",
                path.span,
                help=help_with_word(path.span, first.text, self.params)
                or "write it like `block.attribute`",
            )
            return None
        *route, key = words
        # An `attribute` block bears the name of its attack: it counts where it has what is named.
        named = [
            block
            for block in self.by_name.get(first.text, [])
            if block.kind.text != "attribute" or _could_hold(block, route, key)
        ]
        if len(named) > 1:
            named = [block for block in named if _could_hold(block, route, key)] or named
        if len(named) == 1:
            return _inside(named[0], route, key, report)
        if named:
            kinds = " or ".join(f"`{b.kind.text}.{first.text}.{key.text}`" for b in named)
            message = f"several blocks are named `{first.text}`"
            report.add("REC212", message, path.span, help=f"write {kinds}")
            return None
        if first.text in self.lost or (self.unnamed and first.text not in self.by_kind):
            return None
        return self._by_kind(route, key, report)

    def _by_kind(
        self, route: list[nodes.Word], key: nodes.Word, report: Collector
    ) -> Target | None:
        """Read `kind.block.attribute`, or `kind.attribute` for a kind whose block has no name."""
        kind = route[0].text
        blocks = self.by_kind.get(kind, [])
        if not blocks:
            message = f"there is no block named `{kind}`"
            help = help_with_word(route[0].span, kind, [*self.by_name, *self.by_kind])
            report.add("REC212", message, route[0].span, help=help)
        elif len(route) > 1:
            name = route[1]
            for block in self.by_name.get(name.text, []):
                if block.kind.text == kind:
                    return _inside(block, route[1:], key, report)
            known = [block.name.text for block in blocks if block.name]
            message = f"there is no `{kind}` block named `{name.text}`"
            report.add(
                "REC212",
                message,
                name.span,
                help=help_with_word(name.span, name.text, known, "known here"),
            )
        elif blocks[0].name is None:
            return Target((blocks[0],), key)
        else:
            message = f"`{kind}` blocks have names, and this path has none"
            help = f"write `{blocks[0].name.text}.{key.text}`"
            report.add("REC212", message, route[0].span, help=help)
        return None


def _could_hold(block: Block, route: list[nodes.Word], key: nodes.Word) -> bool:
    quiet = Collector("")
    target = _inside(block, route, key, quiet)
    return target is not None and target_field(target, quiet) is not None


def _inside(
    block: Block, route: list[nodes.Word], key: nodes.Word, report: Collector
) -> Target | None:
    line = [block]
    for word in route[1:]:
        inner = [
            s for s in line[-1].body if isinstance(s, Block) and s.name and s.name.text == word.text
        ]
        if not inner:
            known = [s.name.text for s in line[-1].body if isinstance(s, Block) and s.name]
            report.add(
                "REC212",
                f"there is no block `{word.text}` in `{block.name and block.name.text}`",
                word.span,
                help=help_with_word(word.span, word.text, known),
            )
            return None
        line.append(inner[0])
    return Target(tuple(line), key, tuple(route))


def target_field(target: Target, report: Collector) -> tuple[Any, str, Mapping[str, Any]] | None:
    """Return annotation, name and metadata of what a path names; None if its block has no such attribute."""
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
            help=help_with_word(target.key.span, key, known, f"`{kind}` takes"),
        )
        return None
    return hints(cls)[known[key].name], f"`{key}`", known[key].metadata
