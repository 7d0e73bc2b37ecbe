"""The language of `.rec` files: text in, a checked `Spec` or diagnostics out.

Importing this loads neither torch nor any other part of the tool.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import evolve, frozen

from recoverdsl.errors import BugError, SpecError
from recoverdsl.language.checker.checker import SpecAt, check_tree
from recoverdsl.language.checker.imports import Reader, beside, resolve
from recoverdsl.language.checker.index import Index, Symbol
from recoverdsl.language.checker.overrides import apply_overrides
from recoverdsl.language.checker.points import without_sweeps
from recoverdsl.language.diagnostics import (
    Collector,
    Diagnostic,
    TooManyError,
    render_json,
    render_text,
)
from recoverdsl.language.diagnostics.codes import CODES
from recoverdsl.language.format.layout import print_tree
from recoverdsl.language.parser import read_file, read_text
from recoverdsl.language.schema import Spec
from recoverdsl.language.schema.canonical import canonical, digest
from recoverdsl.language.syntax.nodes import Span, Tree

__all__ = [
    "CODES", "Checked", "Diagnostic", "Index", "Reader", "Span", "Spec", "SpecAt", "Symbol", "Tree", "beside", "canonical", "check", "check_file",
    "digest", "effective_text", "format_text", "load_spec", "parse", "print_tree", "read_file", "render_json", "render_text", "spec_error",
]  # fmt: skip


@frozen
class Checked:
    """The result of checking a text."""

    spec: Spec | None
    """None if there was an error."""
    diagnostics: tuple[Diagnostic, ...]
    """Every mistake and warning, in the order of the text."""
    tree: Tree
    whole: Tree
    """With what it imports in the places of its `import` statements."""
    index: Index
    """Where its names are defined and used."""
    points: tuple[SpecAt, ...] = ()
    """The spec at each point of its sweeps; none if it has no sweep, or there was an error."""

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """Return the diagnostics without the warnings."""
        return tuple(d for d in self.diagnostics if d.severity == "error")


def parse(text: str | bytes, file: str = "<text>") -> tuple[Tree, tuple[Diagnostic, ...]]:
    """Read a text without asking whether it makes sense. Never raises for any text."""
    with _uncollected():
        tree, report = read_text(text, file)
    return tree, report.in_order()


def check(
    text: str | bytes,
    file: str = "<text>",
    *,
    overrides: Mapping[str, str] | None = None,
    read: Reader | None = None,
) -> Checked:
    """Read and check a text; every mistake is found in one pass. Never raises for any text.

    Args:
        text: the spec, as text or as the bytes of its file.
        file: its name in diagnostics.
        overrides: values that replace what is written, by path: `{"projected.steps": "50"}`.
        read: gives the files beside it, from which it may import.
    """
    with _uncollected():
        tree, report = read_text(text, file)
        index = Index(tree.file, tree.text)
        checked = Checked(None, (), tree, tree, index)
        if not report.unread:
            with suppress(TooManyError):
                whole = resolve(tree, read, report)
                spec, points = check_tree(whole, report, overrides, index)
                checked = evolve(checked, spec=spec, whole=whole, points=points)
    return evolve(checked, diagnostics=report.in_order())


def check_file(path: str | Path, *, overrides: Mapping[str, str] | None = None) -> Checked:
    """Return what is known of a file after `check`.

    Raises:
        UsageError: the file cannot be read.
    """
    return check(read_file(path), str(path), overrides=overrides, read=beside(Path(path)))


def load_spec(
    source: str | bytes | Path,
    *,
    file: str = "<text>",
    overrides: Mapping[str, str] | None = None,
) -> Spec:
    """Return the checked spec of a file (a `Path`, or a `str` that ends in `.rec`), or of a text.

    Raises:
        SpecError: the spec is wrong; its `diagnostics` hold every mistake.
        UsageError: the file cannot be read.
    """
    named = isinstance(source, str) and "\n" not in source and source.endswith(".rec")
    if isinstance(source, Path) or named:
        checked = check_file(str(source), overrides=overrides)
    else:
        checked = check(source, file, overrides=overrides)
    if checked.spec is None:
        raise spec_error(checked.errors)
    return checked.spec


def format_text(text: str | bytes, file: str = "<text>") -> str:
    """Return the text in canonical layout, with its comments. It is read again, and says the same.

    Raises:
        SpecError: the text cannot be read.
        BugError: the text would have come out with another meaning, or without a comment.
    """
    tree, diagnostics = parse(text, file)
    if diagnostics:
        raise spec_error(diagnostics)
    formatted = print_tree(tree)
    again, mistakes = parse(formatted, file)
    if mistakes or again != tree:
        raise BugError(
            "formatted, this spec would not say the same, so it was left alone",
            where=file,
            help="this is a bug in recoverdsl: please report it with the spec",
        )
    return formatted


@contextmanager
def _uncollected() -> Iterator[None]:
    """Pause the garbage collector, which would search a tree again and again of which all is in use."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def effective_text(checked: Checked, overrides: Mapping[str, str], at: SpecAt | None = None) -> str:
    """Return the text of a checked file with what it imports, and the values that `overrides` replaced, written
    into it.

    Checking what comes out without overrides gives the same spec.

    Args:
        at: a point of a sweep, whose values then stand in the text in place of the sweeps.
    """
    if checked.whole is checked.tree and not overrides and at is None:
        return checked.tree.text
    report = Collector(checked.tree.file, checked.tree.text)
    tree = apply_overrides(checked.whole, {**overrides, **(at.point.values if at else {})}, report)
    return print_tree(without_sweeps(tree) if at else tree)


def spec_error(errors: tuple[Diagnostic, ...]) -> SpecError:
    """Return the error that carries these diagnostics."""
    count = "one mistake" if len(errors) == 1 else f"{len(errors)} mistakes"
    excerpts = "\n\n".join(render_text(d) for d in errors)
    return SpecError(
        f"the spec has {count}\n\n{excerpts}", where=errors[0].file, diagnostics=errors
    )
