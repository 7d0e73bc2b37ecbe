"""Good specs broken by a machine: one small change each, of the kinds that hands make."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Iterator

from tests.language.corpus import Case, diagnostics, read

SEED = 1
OF_EACH = 10
BASES = ("tests/language/corpus/ioi.rec", "specs/preserve.rec", "specs/refusal.rec", "specs/suffixes.rec", "tests/language/full.rec")  # fmt: skip

Mutation = Callable[[str, random.Random], str | None]


def _one(pattern: str, make: Callable[[re.Match[str], random.Random], str]) -> Mutation:
    """A change of one of the places that match."""

    def mutate(line: str, chance: random.Random) -> str | None:
        found = list(re.finditer(pattern, line))
        if not found:
            return None
        match = chance.choice(found)
        return line[: match.start()] + make(match, chance) + line[match.end() :]

    return mutate


def _misspelled(match: re.Match[str], chance: random.Random) -> str:
    word = match[0]
    at = chance.randrange(len(word) - 1)
    return chance.choice(
        [
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + chance.choice("aeiorst") + word[at + 1 :],
        ]
    )


def _replaced(*others: str) -> Callable[[re.Match[str], random.Random], str]:
    return lambda match, chance: chance.choice(others)


_WORD = r"(?<![\w\"/.-])[a-z_]{4,}(?![\w\"/.-])"
MUTATIONS: dict[str, Mutation] = {
    "a letter wrong": _one(_WORD, _misspelled),
    "another case": _one(_WORD, lambda m, c: c.choice([m[0].title(), m[0].upper()])),
    "no equals sign": _one(r" = ", _replaced(" ", "  ")),
    "another equals sign": _one(r" = ", _replaced(": ", " : ", " == ", " := ", " = = ", " -> ")),
    "another comparison": _one(r"<=|>=|<|>", _replaced("≤", "=<", "=>", "≥", "!=", "<>", "==", "=")),
    "no comma": _one(r", ", _replaced(" ", "  ")),
    "another comma": _one(r", ", _replaced("; ", ",, ", " and ", "، ")),
    "a comma at the end": _one(r"(?<=[\w)\]\"])$", _replaced(",", ",")),
    "no bracket": _one(r"[()\[\]]", _replaced("")),
    "another bracket": _one(r"[()\[\]]", _replaced("(", ")", "[", "]", "{", "}")),
    "a bracket too many": _one(r"[()\[\]]", lambda m, c: m[0] * 2),
    "no brace": _one(r" ?[{}]", _replaced("")),
    "a brace too many": _one(r"[{}]", lambda m, c: m[0] * 2),
    "no quotation mark": _one(r'"', _replaced("")),
    "other quotation marks": _one(r'"([^"]*)"', lambda m, c: c.choice(["'{}'", "“{}”", "`{}`", "„{}“", "{}"]).format(m[1])),
    "a percent sign": _one(r"\b\d+(\.\d+)?(?![\w.%\"])", lambda m, c: c.choice([f"{m[0]} %", f"%{m[0]}", f"{m[0]}%%", f"{m[0]}%"])),
    "another number": _one(r"(?<![\w.\"-])\d+(\.\d+)?(?![\w.\"])", lambda m, c: c.choice([f"+{m[0]}", f"{m[0]}px", f"1_{m[0]}", f"-{m[0]}", f"{m[0]}.", f"“{m[0]}”"])),
    "another comment": _one(r"^# ", _replaced("// ", "-- ", "% ", "")),
    "a comment behind": _one(r"(?<=[\w)\]\"%])$", _replaced(" // as before", " -- as before", " /* as before */")),
    "another operator": _one(r" - | \* |\band\b|\bnot\b|\bexcept\b|\bat\b|\blike\b", _replaced(" − ", "&&", "||", " but ", " @ ", " extends ", "!")),
    "a strange sign": _one(r"(?<=[a-z])(?=[ ,)])", _replaced("$", "?", "&", "^", "\u200b", "\u00a0", "§", "~")),
    "true otherwise": _one(r"\btrue\b|\bfalse\b", _replaced("True", "False", "yes", "no", "TRUE", "1", "on")),
    "a name otherwise": _one(r"\b[a-z]+(_[a-z]+)+\b", lambda m, c: c.choice([m[0].replace("_", "-"), m[0].replace("_", " "), m[0].replace("_", "")])),
    "a word too many": _one(r"(?<=[\w)]) (?=[\w=(<])", _replaced(" the ", " new ", " of of ")),
}  # fmt: skip


def mutated(but: Collection[str] = ()) -> Iterator[Case]:
    """The cases: of each mutation, those that the seed draws from all lines that it can break.

    Each line draws for itself, so that a change of a spec changes the cases of its own lines.

    Args:
        but: broken texts that there are already.
    """
    made = set(but)
    lines = [(base, line) for base in BASES for line in _lines(read(base))]
    for title, mutate in MUTATIONS.items():
        drawn = [
            (random.Random(f"{SEED} {title} {base} {line}"), base, line) for base, line in lines
        ]
        count = 0
        for chance, base, line in sorted(drawn, key=lambda one: one[0].random()):
            if line.startswith("#") != (title == "another comment"):
                continue
            new = mutate(line, chance)
            case = new is not None and new != line and Case(title, base, line, new, ())
            if case and case.text not in made and diagnostics(case.text):
                made.add(case.text)
                yield case
                count += 1
            if count == OF_EACH:
                break


def _lines(text: str) -> Iterator[str]:
    """The lines that stand in a text once."""
    return (line for line in text.split("\n") if line.strip() and text.count(line) == 1)
