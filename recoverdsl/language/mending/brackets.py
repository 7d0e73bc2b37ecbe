"""Round and square brackets: every one gets its partner, and newlines between them are dropped."""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import define, field
from lark import Token

from recoverdsl.language.diagnostics import Edit, Mend, replace
from recoverdsl.language.mending.blocks import match_braces
from recoverdsl.language.tokens import (
    DEEPEST,
    Mistake,
    Slip,
    Tokens,
    adjacent,
    between,
    broken,
    halves,
    placed,
    slip,
    span_of,
)

PARTNER = {"(": ")", "[": "]"}
OPENER = {")": "(", "]": "["}
_TURNED = frozenset("()[]")
_FAR = 100
"""Tokens that are looked back at."""
_OPERATORS = frozenset(
    ["or", "and", "not", "at", "except", "of", "..", "<", "<=", ">", ">=", "==", "+", "-", "*", "/", ".", "[", "="]
)  # fmt: skip
_COMPARISONS = {"<", "<=", ">", ">="}
_CONTINUES = frozenset([",", "(", "[", "\n"])
"""Behind these a newline ends no statement."""


def match_brackets(result: Tokens, text: str, kinds: Mapping[str, str]) -> None:
    """Match all brackets. What lacks its partner gets one, and its mistake is noted."""
    match_braces(result, text, kinds)
    brackets = _Brackets(result, kinds)
    brackets.run()
    result.tokens = brackets.tokens()
    limit_depth(result)


@define
class _Open:
    """A bracket that waits for its partner."""

    at: int
    commas: int = 0
    equals: int = 0
    semicolons: list[int] = field(factory=list)
    newlines: list[int] = field(factory=list)


class _Brackets:
    def __init__(self, result: Tokens, kinds: Mapping[str, str]) -> None:
        self.result, self.kinds = result, kinds
        self.out: list[Token] = []
        self.stack: list[_Open] = []
        self.began = 0
        """The first token of the statement at hand."""
        self.dropped: set[int] = set()
        self.put: dict[int, list[Token]] = {}
        """Tokens to put before one of `out`."""

    def run(self) -> None:
        for i, token in enumerate(self.result.tokens):
            if token.value in _TURNED and token.type != "BROKEN":
                token = self._turned(token, i)
            if token.value in PARTNER and token.type != "BROKEN":
                self.stack.append(_Open(len(self.out)))
            elif token.value in (")", "]") and token.type != "BROKEN":
                self._closer(token)
                continue
            elif token.value in ("{", "}"):
                self._give_up()
            elif self.stack:
                self._note(token)
            if not self.stack and (token.type == "NEWLINE" or token.value in ("{", "}", ";")):
                self.began = len(self.out) + 1
            self.out.append(token)
        self._give_up()

    def tokens(self) -> list[Token]:
        """The tokens with what was put in and without what was dropped."""
        made: list[Token] = []
        for i in range(len(self.out) + 1):
            made += self.put.get(i, ())
            if i < len(self.out) and i not in self.dropped:
                made.append(self.out[i])
        return made

    def _note(self, token: Token) -> None:
        here = self.stack[-1]
        if token.value == ",":
            here.commas += 1
        elif token.value == "=":
            here.equals += 1
        elif token.value == ";":
            here.semicolons.append(len(self.out))
        elif token.type == "NEWLINE":
            here.newlines.append(len(self.out))

    def _turned(self, token: Token, at: int) -> Token:
        """A bracket that looks the wrong way: `wilson]95%)`, `(refusing[`; or the token as it is."""
        tokens = self.result.tokens
        before = tokens[at - 1] if at else None
        after = tokens[at + 1] if at + 1 < len(tokens) else None
        if before is None or not adjacent(before, token):
            return token
        meant = None
        if token.value in PARTNER:
            ends = after is None or after.value in (",", ";", "}", "\n")
            valued = before.value.isidentifier() or before.type in (
                "NUMBER",
                "STRING",
                "RPAR",
                "RSQB",
            )
            if self.stack and ends and valued:
                meant = PARTNER[self.out[self.stack[-1].at].value]
        elif not self.stack and before.type == "NAME" and after is not None and (
            adjacent(token, after) and after.type in ("NAME", "NUMBER", "STRING")
        ):  # fmt: skip
            closers = (t.value for t in tokens[at + 1 : at + 9] if t.value in OPENER)
            meant = OPENER[next(closers, ")")]
        if meant is None:
            return token
        mistake = Mistake(
            "REC123", f"this `{token}` looks the wrong way", help=replace(span_of(token), meant)
        )
        return slip(self.kinds[meant], meant, span_of(token), mistake)

    # --- Closing ------------------------------------------------------------------------------

    def _closer(self, token: Token) -> None:
        if not self.stack:
            self._nothing_to_close(token)
            return
        wanted = PARTNER[self.out[self.stack[-1].at].value]
        if wanted != token.value:
            if len(self.stack) > 1 and PARTNER[self.out[self.stack[-2].at].value] == token.value:
                inner = self.stack.pop()
                self.dropped.update(inner.newlines)
                self._unclosed([inner], len(self.out))
            else:
                self._mismatch(token, wanted)
                return
        self._close(token)

    def _close(self, token: Token) -> None:
        opened = self.stack.pop()
        self.dropped.update(opened.newlines)
        self._commas(opened)
        opening = self.out[opened.at]
        meant = self._meant(opened)
        if meant is None:
            self.out.append(token)
            return
        pair, message, help = meant
        fix = (Edit(span_of(opening), pair[0]), Edit(span_of(token), pair[1]))
        mistake = Mistake("REC123", message, help=Mend(help, fix))
        self.out[opened.at] = slip(self.kinds[pair[0]], pair[0], span_of(opening), mistake)
        self.out.append(Token.new_borrow_pos(self.kinds[pair[1]], pair[1], token))

    def _meant(self, opened: _Open) -> tuple[str, str, str] | None:
        """What other brackets are meant, if the ones that were written make no sense."""
        opening = self.out[opened.at]
        if isinstance(opening, Slip):
            return None
        before = self.out[opened.at - 1] if opened.at else None
        named = before is not None and before.value.isidentifier() and before.type == "NAME"
        if opening.value == "(" and opened.commas and not named:
            return "[]", "a list stands in `[ ]`", "write `[…]`"
        if opening.value == "[" and opened.equals and named:
            return "()", "arguments stand in `( )`", "write `(…)`"
        dotted = named and opened.at > 1 and self.out[opened.at - 2].value == "."
        layer = len(self.out) == opened.at + 2 and self.out[-1].isalnum()
        if opening.value == "(" and dotted and layer:
            return "[]", "what numbers a layer stands in `[ ]`", "write `[…]`"
        return None

    def _commas(self, opened: _Open) -> None:
        """`[2; 5; 10]`"""
        if not opened.semicolons:
            return
        fix = tuple(Edit(span_of(self.out[i]), ",") for i in opened.semicolons)
        first = span_of(self.out[opened.semicolons[0]])
        mistake = Mistake(
            "REC115", "within brackets, values are separated by `,`", help=Mend("write `,`", fix)
        )
        for i in opened.semicolons:
            self.out[i] = Token.new_borrow_pos(self.kinds[","], ",", self.out[i])
        opened.commas += len(opened.semicolons)
        self.out[opened.semicolons[0]] = slip(self.kinds[","], ",", first, mistake)

    def _mismatch(self, token: Token, wanted: str) -> None:
        opening = self.out[self.stack[-1].at]
        mistake = Mistake(
            "REC105", f"`{token}` cannot close `{opening}`", help=replace(span_of(token), wanted),
            related=((span_of(opening), f"this `{opening}` is closed by `{wanted}`"),),
        )  # fmt: skip
        self._close(slip(self.kinds[wanted], wanted, span_of(token), mistake))

    def _nothing_to_close(self, token: Token) -> None:
        """A closing bracket that nothing opened: `adam lr = 0.1)`, or one too many."""
        if self._without_beginning(token):
            return
        alone = bool(self.out) and self.out[-1].type == "NEWLINE"
        if alone and self._closed_too_early(token):
            return
        for at in range(len(self.out) - 1, max(0, len(self.out) - _FAR), -1):
            first, second = self.out[at - 1], self.out[at]
            if first.type == "NEWLINE" or first.value in ("{", "}", ";"):
                break
            if first.value == token.value and second.value == ",":
                self._remove(first)
                self.dropped.add(at - 1)
                self.out.append(token)
                return
            starts = at == 1 or self.out[at - 2].value in ("=", "(", ",")
            if starts and first.type == "NAME" and second.type in ("NAME", "NUMBER", "STRING") and token.value == ")":  # fmt: skip
                edit = between(first, second, "(")
                mistake = Mistake(
                    "REC105", "this `)` has no `(`",
                    help=Mend(f"add a `(` behind `{first}`", (edit,)), span=span_of(token),
                )  # fmt: skip
                opening = slip(self.kinds["("], "(", span_of(second).before, mistake)
                self.put.setdefault(at, []).append(opening)
                self.out.append(token)
                return
        # Alone on its line it rather shows that something above is closed too early.
        self._remove(token, fix=not alone)

    def _without_beginning(self, token: Token) -> bool:
        """`layers14]`, `greedy24)`"""
        name = self.out[-1] if self.out else None
        split = re.fullmatch(r"([^\W\d]\w*?)([0-9]+)", str(name)) if name is not None else None
        if name is None or split is None or name.type != "NAME" or not adjacent(name, token):
            return False
        opening = OPENER[token.value]
        before, behind = halves(span_of(name), len(split[1]))
        mistake = Mistake(
            "REC105", f"this `{token}` has no `{opening}`", span=span_of(token),
            help=Mend(f"add a `{opening}` before the number", (Edit(behind.before, opening),)),
        )  # fmt: skip
        self.out[-1:] = [
            placed("NAME", split[1], before),
            slip(self.kinds[opening], opening, behind.before, mistake),
            placed("NUMBER", split[2], behind),
            token,
        ]
        return True

    def _closed_too_early(self, token: Token) -> bool:
        """A list over lines of which an inner one is closed twice: `[a, b]],`."""
        for at in range(len(self.out) - 2, max(1, len(self.out) - 2 * _FAR), -1):
            pair = self.out[at - 1].value == self.out[at].value == token.value
            if self.out[at].value in ("{", "}", "="):
                return False
            if pair and self.out[at + 1].value == "," and adjacent(self.out[at - 1], self.out[at]):
                self._remove(self.out[at])
                self.dropped.add(at)
                later = range(at, len(self.out))
                self.dropped.update(i for i in later if self.out[i].type == "NEWLINE")
                self.out.append(token)
                return True
        return False

    def _remove(self, token: Token, fix: bool = True) -> None:
        edits = (Edit(span_of(token), ""),) if fix else ()
        message = f"there is nothing here for this `{token}` to close"
        mistake = Mistake("REC105", message, help=Mend("remove it", edits))
        self.result.found.append((span_of(token), mistake))

    # --- What stays open ----------------------------------------------------------------------

    def _give_up(self) -> None:
        """Close what is open where its statement ends: with the line, unless that ends in a comma."""
        if not self.stack:
            return
        places = (i for opened in self.stack for i in (*opened.newlines, *opened.semicolons))
        ends = sorted(i for i in places if self._ends(i))
        stop = ends[0] if ends else len(self.out)
        open_here = [opened for opened in self.stack if opened.at < stop]
        newlines = [i for opened in self.stack for i in opened.newlines]
        self.dropped.update(i for i in newlines if i < stop)
        self.stack.clear()
        self._unclosed(open_here, stop)

    def _ends(self, at: int) -> bool:
        """Whether a statement with an open bracket ends at a newline or `;`."""
        if self.out[at].value == ";" or self.out[at - 1].value not in _CONTINUES:
            return True
        after = self.out[at + 1] if at + 1 < len(self.out) else None
        begin = self.out[self.began] if self.began < at else None
        return (
            after is not None and begin is not None and after.type == "NAME"
            and after.column <= begin.column
        )  # fmt: skip

    def _unclosed(self, opens: list[_Open], stop: int) -> None:
        """Put the missing ends before one of the tokens."""
        outermost = opens[0].at
        if len(opens) > DEEPEST:
            deep = self.out[opens[DEEPEST].at]
            mistake = Mistake(
                "REC106", f"this nests more than {DEEPEST} deep", help="write it in smaller parts"
            )
            self.out[opens[DEEPEST].at] = broken(deep, deep, mistake)
            return
        opening = self.out[outermost]
        inner = self.out[outermost + 1] if outermost + 1 < len(self.out) else None
        if len(opens) == 1 and inner is not None and inner.value == opening.value and adjacent(opening, inner):  # fmt: skip
            message = f"there is a `{opening}` too many"
            help = Mend("remove it", (Edit(span_of(opening), ""),))
            self.result.found.append((span_of(opening), Mistake("REC105", message, help=help)))
            self.dropped.add(outermost)
            return
        stop = self._index_ends(outermost, stop) if len(opens) == 1 else stop
        last = next(self.out[i] for i in range(stop - 1, -1, -1) if self.out[i].type != "NEWLINE")
        ends = "".join(PARTNER[self.out[opened.at].value] for opened in reversed(opens))
        message = f"this `{opening}` is not closed"
        if len(opens) > 1:
            message += f", nor {'is' if len(opens) == 2 else 'are'} the {len(opens) - 1} within it"
        place = span_of(last).behind
        mistake = Mistake("REC105", message, help=Mend(f"add `{ends}`", (Edit(place, ends),)))
        self.out[outermost] = slip(opening.type, str(opening), span_of(opening), mistake)
        self.put[stop] = [
            *(placed(self.kinds[end], end, place) for end in ends), *self.put.get(stop, ())
        ]  # fmt: skip

    def _index_ends(self, at: int, stop: int) -> int:
        """Where a single bracket ends: `layers[14.output`, `expect drift(a <= 5%`, `[a, b except c`."""
        expects = self.out[self.began].type == "EXPECT" if self.began < len(self.out) else False
        ending = _COMPARISONS if expects else {"except"} if self.out[at].value == "[" else set()
        for i in range(at + 1, min(stop, at + _FAR)):
            if self.out[i].value in ending and self.out[i].type != "NAME":
                return i
        inner = self.out[at + 1 : at + 3]
        tight = at > 0 and adjacent(self.out[at - 1], self.out[at])
        if self.out[at].value == "[" and tight and len(inner) == 2 and inner[1].value == ".":
            return at + 2
        return stop


def limit_depth(result: Tokens) -> None:
    """Break the statement that nests too deeply.

    A chain of operators nests as well: `a + b + c` is two deep. Counting goes on through brackets
    and starts anew behind a comma.
    """
    depth = deepest = 0
    outside: list[tuple[int, int]] = []
    for i, token in enumerate(result.tokens):
        if token.value in ("(", "[", "{"):
            outside.append((depth, deepest))
            depth = deepest = depth + 1
        elif token.value in (")", "]", "}") and outside:
            outer, deepest_outside = outside.pop()
            depth = deepest = max(depth, deepest, outer, deepest_outside)
            if token.value == "}":
                depth = deepest = outer
        elif token.value == ",":
            deepest = max(depth, deepest)
            depth = outside[-1][0] + 1 if outside else 0
        elif token.value == ";" or token.type == "NEWLINE":
            depth = deepest = outside[-1][0] + 1 if outside else 0
        elif token.value in _OPERATORS:
            depth += 1
        if depth > DEEPEST and token.type not in ("NEWLINE", "BROKEN"):
            mistake = Mistake(
                "REC106", f"this nests more than {DEEPEST} deep", help="write it in smaller parts"
            )
            result.tokens[i] = broken(token, token, mistake)
