"""Blocks and attributes whose names are nearly right: reported once, and then read as meant.

So `maximise = …` is one mistake, and not also an attack that lacks `maximize`.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from recoverdsl.language import schema
from recoverdsl.language.checker.arithmetic import is_arithmetic
from recoverdsl.language.diagnostics import Collector, replace
from recoverdsl.language.diagnostics.suggestions import did_you_mean, help_with_word, suggest
from recoverdsl.language.schema.fields import alternatives, hints, keys
from recoverdsl.language.schema.vocabulary import article
from recoverdsl.language.syntax import nodes
from recoverdsl.language.syntax.nodes import Attribute, Binary, Block, Path, Statement, Word


def _limits(cls: type) -> list[str]:
    """Return the attributes of a block that bound a norm."""
    return [
        key for key, a in keys(cls).items() if schema.Limit in alternatives(hints(cls)[a.name])
    ]  # fmt: skip


class Meant:
    """Reads the statements of a spec as they are meant. `kinds` are the blocks at the top of a file."""

    def __init__(self, report: Collector, kinds: Iterable[str]) -> None:
        self.report, self.kinds = report, frozenset(kinds)

    def statements(self, statements: Iterable[Statement]) -> tuple[Statement, ...]:
        """Return all statements of a file."""
        return tuple(
            self._block(self._kind(s, self.kinds)) if isinstance(s, Block) else s
            for s in statements
        )

    def _kind(self, block: Block, known: frozenset[str]) -> Block:
        kind = block.kind
        if kind.text in known or kind.text in schema.BLOCKS or not block.whole:
            return block
        near = did_you_mean(kind.text, known)
        if near is None:
            return block
        help = help_with_word(kind.span, kind.text, known)
        self.report.add("REC201", f"there is no block `{kind.text}`", kind.span, help=help)
        return evolve(block, kind=Word(near, span=kind.span))

    def _block(self, block: Block) -> Block:
        cls = schema.BLOCKS.get(block.kind.text)
        if cls is None:
            return block
        known = keys(cls)
        given = {s.key.name for s in block.body if isinstance(s, Attribute)}
        body: list[Statement] = []
        for statement in block.body:
            meant: Statement | None = statement
            if isinstance(statement, Attribute):
                meant = self._attribute(statement, cls, given, block)
            elif isinstance(statement, Block) and "stage" in known:
                meant = self._block(self._kind(statement, frozenset({"stage"})))
            body += [meant] if meant is not None else []
        return evolve(block, body=tuple(body))

    def _attribute(
        self, statement: Attribute, cls: type, given: set[str | None], block: Block
    ) -> Statement:
        key, known = statement.key.name, keys(cls)
        if key in known and key != "stage":
            return statement
        # A field has another name where the word of the spec is reserved in Python.
        near = next((word for word, a in known.items() if a.name == key and word != key), None)
        free = set(known) - {"stage"} - given
        near = near if near in free else did_you_mean(key or "", free)
        limits = [k for k in _limits(cls) if k in free]
        if near is None and key == "norm" and limits and is_arithmetic(statement.value):
            near, norm = (
                limits[0],
                Path((Word("norm", span=statement.key.span),), span=statement.key.span),
            )
            value = Binary("<=", norm, statement.value, span=statement.value.span)
            between = statement.key.span.to(statement.value.span.before)
            help = replace(between, f"{near} = norm <= ", f"write `{near} = norm <= …`")
            self.report.add(
                "REC202", f"`{key}` is bounded by `{near}`", statement.key.span, help=help
            )
            given.add(near)
            word = Word(near, span=statement.key.span)
            return evolve(statement, key=evolve(statement.key, parts=(word,)), value=value)
        kind = block.kind.text
        self.report.add(
            "REC202",
            f"{article(kind)} `{kind}` block has no attribute `{_dotted(statement.key)}`",
            statement.key.span,
            help=replace(statement.key.span, near, f"did you mean `{near}`?")
            if near
            else suggest("", set(known) - {"stage"}, f"`{kind}` takes"),
        )
        if near is None:
            # It may be meant as an attribute that the block lacks.
            return nodes.Broken((), span=statement.span)
        given.add(near)
        return evolve(
            statement, key=evolve(statement.key, parts=(Word(near, span=statement.key.span),))
        )


def _dotted(path: nodes.Path) -> str:
    return path.name or ".".join(
        part.text if isinstance(part, nodes.Word) else "[…]" for part in path.parts
    )
