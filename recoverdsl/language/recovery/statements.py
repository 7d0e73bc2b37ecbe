"""Lines → statements and heads, each parsed on its own, so that one mistake hides no other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from attrs import evolve
from lark import Token
from lark.exceptions import UnexpectedToken

from recoverdsl.language.diagnostics.diagnostic import Edit, Help
from recoverdsl.language.recovery.changes import Change, Stop, changes, shown
from recoverdsl.language.recovery.mistakes import Mistake
from recoverdsl.language.syntax import grammar
from recoverdsl.language.syntax.nodes import Block, Broken, Statement, Word
from recoverdsl.language.syntax.tokens import across, span_of

_LONGEST = 200
"""Tokens of a line for which changes are tried."""

_KINDS = {"NAME": "a name", "NUMBER": "a number", "STRING": "a text in quotes", "$END": "the end of the line"}  # fmt: skip
_OPERATORS = frozenset(
    ["or", "and", "at", "except", "of", "..", "<", "<=", ">", ">=", "==", "!=", "+", "-", "*", "/"]
)
_VALUE = frozenset({"NUMBER", "STRING", "NAME", "LPAR", "LSQB", "TRUE", "FALSE"})


def parse(line: Sequence[Token], start: str, inside: bool) -> Statement | Stop:
    """Return what a line is, parsed as a `statement` or `head`, or where that stops."""
    if not line:
        return Stop(line, 0, frozenset(), inside)
    parser = grammar.interactive(start)
    try:
        for at, token in enumerate(line):  # noqa: B007
            parser.feed_token(token)
        at = len(line)
        statement: Statement = parser.feed_eof(line[-1])
    except UnexpectedToken:
        return Stop(line, at, frozenset(parser.accepts()), inside)
    return statement


def read_statement(line: Sequence[Token], inside: bool) -> tuple[list[Statement], Mistake | None]:
    """Return the statements on a line, of which there should be one, and what is wrong with it."""
    read = parse(line, "statement", inside)
    if not isinstance(read, Stop):
        return [read], None
    if changed := _changed(read, "statement"):
        return [changed[0]], changed[1]
    if several := _several(read):
        return several
    return [broken(line)], complaint(read)


def _several(stop: Stop) -> tuple[list[Statement], Mistake | None] | None:
    """Return the statements of a line that holds two, with a comma between them or nothing."""
    line = stop.line
    for at in (stop.at, stop.at - 1):
        if not 0 < at < len(line) - 1 or line[at].type not in ("NAME", "EXPECT", "PARAM"):
            continue
        comma = line[at - 1].value == ","
        first = parse(line[: at - comma], "statement", stop.inside)
        second = parse(line[at:], "statement", stop.inside)
        if isinstance(first, Stop) or isinstance(second, Stop):
            continue
        if comma:
            place = span_of(line[at - 1])
            help = Help("write `;`", (Edit(place, ";"),))
            return [first, second], Mistake(
                "REC115", "expected `;` between statements, found `,`", place, help
            )
        return [first, second], unseparated(line[at - 1], line[at])
    return None


def unseparated(before: Token, after: Token) -> Mistake:
    """Return what is wrong with two statements on a line."""
    gap = span_of(before).after.to(span_of(after).before)
    return Mistake(
        "REC104", f"expected a new line or `;`, found `{after}`", span_of(after),
        Help("write it on a new line, or put `;` before it", (Edit(gap, "; "),)),
    )  # fmt: skip


def _changed(stop: Stop, start: str) -> tuple[Statement, Mistake | None] | None:
    """Return the statement that the first change makes readable, and what is said about it."""
    if len(stop.line) > _LONGEST or any(token.type == "BROKEN" for token in stop.line):
        return None
    for change in changes(stop):
        read = parse(_after_change(change, stop.line), start, stop.inside)
        if not isinstance(read, Stop):
            return read, change.mistake(stop.line) if change.code else None
    return None


def _after_change(change: Change, line: Sequence[Token]) -> list[Token]:
    """Return a line with a change made, and its keywords before `=` read as names."""
    made = change.apply(line)
    for token, after in pairwise(made):
        grammar.named(token, after)
    return made


def broken(line: Sequence[Token]) -> Broken:
    """Return a line as a statement that could not be read."""
    words = tuple(str(token) for token in line[:50] if token.type == "NAME")
    return Broken(words, span=across(line[0], line[-1]))


# --- Heads of blocks ------------------------------------------------------------------------------


def read_head(line: Sequence[Token]) -> tuple[Block, Mistake | None]:
    """Return a block without its body by its head, and what is wrong with that.

    A head that cannot be read still begins a block, so that its inside is read.
    """
    read = parse(line, "head", False)
    if isinstance(read, Block):
        return read, None
    assert isinstance(read, Stop)
    names = [token for token in line if token.type == "NAME"]
    for change in _head_changes(line):
        block = parse(_after_change(change, line), "head", False)
        if isinstance(block, Block):
            return evolve(block, whole=False), change.mistake(line)
    kind = names[0] if names else line[0]
    name = names[1] if len(names) > 1 else None
    block = Block(
        Word(str(kind), span=span_of(kind)),
        Word(str(name), span=span_of(name)) if name else None,
        None, (), span=across(line[0], line[-1]), head=across(line[0], line[-1]), whole=False,
    )  # fmt: skip
    return block, complaint(read, "write `kind name {`, such as `attack my_attack {`")


def _head_changes(line: Sequence[Token]) -> list[Change]:
    made = []
    words = [token.value.isidentifier() for token in line]
    strays = {i: "" for i, word in enumerate(words) if not word}
    if strays and any(words):
        i = next(iter(strays))
        made.append(Change("REC120", f"expected {_after(line, i)}, found `{shown(line[i])}`", "remove it", span_of(line[i]), strays))  # fmt: skip
    names = all(token.type == "NAME" for token in line)
    if names and len(line) == 4:
        made.append(Change("REC119", f"expected `like`, found `{line[2]}`", "write `like`", replaced={2: "like"}))  # fmt: skip
    if names and len(line) == 3:
        joined = f"{line[1]}_{line[2]}"
        made.append(Change("REC122", f"expected a name of one word, found `{line[1]} {line[2]}`", f"write `{joined}`",
                           across(line[1], line[2]), {1: joined, 2: ""}))  # fmt: skip
    return made


def _after(line: Sequence[Token], at: int) -> str:
    return "a name" if at == 1 and len(line) > 2 else "`{`" if at else "the kind of a block"


# --- What to say ----------------------------------------------------------------------------------


def complaint(stop: Stop, help: Help | str | None = None) -> Mistake:
    """Return what is wrong with a line that no change makes readable."""
    token, before = stop.token(), stop.token(-1)
    if token is not None and before is not None and before.type == "NUMBER" and (
        token.start_pos == before.end_pos and (token.value.isidentifier() or token.value == ".")
    ):  # fmt: skip
        return Mistake(
            "REC117", f"expected a number, found `{shown(before)}{shown(token)}`", across(before, token),
            "write a plain number, or a text in quotation marks",
        )  # fmt: skip
    words = 0
    said = help is not None or any(token.value == "=" for token in stop.line)
    while not said and words < len(stop.line) and stop.line[words].value.isidentifier():
        words += 1
    if words > 2 and stop.at <= words and stop.line[0].type == "NAME":
        place = across(stop.line[0], stop.line[words - 1])
        note = Help("if it is a comment, begin it with `#`", (Edit(place.before, "# "),))
        return Mistake("REC101", f"expected a statement, found `{shown(stop.line[0])} {shown(stop.line[1])} …`", place, note)  # fmt: skip
    # An excerpt that marks the end of a line shows nothing, so what stands before it is marked.
    place = span_of(token or stop.line[-1])
    return Mistake("REC101", f"expected {_expected(stop)}, found {stop.found}", place, help or _how(stop))  # fmt: skip


def _how(stop: Stop) -> str:
    """Return the help that fits what could stand there."""
    before = stop.token(-1)
    if before is not None and stop.accepted >= _VALUE:
        return f"write a value after `{shown(before)}`"
    if not stop.accepted.isdisjoint(("RPAR", "RSQB")):
        return "separate values by `,`, and close each bracket"
    if stop.inside and stop.at <= 2:
        return "write `key = value`"
    return "write one statement on a line, such as `key = value` or `attack name {`"


def _expected(stop: Stop) -> str:
    """Return what could stand there, in a person's words."""
    known = {kind: word for word, kind in grammar.words().items()}
    accepted = set(stop.accepted)
    if accepted >= _VALUE:
        return "a value"
    if stop.at == 0:
        return "a statement"
    if stop.at == 1 and "EQUAL" in accepted:
        return f"`=` after `{stop.line[0]}`"
    accepted -= {kind for kind in accepted if known.get(kind) in _OPERATORS}
    if "$END" in accepted:
        accepted -= {"DOT", "LSQB", "LPAR"}
    phrases = sorted(_KINDS.get(kind) or f"`{known[kind]}`" for kind in accepted - {"$END"})
    phrases += ["the end of the line"] if "$END" in accepted else []
    *most, last = phrases or ["something else"]
    return f"{', '.join(most)} or {last}" if most else last
