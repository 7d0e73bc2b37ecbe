"""The roles of stretches of text, decided in this one place.

The words come from the schema and the shapes from the grammar's terminals. The resulting rules are
regular expressions that never look beyond their line, so that the lexers of all editors can follow
them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum, auto
from functools import cache
from typing import Any, Literal, get_args, get_origin

import attrs
from attrs import frozen

from recoverdsl.language import schema
from recoverdsl.language.schema import KINDS, forms
from recoverdsl.language.schema.fields import hints, keys
from recoverdsl.language.syntax.grammar import terminals


class Role(StrEnum):
    """The role of a stretch of text."""

    SPACE = auto()
    COMMENT = auto()
    TEXT = auto()
    """A text in quotes."""
    ESCAPE = auto()
    """`\\\\n` in a text."""
    COLUMN = auto()
    """`{io}` in a text, a reference to a column of the data."""
    NUMBER = auto()
    UNIT = auto()
    """The `%` after a number."""
    STATEMENT = auto()
    """A word that begins a statement: `expect`."""
    LINK = auto()
    """`like`, `from`, `by`."""
    OPERATOR = auto()
    OPERATOR_WORD = auto()
    """`at`, `except`, `not`."""
    TRUTH = auto()
    """`true` and `false`."""
    PUNCTUATION = auto()
    BLOCK = auto()
    """The kind of a block, where it begins one."""
    BLOCK_NAME = auto()
    """A name between the kind of a block and its brace."""
    KEY = auto()
    """An attribute or argument, before its `=`."""
    FUNCTION = auto()
    """A function, before its bracket."""
    METRIC = auto()
    """A metric, in `measure` and `expect`."""
    WORD = auto()
    """A bare word that the schema knows: `last_token`, `float32`."""
    NAME = auto()
    """Any other name."""
    MISTAKE = auto()
    """Text that is invalid everywhere."""


SHAPES: dict[str, Role] = {
    "SPACE": Role.SPACE, "NEWLINE": Role.SPACE, "COMMENT": Role.COMMENT, "STRING": Role.TEXT,
    "NUMBER": Role.NUMBER, "NAME": Role.NAME, "BROKEN": Role.MISTAKE,
}  # fmt: skip
"""The grammar's terminals that are regular expressions, by their names."""

LITERALS: dict[str, Role] = {
    **dict.fromkeys(["recoverdsl", "import", "audit", "param", "expect"], Role.STATEMENT),
    **dict.fromkeys(["like", "from", "by"], Role.LINK),
    **dict.fromkeys(["or", "and", "not", "at", "except", "of", "in"], Role.OPERATOR_WORD),
    **dict.fromkeys(["true", "false"], Role.TRUTH),
    **dict.fromkeys(
        ["<=", ">=", "==", "!=", "<", ">", "..", "+", "-", "*", "/", "="], Role.OPERATOR
    ),
    **dict.fromkeys(["(", ")", "[", "]", "{", "}", ",", ";", "."], Role.PUNCTUATION),
}
"""The grammar's other terminals, by their text."""


@frozen
class Rule:
    """A regular expression, and the role of what it matches."""

    role: Role
    pattern: str
    inside: tuple[Rule, ...] = ()
    """Rules for the stretches of the match that have a role of their own."""


@cache
def rules() -> tuple[Rule, ...]:
    """Return the rules; the first that matches wins. Together they match every text."""
    shape = terminals()
    space = shape["SPACE"].removesuffix("+")
    name = shape["NAME"]
    is_key = rf"{space}*=(?!=)"
    like = rf"(?:{space}+like{space}+{name})?"
    return (
        Rule(Role.SPACE, f"(?:{shape['SPACE']}|{shape['NEWLINE']})+"),
        Rule(Role.COMMENT, shape["COMMENT"]),
        Rule(Role.TEXT, shape["STRING"], inside=(
            Rule(Role.ESCAPE, r"\\(?:u[0-9a-fA-F]{4}|.)"),
            Rule(Role.COLUMN, r"\{\w+\}"),
        )),
        Rule(Role.NUMBER, shape["NUMBER"], inside=(Rule(Role.UNIT, "%"),)),
        Rule(Role.BLOCK, rf"{_any(_blocks())}(?=(?:{space}+{name})?{like}{space}*\{{)"),
        Rule(Role.KEY, rf"{_any(_keys())}(?={is_key})"),
        Rule(Role.METRIC, rf"{_any(schema.METRICS)}(?={is_key})"),
        Rule(Role.FUNCTION, rf"{_any(_functions())}(?={space}*\()"),
        Rule(Role.METRIC, rf"{_any(schema.METRICS)}(?={space}*\()"),
        *(Rule(role, rf"{_any(_literals(role))}(?!{is_key})") for role in (
            Role.STATEMENT, Role.LINK, Role.OPERATOR_WORD, Role.TRUTH
        )),
        Rule(Role.BLOCK_NAME, rf"\b{name}(?={like}{space}*\{{)"),
        Rule(Role.WORD, rf"(?<=\.){_any(forms.PLACES)}"),
        Rule(Role.WORD, _any(_words())),
        Rule(Role.NAME, name),
        Rule(Role.OPERATOR, _signs(Role.OPERATOR)),
        Rule(Role.PUNCTUATION, _signs(Role.PUNCTUATION)),
        Rule(Role.MISTAKE, shape["BROKEN"]),
    )  # fmt: skip


def stretches(text: str) -> Iterator[tuple[Role, int, int]]:
    """Yield every stretch of a text, in order and without gaps: its role, its start and its end."""
    for match in _matcher(rules()).finditer(text):
        rule, at = _matched(rules(), match), match.start()
        for role, start, end in _inside(rule, match[0], match.start()):
            if start > at:
                yield rule.role, at, start
            yield role, start, end
            at = end
        if at < match.end():
            yield rule.role, at, match.end()


def _inside(rule: Rule, text: str, offset: int) -> Iterator[tuple[Role, int, int]]:
    if rule.inside:
        for match in _matcher(rule.inside).finditer(text):
            yield _matched(rule.inside, match).role, offset + match.start(), offset + match.end()


def _matched(rules: tuple[Rule, ...], match: re.Match[str]) -> Rule:
    return rules[int(str(match.lastgroup)[1:])]


@cache
def _matcher(rules: tuple[Rule, ...]) -> re.Pattern[str]:
    # A group that closes last is the last group, whatever groups are inside it.
    return re.compile("|".join(f"(?P<r{i}>{rule.pattern})" for i, rule in enumerate(rules)))


# --- The words --------------------------------------------------------------------------------


def _any(words: Iterable[str]) -> str:
    return rf"\b(?:{'|'.join(sorted(words))})\b"


def _literals(role: Role) -> list[str]:
    return [text for text, its in LITERALS.items() if its is role]


def _signs(role: Role) -> str:
    longest_first = sorted(_literals(role), key=lambda text: (-len(text), text))
    return "|".join(map(re.escape, longest_first))


def _blocks() -> set[str]:
    return {*KINDS, *schema.BLOCKS}


def _classes() -> list[type]:
    return [*schema.BLOCKS.values(), *schema.FUNCTIONS.values()]


def _keys() -> set[str]:
    # Keys that are not fields of a block or function: of `sweep`, `expect` and `logprob`.
    others = (
        attrs.fields(schema.Sweep).zipped,
        attrs.fields(schema.Expectation).norm,
        attrs.fields(schema.LogProb).tokens,
    )
    return {key for cls in _classes() for key in keys(cls)} | {field.name for field in others}


def _functions() -> set[str]:
    return {*schema.FUNCTIONS, *forms.CALLS}


def _words() -> set[str]:
    """Return every word that a value may be, by the annotations of the schema."""
    found = {*schema.DETECTORS, *forms.WORDS, *schema.POSITIONS}
    for cls in _classes():
        for annotation in hints(cls).values():
            found.update(_in_annotation(annotation))
    found.update(get_args(hints(schema.Expectation)["by"]))
    return found


def _in_annotation(annotation: Any) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    # Where any text will do, a known one is written in quotes as well.
    elif str not in get_args(annotation):
        for inner in get_args(annotation):
            yield from _in_annotation(inner)
