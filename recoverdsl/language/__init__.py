"""The language of `.rec` files: text in, a checked `Spec` or diagnostics out.

Importing this loads neither torch nor any other part of the tool.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from recoverdsl.errors import SpecError, UnavailableError
from recoverdsl.language.canonical import canonical, digest
from recoverdsl.language.checker import check_tree
from recoverdsl.language.diagnostics import CODES, Collector, Diagnostic
from recoverdsl.language.nodes import Span, Tree
from recoverdsl.language.parser import LONGEST, parse_text
from recoverdsl.language.printer import print_tree
from recoverdsl.language.render import show, to_json, to_text
from recoverdsl.language.schema import Spec

__all__ = [
    "CODES", "Checked", "Diagnostic", "Span", "Spec", "Tree", "canonical", "check", "check_file",
    "digest", "format_text", "load_spec", "parse", "read_text", "show", "to_json", "to_text",
]  # fmt: skip


@frozen
class Checked:
    """What came out of checking a text."""

    spec: Spec | None
    """None if there was an error."""
    diagnostics: tuple[Diagnostic, ...]
    """Every mistake and warning, in the order of the text."""
    tree: Tree

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The diagnostics without the warnings."""
        return tuple(d for d in self.diagnostics if d.severity == "error")


def parse(text: str, file: str = "<text>") -> tuple[Tree, tuple[Diagnostic, ...]]:
    """Read a text without asking whether it makes sense. Never raises for any text."""
    report = Collector(file)
    tree = parse_text(text, file, report)
    return tree, report.in_order()


def check(
    text: str, file: str = "<text>", *, overrides: Mapping[str, str] | None = None
) -> Checked:
    """Read and check a text; every mistake is found in one pass. Never raises for any text.

    Args:
        text: the spec.
        file: its name in diagnostics.
        overrides: values that replace what is written, by path: `{"projected.steps": "50"}`.
    """
    report = Collector(file)
    tree = parse_text(text, file, report)
    if any(d.code in ("REC108", "REC109") for d in report.found):
        return Checked(None, report.in_order(), tree)
    spec = check_tree(tree, report, overrides)
    return Checked(spec, report.in_order(), tree)


def check_file(path: str | Path, *, overrides: Mapping[str, str] | None = None) -> Checked:
    """`check` for a file.

    Raises:
        UnavailableError: the file cannot be read.
    """
    text, wrong = read_text(path)
    if wrong:
        return Checked(None, (wrong,), Tree((), (), text, str(path)))
    return check(text, str(path), overrides=overrides)


def load_spec(
    source: str | Path, *, file: str | None = None, overrides: Mapping[str, str] | None = None
) -> Spec:
    """The checked spec of a file (a `Path`, or a `str` that ends in `.rec`), or of a text.

    Raises:
        SpecError: the spec is wrong; its `diagnostics` hold every mistake.
        UnavailableError: the file cannot be read.
    """
    if isinstance(source, Path) or ("\n" not in source and source.endswith(".rec")):
        checked = check_file(source, overrides=overrides)
    else:
        checked = check(source, file or "<text>", overrides=overrides)
    if checked.spec is None:
        raise _error(checked.errors, checked.tree)
    return checked.spec


def _error(errors: tuple[Diagnostic, ...], tree: Tree) -> SpecError:
    count = "one mistake" if len(errors) == 1 else f"{len(errors)} mistakes"
    return SpecError(
        f"the spec has {count}\n\n{to_text(errors, {tree.file: tree.text})}",
        where=tree.file,
        diagnostics=errors,
    )


def read_text(path: str | Path) -> tuple[str, Diagnostic | None]:
    """The text of a file, and what keeps it from being read as text.

    Raises:
        UnavailableError: the file cannot be read.
    """
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(4 * LONGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UnavailableError("the spec cannot be read", where=str(path), why=reason) from error
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", errors="replace")
        text = data[: 4 * LONGEST].decode("utf-8", errors="replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        span = Span(len(before), len(before) + 1, line, column, line, column + 1)
        message = f"the byte 0x{data[error.start]:02x} is not UTF-8"
        return text, Diagnostic("REC107", message, span, str(path), help="save the file as UTF-8")


def format_text(text: str, file: str = "<text>") -> str:
    """The text in canonical layout, with its comments.

    Raises:
        SpecError: the text cannot be read.
    """
    tree, diagnostics = parse(text, file)
    if diagnostics:
        raise _error(diagnostics, tree)
    return print_tree(tree)
