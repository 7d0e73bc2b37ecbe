"""Every spec in the documentation is checked.

The words after ```` ```rec ```` say how:

- none: a whole spec;
- `fragment`: blocks of `specs/ioi.rec`, which they replace or are added to; `fragment of refusal`: of another one;
  `fragment of examples`: of the examples of the reference;
- `wrong REC302`: a fragment with this mistake;
- `inside`: lines of a block, which are parsed.

Three pages quote the shipped specs and mark nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recoverdsl.language import check, parse
from recoverdsl.language.reference import examples
from recoverdsl.language.syntax import nodes
from recoverdsl.language.syntax.printer import print_expression
from tests.docs.pages import ROOT, Code, blocks

QUOTING = {"README.md": "ioi", "docs/ioi.md": "ioi", "docs/refusal.md": "refusal"}
"""Pages whose blocks are unmarked fragments of a shipped spec."""

ALL = list(blocks("rec"))


def beside(name: str) -> str | None:
    """Read a file of `specs/`, for imports."""
    path = ROOT / "specs" / name
    return path.read_text("utf-8") if path.is_file() else None


def key(statement: nodes.Statement) -> tuple[str, str]:
    """Return the key of a statement; a statement replaces another with the same key."""
    match statement:
        case nodes.Block(kind, name):
            return kind.text, name.text if name else ""
        case nodes.Param(name):
            return "param", name.text
        case nodes.Expect(condition):
            return "expect", print_expression(condition)
        case nodes.Import(path=path):
            return "import", path.value
    return type(statement).__name__, ""


def completed(fragment: str, whole: str) -> str:
    """Return a spec with the statements of a fragment in place of its own."""
    tree, mistakes = parse(fragment)
    assert not mistakes, mistakes
    new = {key(statement) for statement in tree.statements}
    kept = [s for s in parse(whole)[0].statements if key(s) not in new]
    # The version stays first, also where the fragment brings it.
    body = "\n".join(whole[s.span.start : s.span.end] for s in kept)
    version = "" if ("Version", "") in new else body.partition("\n")[0]
    return f"{version}\n{fragment}\n{body.removeprefix(version)}\n"


def context(code: Code) -> str:
    """Return the spec that a fragment belongs to."""
    page = str(code.page.relative_to(ROOT))
    name = code.words[-1] if "of" in code.words else QUOTING.get(page, "ioi")
    return examples() if name == "examples" else (ROOT / f"specs/{name}.rec").read_text("utf-8")


def errors(text: str) -> list[str]:
    return [str(d) for d in check(text, read=beside).diagnostics if d.severity == "error"]


def whole(code: Code) -> None:
    assert code.text.startswith("recoverdsl 1\n"), "a part of a spec is marked `fragment`"
    assert errors(code.text) == []


def fragment(code: Code) -> None:
    assert errors(completed(code.text, context(code))) == []


def wrong(code: Code) -> None:
    found = check(completed(code.text, context(code)), read=beside).diagnostics
    assert [d.code for d in found] == [code.words[1]]


def inside(code: Code) -> None:
    assert parse(f"block x {{\n{code.text}\n}}")[1] == ()


KINDS: dict[str, Callable[[Code], None]] = {
    "": whole, "fragment": fragment, "wrong": wrong, "inside": inside,
}  # fmt: skip


@pytest.mark.parametrize("code", ALL, ids=str)
def test_a_spec_in_the_documentation_is_right(code: Code) -> None:
    page = str(code.page.relative_to(ROOT))
    kind = code.words[0] if code.words else "fragment" if page in QUOTING else ""
    KINDS[kind](code)


def test_a_wrong_spec_would_be_noticed() -> None:
    page = ROOT / "docs/index.md"
    with pytest.raises(AssertionError):
        fragment(Code(page, 1, "rec", ("fragment",), "attack projected { steps = 0 }\n"))
    with pytest.raises(AssertionError):
        whole(Code(page, 1, "rec", (), "recoverdsl 1\nmodel x {}\n"))


def test_specs_are_spread_over_the_documentation() -> None:
    assert len({code.page for code in ALL}) >= 10
