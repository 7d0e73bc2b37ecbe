"""The head of a block that has lost its name or its kind, or has a sign too many: one mistake, one diagnostic."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from recoverdsl.language import beside, check
from tests.language.corpus import ROOT, read
from tests.language.fixing import unfixed
from tests.language.texts import HERE

BASES = ("tests/language/corpus/ioi.rec", "tests/language/full.rec")
HEAD = re.compile(
    r"(?m)^(?P<indent> *)(?P<kind>\w+)(?: (?P<name>(?!like\b)\w+))?(?P<like> like \w+)? \{"
)
Damage = Callable[[re.Match[str]], str | bool | None]


def _lost_name(head: re.Match[str]) -> str | None:
    # A stage needs no name, and `measure` takes none.
    if head["kind"] in ("stage", "measure"):
        return None
    return f"{head['indent']}{head['kind']}{head['like'] or ''} {{"


DAMAGES: dict[str, Damage] = {
    "a lost name": _lost_name,
    "a lost kind": lambda h: f"{h['indent']} {h['name'] or ''}{h['like'] or ''} {{",
    "a sign before the brace": lambda h: f"{h[0][:-1]}- {{",
    "a sign before the name": lambda h: h["name"] and f"{h['indent']}{h['kind']} - {h['name']}{h['like'] or ''} {{",
    "a sign before the kind": lambda h: f"{h['indent']}- {h[0].strip()}",
    "a sign at the name": lambda h: f"{h[0][:-2]}? {{",
    "a percent sign before the kind": lambda h: f"{h['indent']}%{h[0].strip()}",
    "a percent sign before the brace": lambda h: f"{h[0][:-1]}% {{",
    "a quotation mark before the kind": lambda h: f'{h["indent"]}"{h[0].strip()}',
    "a quotation mark before the brace": lambda h: f'{h[0][:-1]}" {{',
    "a closing brace before the kind": lambda h: f"}}{h[0]}",
    "a closing brace before the brace": lambda h: f"{h[0][:-1]}}} {{",
    "an equals sign": lambda h: f"{h[0][:-1]}= {{",
    "a number": lambda h: f"{h[0][:-1]}3 {{",
    "a colon": lambda h: h["name"] and f"{h['indent']}{h['kind']}: {h['name']}{h['like'] or ''} {{",
    "a semicolon before the brace": lambda h: f"{h[0][:-2]}; {{",
    "a semicolon before the name": lambda h: h["name"] and f"{h['indent']}{h['kind']}; {h['name']}{h['like'] or ''} {{",
    "a bracket before the brace": lambda h: f"{h[0][:-1]}( {{",
    "a bracket before the name": lambda h: h["name"] and f"{h['indent']}{h['kind']} [{h['name']}{h['like'] or ''} {{",
}  # fmt: skip


def _damaged(damage: Damage) -> list[tuple[str, str, int, str]]:
    """Each kind of head in the specs damaged: spec, head, line, text."""
    made: dict[tuple[object, ...], tuple[str, str, int, str]] = {}
    for base in BASES:
        good = read(base)
        for head in HEAD.finditer(good):
            bad = damage(head)
            if isinstance(bad, str):
                line = good.count("\n", 0, head.start()) + 1
                text = good[: head.start()] + bad + good[head.end() :]
                form = (head["kind"], head["indent"], not head["name"], not head["like"])
                made.setdefault(form, (base, bad, line, text))
    return list(made.values())


def test_the_heads_are_of_all_kinds() -> None:
    kinds = {head["kind"] for base in BASES for head in HEAD.finditer(read(base))}
    assert kinds == {"model", "sae", "data", "behavior", "protect", "intervene", "budget", "attack", "stage",
                     "control", "attribute", "measure", "sweep"}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_one_mistake_in_a_head_is_one_diagnostic_there(damage: Damage) -> None:
    wrong = {}
    for base, bad, line, text in _damaged(damage):
        checked = check(text, base, read=beside(ROOT / base))
        found = [d for d in checked.diagnostics if d.severity == "error"]
        if [d.span.line for d in found] != [line]:
            wrong[base, bad] = [f"{d.span.line} {d.code} {d.message}" for d in found]
    assert wrong == {}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_fix_of_a_head_takes_its_mistake_away_and_adds_none(damage: Damage) -> None:
    wrong = {bad: unfixed(text) for _, bad, _, text in _damaged(damage)}
    assert {case: said for case, said in wrong.items() if said} == {}


@pytest.mark.parametrize(
    ("written", "fixed"),
    [("1x", "_1x"), ("2_x", "_2_x"), ("3rd-try", "_3rd_try"), ("1like", "_1like"), ("12e3", "_12e3")],
)  # fmt: skip
def test_a_name_that_begins_with_a_digit_keeps_its_characters(written: str, fixed: str) -> None:
    good = read("tests/language/corpus/ioi.rec")
    bad = f"{good}\nattack {written} like unconstrained {{ steps = 3 }}\n"
    (mistake,) = check(bad).errors
    assert (mistake.span.line, mistake.span.column) == (good.count("\n") + 2, 8)
    assert mistake.fix is not None
    assert [edit.text for edit in mistake.fix] == [fixed]
    assert check(bad.replace(f"attack {written}", f"attack {fixed}")).errors == ()


def test_three_mistakes_are_three_diagnostics() -> None:
    found = check((HERE / "block_heads.rec").read_text(encoding="utf-8")).diagnostics
    errors = [(d.span.line, d.code) for d in found if d.severity == "error"]
    assert errors == [(4, "REC214"), (9, "REC120"), (14, "REC201")]
