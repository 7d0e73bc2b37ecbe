"""`import smollm2, mid from "ioi.rec"`: blocks and params of a file beside, as if they stood here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from attrs import define, evolve, field

from recoverdsl.errors import UsageError
from recoverdsl.language.checker.index import heads
from recoverdsl.language.diagnostics import Collector
from recoverdsl.language.diagnostics.suggestions import help_with_word
from recoverdsl.language.parser import read_file, read_text
from recoverdsl.language.syntax import nodes
from recoverdsl.language.syntax.nodes import (
    Block,
    Import,
    Param,
    Source,
    Statement,
    Tree,
    from_source,
)

Reader: TypeAlias = Callable[[str], str | bytes | None]
"""Gives the content of a file by its name, from the folder of the file at hand; None if it has none."""

_NAME = re.compile(r"[^/\\:\x00]+\.rec")

_OF_ITS_OWN = frozenset({"measure", "sweep", "attribute"})
"""Kinds of block that say what is done with a spec; like `audit` and `expect`, they are its own."""

DEEPEST = 32
"""Files that import one another in a row."""

_Place: TypeAlias = tuple[str, int]
"""File of a statement and where it begins: two ways to one statement are no clash."""


def beside(path: Path) -> Reader:
    """Read files beside another. A link that leads out of the folder is no file beside it."""

    def read(name: str) -> bytes | None:
        place = path.parent / name
        try:
            if not place.is_file() or place.resolve().parent != path.parent.resolve():
                return None
            return read_file(place)
        except (OSError, UsageError):
            return None

    return read


def resolve(tree: Tree, read: Reader | None, report: Collector) -> Tree:
    """Return the tree with what it imports in the places of its `import` statements.

    Args:
        read: gives the files beside this one; None if it has no place.
    """
    if not any(isinstance(s, Import) for s in tree.statements):
        return tree
    importer = _Importer(read, report, Path(tree.file))
    return evolve(tree, statements=tuple(importer.filled(tree.statements, [importer.main.name])))


@define
class _Importer:
    read: Reader | None
    report: Collector
    main: Path
    files: dict[str, tuple[Statement, ...] | None] = field(factory=dict)
    """Name of each file that was read to its statements; None if there is no such file."""
    taken: set[_Place] = field(factory=set)
    """The names that are already here."""
    known: dict[tuple[str, tuple[str, ...]], dict[_Place, Statement]] = field(factory=dict)
    """Name of a file and what is taken of it, to the statements that this brings."""

    def filled(self, statements: Iterable[Statement], line: list[str]) -> Iterator[Statement]:
        """Yield the statements of the main file, with those that each `import` takes in its place.

        Args:
            line: names of the files on the way here, the main file first.
        """
        for statement in statements:
            if not isinstance(statement, Import):
                yield statement
                continue
            for place, one in self.exported(statement, line).items():
                if place not in self.taken:
                    self.taken.add(place)
                    yield one

    def exported(self, statement: Import, line: list[str]) -> dict[_Place, Statement]:
        """Return what an `import` takes from its file: everything, or the names in it and all that they
        need. A statement that cannot be right, such as a block without its name, comes along to be reported."""
        name = statement.path.value
        asked = name, tuple(word.text for word in statement.names)
        if asked in self.known:
            return self.known[asked]
        everything: dict[_Place, Statement] = {}
        for one in self._statements(statement, line) or ():
            if isinstance(one, Import):
                everything |= self.exported(one, [*line, name])
            elif not isinstance(one, nodes.Audit | nodes.Expect) and _kind(one) not in _OF_ITS_OWN:
                everything[_place(one)] = one
        if statement.names and self.files.get(name) is not None:
            named = [one for one in everything.values() if _name(one)]
            odd = len(named) < len(everything)
            wanted = {_place(one) for one in self._needed(statement, named, odd)}
            everything = {
                place: one for place, one in everything.items() if place in wanted or not _name(one)
            }
        self.known[asked] = everything
        return everything

    def _needed(
        self, statement: Import, named: Sequence[Statement], unsure: bool
    ) -> list[Statement]:
        by_name: dict[str, list[Statement]] = {}
        for one in named:
            by_name.setdefault(_name(one), []).append(one)
        for word in statement.names:
            if word.text not in by_name and not unsure:
                self.report.add(
                    "REC205", f"{statement.path.value} has nothing named `{word.text}`", word.span,
                    help=help_with_word(word.span, word.text, by_name, "it has"),
                )  # fmt: skip
        wanted: set[str] = set()
        waiting = [word.text for word in statement.names]
        while waiting:
            name = waiting.pop()
            if name not in wanted:
                wanted.add(name)
                waiting += [
                    n for one in by_name.get(name, ()) for n in _mentioned(one) if n in by_name
                ]
        return [one for one in named if _name(one) in wanted]

    # --- Files --------------------------------------------------------------------------------

    def _statements(self, statement: Import, line: list[str]) -> tuple[Statement, ...] | None:
        name, span = statement.path.value, statement.path.span
        if not _NAME.fullmatch(name) or name.startswith("."):
            self.report.add(
                "REC215", "only a `.rec` file beside this one can be imported", span,
                why="paths in a spec count from its own folder, so what is imported has to share it",
                help='such as `import "models.rec"`',
            )  # fmt: skip
            return None
        if name in line:
            ring = line[line.index(name) :]
            self.report.add(
                "REC216", " imports ".join([*ring, name]), span,
                help="move what both need into a file of its own",
            )  # fmt: skip
            return None
        if len(line) > DEEPEST:
            self.report.add(
                "REC106", f"more than {DEEPEST} files import one another in a row", span,
                help="import from fewer files",
            )  # fmt: skip
            return None
        if name not in self.files:
            self.files[name] = self._parsed(name, span)
        return self.files[name]

    def _parsed(self, name: str, span: nodes.Span) -> tuple[Statement, ...] | None:
        from recoverdsl.language.checker.checker import check_version

        content = self.read(name) if self.read else None
        if content is None:
            why = None if self.read else "this text is no file, so there is nothing beside it"
            self.report.add(
                "REC215", f"there is no file {name} beside this one", span, why=why,
                help="correct the name, or move the file here",
            )  # fmt: skip
            return None
        file = str(self.main.with_name(name))
        tree, own = read_text(content, file)
        self.report.take(own)
        if own.unread:
            return None
        source = Source(file, tree.text)
        statements: tuple[Statement, ...] = from_source(tree.statements, source)
        check_version(statements, self.report, source)
        return tuple(s for s in statements if not isinstance(s, nodes.Version))


def _place(statement: Statement) -> _Place:
    source = statement.span.source
    return source.file if source else "", statement.span.start


def _kind(statement: Statement) -> str:
    return statement.kind.text if isinstance(statement, Block) else ""


def _name(statement: Statement) -> str:
    if isinstance(statement, Block | Param) and statement.name:
        return statement.name.text
    return ""


def _mentioned(statement: Statement) -> set[str]:
    """Return every name that a statement may refer to."""
    found = {word.text for word in heads(statement)}
    if isinstance(statement, Block) and statement.like:
        found.add(statement.like.text)
    return found
