"""The names of a spec and the blocks that they name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import define, evolve, field, fields

from recoverdsl.language import schema
from recoverdsl.language.checker.index import Index, Symbol
from recoverdsl.language.diagnostics import Collector, TooManyError
from recoverdsl.language.diagnostics.suggestions import did_you_mean, help_with_word
from recoverdsl.language.schema.vocabulary import article
from recoverdsl.language.syntax import nodes
from recoverdsl.language.syntax.nesting import DEEPEST
from recoverdsl.language.syntax.nodes import Attribute, Block, Broken, Expression, Param, Path, Tree

MOST_INHERITED = 100_000
"""Statements that all blocks together may take over from others."""

_NAMED = [kind for kind in schema.BLOCKS if kind != "attribute"]
"""Kinds of block that define a name; an `attribute` block bears that of its attack."""
SAME_SPACE = frozenset({"attack", "control"})
"""Expectations name attacks and controls alike, so these share their names."""


@define
class Scope:
    """The named blocks of a spec, by kind and name, and where to report what does not resolve."""

    report: Collector
    index: Index = field(factory=Index)
    blocks: dict[tuple[str, str], Block] = field(factory=dict)
    by_kind: dict[str, list[str]] = field(factory=dict)
    lost: set[str] = field(factory=set)
    """Names in statements that could not be read: a use of one is no further mistake."""
    unnamed: set[str] = field(factory=set)
    """Kinds of which a block lacks its name, which may be the one that is used."""

    inherited: int = 0
    """Statements that blocks have taken over from others."""

    def define(self, kind: str, name: str, block: Block) -> None:
        """Note a block; of two with one name, the first counts."""
        if self.blocks.setdefault((kind, name), block) is block:
            self.by_kind.setdefault(kind, []).append(name)

    def names(self, *kinds: str) -> list[str]:
        """Return the names of all blocks of these kinds."""
        if len(kinds) == 1:
            return self.by_kind.get(kinds[0], [])
        return [name for kind in kinds for name in self.by_kind.get(kind, ())]

    def find(self, name: str, span: nodes.Span, kinds: tuple[str, ...]) -> bool:
        """Tell whether a name is that of a block of one of these kinds; report it if not."""
        for kind in kinds:
            if (kind, name) in self.blocks:
                self.index.use(symbol_of(kind, name), nodes.Word(name, span=span))
                return True
        if name in self.lost or not self.unnamed.isdisjoint(kinds):
            return False
        wanted = " or ".join(f"`{kind}`" for kind in kinds)
        for kind in (*_NAMED, "sweep"):
            if block := self.blocks.get((kind, name)):
                self.index.use(symbol_of(kind, name), nodes.Word(name, span=span))
                self.report.add(
                    "REC206",
                    f"`{name}` is {article(kind)} `{kind}` block, and {article(kinds[0])} {wanted} block is needed",
                    span,
                    help=help_with_word(span, name, self.names(*kinds), "known here"),
                    related=[(block.head, f"`{name}` is defined here")],
                )
                return False
        near = did_you_mean(name, self.names(*kinds))
        there = [self.blocks[kind, near] for kind in kinds if near and (kind, near) in self.blocks]
        self.report.add(
            "REC205",
            f"there is no {wanted} block named `{name}`",
            span,
            related=[(block.head, f"`{near}` is defined here") for block in there],
            help=help_with_word(span, name, self.names(*kinds), "known here"),
        )
        return False

    def attributes(self, block: Block) -> tuple[dict[str, Attribute], list[Block], bool]:
        """Return a block's attributes and inner blocks, those that it inherits through `like` included.

        The last is False if some could not be read, so that none can be said to be missing.
        """
        found: dict[str, Attribute] = {}
        inner: dict[str, Block] = {}
        whole = True
        for part in reversed(self._lineage(block)):
            if part is None:
                whole = False
                continue
            if part is not block:
                self._inherit(block, len(part.body))
            whole = whole and part.whole and not any(isinstance(s, Broken) for s in part.body)
            for at, statement in enumerate(part.body):
                if isinstance(statement, Attribute) and statement.key.name:
                    found[statement.key.name] = statement
                elif isinstance(statement, Block):
                    name = statement.name.text if statement.name else f"#{part.head.start}.{at}"
                    inner[name] = statement
        return found, list(inner.values()), whole

    def stage(self, attack: Block, name: str) -> Symbol:
        """Return the symbol of a stage: an attack that is like another replaces stages by name."""
        line = [part for part in self._lineage(attack) if part and part.name]
        holders = [part for part in line if any(s.name.text == name for s in stages(part))]
        owner = (holders or [attack])[-1].name
        return Symbol("stage", name, owner.text if owner else None)

    def _inherit(self, block: Block, statements: int) -> None:
        self.inherited += statements
        if self.inherited > MOST_INHERITED and block.like:
            self.report.add(
                "REC108",
                f"blocks take over more than {MOST_INHERITED:,} statements through `like`",
                block.like.span,
                help="say what is shared in fewer blocks",
            )
            raise TooManyError

    def _lineage(self, block: Block) -> list[Block | None]:
        """Return the block and what it inherits from, nearest first; None where that is unknown."""
        line: list[Block | None] = [block]
        here = block
        while here.like:
            base = self.blocks.get((here.kind.text, here.like.text))
            if base is None or len(line) > DEEPEST or any(base is known for known in line):
                return [*line, None]
            line.append(base)
            here = base
        return line

    def check_likes(self) -> None:
        """Report every `like` that leads nowhere or in a circle."""
        circular: set[tuple[str, str]] = set()
        for (kind, name), block in self.blocks.items():
            if not block.like or not self.find(block.like.text, block.like.span, (kind,)):
                continue
            seen = [name]
            here = block
            while here.like and (kind, here.like.text) in self.blocks:
                if here.like.text in seen:
                    ring = seen[seen.index(here.like.text) :]
                    if not any((kind, n) in circular for n in ring):
                        circular.update((kind, n) for n in ring)
                        self._report_circle(kind, ring)
                    break
                seen.append(here.like.text)
                if len(seen) > DEEPEST:
                    message = f"this inherits through more than {DEEPEST} blocks"
                    self.report.add("REC106", message, block.like.span)
                    break
                here = self.blocks[kind, here.like.text]

    def _report_circle(self, kind: str, ring: list[str]) -> None:
        first, *others = (self.blocks[kind, name] for name in ring)
        assert first.like
        self.report.add(
            "REC209",
            " is like ".join(f"`{name}`" for name in [*ring, ring[0]]),
            first.like.span,
            help="remove one `like`, and write what it should have taken over",
            related=[(b.like.span, "and this goes on") for b in others if b.like],
        )


def stages(attack: Block) -> Iterator[Any]:
    """Return the blocks with a name in an attack."""
    return (s for s in attack.body if isinstance(s, Block) and s.name)


def symbol_of(kind: str, name: str) -> Symbol:
    """Return the symbol of a block. An `attribute` block bears the name of its attack."""
    return Symbol("attack" if kind in SAME_SPACE or kind == "attribute" else kind, name)


_USES: dict[type, tuple[str, ...]] = {
    Block: ("body",),
    nodes.Expect: ("condition",),
    # A key is a name, never a use.
    Attribute: ("value",),
    Path: ("parts",),
    nodes.Index: ("value",),
    nodes.Call: ("arguments",),
    nodes.Argument: ("value",),
    nodes.List: ("items",),
    nodes.Unary: ("operand",),
    nodes.Binary: ("left", "right"),
}
"""The fields of each node in which params are used."""


def substitute(tree: Tree, params: Mapping[str, Param], index: Index) -> Tree:
    """Return the tree with every use of a param replaced by its value, which then stands in its place."""
    if not params:
        return tree
    values = {name: param.value for name, param in params.items()}

    def walk(node: Any) -> Any:
        if isinstance(node, tuple):
            items = [walk(item) for item in node]
            same = all(new is old for new, old in zip(items, node, strict=True))
            return node if same else tuple(items)
        if isinstance(node, Path) and node.name in values:
            word = node.parts[0]
            assert isinstance(word, nodes.Word)
            index.use(Symbol("param", word.text), word)
            return placed(values[node.name], node.span)
        changes = {}
        for name in _USES.get(type(node), ()):
            inner = getattr(node, name)
            if (new := walk(inner)) is not inner:
                changes[name] = new
        return evolve(node, **changes) if changes else node

    return evolve(tree, statements=walk(tree.statements))


def placed(value: Expression, span: nodes.Span) -> Expression:
    """Return a value as if it were written at another place."""
    changes: dict[str, Any] = {"span": span}
    for f in fields(type(value)):
        inner = getattr(value, f.name)
        if attrs_node(inner) and not isinstance(inner, nodes.Span):
            changes[f.name] = placed(inner, span)
        elif isinstance(inner, tuple):
            changes[f.name] = tuple(placed(item, span) for item in inner)
    moved: Expression = evolve(value, **changes)
    return moved


def attrs_node(value: object) -> bool:
    """Tell whether a value is a syntax node."""
    return hasattr(value, "__attrs_attrs__")


def lost_names(statements: Iterable[nodes.Statement]) -> set[str]:
    """Return every name in the statements that could not be read."""
    lost: set[str] = set()
    for statement in statements:
        if isinstance(statement, Broken):
            lost.update(statement.words)
        elif isinstance(statement, Block):
            lost |= lost_names(statement.body)
            if not statement.whole and statement.name:
                lost.add(statement.name.text)
    return lost
