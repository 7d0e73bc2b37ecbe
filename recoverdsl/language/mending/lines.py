"""Lines that are nearly statements: what was left out, put too much, or misspelled in them.

Works on tokens whose brackets match, so that a newline is the end of a line and not of a bracket.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from attrs import evolve
from lark import Token

from recoverdsl.language.diagnostics import Edit, Mend, replace
from recoverdsl.language.diagnostics.suggestions import did_you_mean
from recoverdsl.language.syntax.nodes import Span
from recoverdsl.language.tokens import (
    Mistake,
    Slip,
    Tokens,
    across,
    adjacent,
    between,
    broken,
    slip,
    span_of,
)

_JOINING = frozenset(
    ["=", "+", "-", "*", "/", "and", "or", "not", "at", "except", "of", "..", "<", "<=", ">", ">=", "==", ",", "in"]
)  # fmt: skip
"""What stands between values, so that a value must follow it."""
_LEADING = _JOINING - {"=", "not", "in", ","}
"""What cannot begin a line, and so goes on with the one before."""
_COMPARISONS = frozenset(["<", "<=", ">", ">=", "==", "="])
_VALUES = frozenset(["NAME", "NUMBER", "STRING", "LPAR", "LSQB", "TRUE", "FALSE", "NOT", "MINUS"])
_ENDS = frozenset([";", "{", "}"])


def mend_lines(result: Tokens, text: str, kinds: Mapping[str, str]) -> None:
    """Replace lines that are nearly statements by what is meant. `kinds` maps words to types."""
    lines = _Lines(result, text, kinds)
    lines.join()
    lines.mend()
    result.tokens = lines.out


def _ends(token: Token) -> bool:
    return token.type == "NEWLINE" or token.value in _ENDS


class _Lines:
    def __init__(self, result: Tokens, text: str, kinds: Mapping[str, str]) -> None:
        self.result, self.text, self.kinds = result, text, kinds
        self.words = [word for word in kinds if word.isidentifier()]
        self.out: list[Token] = []
        self.column = 1
        """Of the first token of the statement at hand."""
        self.joined: int | None = None
        """The mistake of the statement at hand that it goes on behind its line."""
        self.names: Counter[str] = Counter()

    def _found(self, span: Span, code: str, message: str, help: Mend | str) -> None:
        self.result.found.append((span, Mistake(code, message, help=help)))

    def _remove(self, token: Token, code: str, message: str) -> None:
        self._found(span_of(token), code, message, Mend("remove it", (Edit(span_of(token), ""),)))

    # --- Commas, and statements that go on over a line's end -----------------------------------

    def join(self) -> None:
        tokens = self.result.tokens
        out: list[Token] = []
        nested = 0
        for i, token in enumerate(tokens):
            after = tokens[i + 1] if i + 1 < len(tokens) else None
            previous = out[-1] if out else None
            nested += {"(": 1, "[": 1, ")": -1, "]": -1}.get(token.value, 0)
            if token.value == "," and token.type != "BROKEN":
                if self._comma(token, previous, after, tokens, i, nested > 0):
                    continue
                if not nested and _assigns(tokens, i + 1):
                    help = replace(span_of(token), ";")
                    mistake = Mistake("REC115", "statements are separated by `;`, or by a new line", help=help)  # fmt: skip
                    token = slip(self.kinds[";"], ";", span_of(token), mistake)
            elif token.type == "NEWLINE" and previous is not None and self._goes_on(previous, tokens, i):  # fmt: skip
                continue
            if not out or _ends(out[-1]):
                self.column = token.column
            if _ends(token):
                self.joined = None
            out.append(token)
        self.result.tokens = out

    def _comma(
        self, token: Token, previous: Token | None, after: Token | None,
        tokens: Sequence[Token], at: int, nested: bool,
    ) -> bool:  # fmt: skip
        """Whether a comma is one too many."""
        if after is not None and after.value == ",":
            self._remove(token, "REC115", "there is a comma too many")
            return True
        if previous is not None and previous.value in ("(", "["):
            self._remove(token, "REC115", "no value stands before this comma")
            return True
        if nested or not (after is None or _ends(after)):
            return False
        if after is not None and after.type == "NEWLINE" and _continues(tokens, at + 2):
            return False
        self._remove(token, "REC115", "nothing follows this comma")
        return True

    def _goes_on(self, previous: Token, tokens: Sequence[Token], at: int) -> bool:
        """Whether the statement before a newline goes on behind it; reported if so."""
        if previous.type == "NEWLINE" or at + 1 >= len(tokens):
            return False
        after = tokens[at + 1]
        hanging = previous.value in _JOINING and previous.type not in ("NAME", "BROKEN")
        if hanging and _continues(tokens, at + 1):
            where = span_of(previous)
        elif after.value in _LEADING and after.type != "NAME" and not _ends(previous) and (
            after.column > self.column
        ):  # fmt: skip
            where = span_of(after)
        else:
            return False
        edit = between(previous, after, " ")
        gap = self.text[edit.span.start : edit.span.end]
        fix = () if gap.strip() else (edit,)
        help = Mend("write it on one line, or put the value in `( )`", fix)
        message = "a statement ends with its line, and this one goes on"
        if self.joined is not None:
            # The next line of the same statement.
            span, mistake = self.result.found[self.joined]
            first = mistake.help.fix if isinstance(mistake.help, Mend) else ()
            both = (*first, *fix) if first and fix else ()
            help = evolve(help, fix=both)
            self.result.found[self.joined] = (span, evolve(mistake, help=help))
        else:
            self.joined = len(self.result.found)
            self._found(where, "REC121", message, help)
        return True

    # --- Statements -----------------------------------------------------------------------------

    def mend(self) -> None:
        tokens = self.result.tokens
        self.names.update(str(token) for token in tokens if token.type == "NAME")
        depth, begin = 0, 0
        first = True
        while begin < len(tokens):
            end = begin
            while end < len(tokens) and not _ends(tokens[end]):
                end += 1
            closing = tokens[end] if end < len(tokens) else None
            line = list(tokens[begin:end])
            if line:
                opens = closing is not None and closing.value == "{"
                ended = closing is None or closing.type == "NEWLINE"
                alone = ended and (begin == 0 or tokens[begin - 1].type == "NEWLINE")
                line = self._statement(line, opens, depth == 0, first, alone)
                first = False
            self.out += line
            if closing is not None:
                self.out.append(closing)
                depth += {"{": 1, "}": -1}.get(closing.value, 0)
            begin = end + 1

    def _statement(
        self, line: list[Token], opens: bool, outside: bool, first: bool, alone: bool
    ) -> list[Token]:
        if not opens and (prose := self._prose(line, alone)) is not None:
            return [prose]
        line = self._arguments(self._dots(self._dashes(line, opens)))
        kind = line[0].type
        if opens:
            return self._head(line)
        if first and (version := self._version(line)):
            return version
        if outside and kind == "NAME" and len(line) > 1:
            return self._keyword(line)
        return line

    def _prose(self, line: list[Token], alone: bool) -> Token | None:
        """A line of words, which was meant as a comment."""
        words = [token.value.isidentifier() for token in line[:40]]
        if len(words) < 4 or line[0].type != "NAME" or not words[1] or sum(words) < 4:
            return None
        kinds = [token.type for token in line[:40]]
        named = any(kinds[i : i + 3] == ["NAME"] * 3 for i in range(len(kinds)))
        if not named or sum(a and b for a, b in pairwise(words)) * 2 < len(words):
            return None
        place = across(line[0], line[-1])
        fix = (Edit(place.before, "# "),) if alone else ()
        help = Mend("if it is a comment, begin it with `#`", fix)
        mistake = Mistake("REC101", "these words are no statement", help=help)
        return broken(line[0], line[-1], mistake)

    def _arguments(self, line: list[Token]) -> list[Token]:
        """`with = adam lr=0.1`: a call without its brackets."""
        if len(line) < 6 or line[1].value != "=" or line[4].value != "=" or adjacent(line[0], line[1]):  # fmt: skip
            return line
        name, key = line[2], line[3]
        if name.type != "NAME" or key.type != "NAME" or not adjacent(key, line[4]):
            return line
        edits = (between(name, key, "("), Edit(span_of(line[-1]).behind, ")"))
        mistake = Mistake(
            "REC123", "arguments stand in `( )`", help=Mend(f"write `{name}(…)`", edits)
        )
        opening = slip(self.kinds["("], "(", span_of(key).before, mistake)
        closing = Token.new_borrow_pos(self.kinds[")"], ")", line[-1])
        return [*line[:3], opening, *line[3:], closing]

    def _dashes(self, line: list[Token], opens: bool) -> list[Token]:
        """`soft-suffix`: names are joined by `_`."""
        made: list[Token] = []
        at = 0
        while at < len(line):
            stop = at + 1
            while line[at].type == "NAME" and stop + 1 < len(line) and line[stop].value == "-" and (
                (line[stop + 1].value.isidentifier() or line[stop + 1].type == "NUMBER")
                and adjacent(line[stop - 1], line[stop]) and adjacent(line[stop], line[stop + 1])
            ):  # fmt: skip
                stop += 2
            after = line[stop].value if stop < len(line) else ""
            named = (at == 0 and after == "=") or (opens and at < 4) or after == "("
            if stop > at + 1 and named and not any(isinstance(t, Slip) for t in line[at:stop]):
                place = across(line[at], line[stop - 1])
                name = self.text[place.start : place.end].replace("-", "_").replace(".", "_")
                mistake = Mistake(
                    "REC122", "a name has no `-`", help=replace(place, name), why="`-` is minus"
                )
                made.append(slip("NAME", name, place, mistake))
                at = stop
            else:
                made.append(line[at])
                at += 1
        return made

    def _dots(self, line: list[Token]) -> list[Token]:
        """`torch.optim.Adam(…)`: a function has no module."""
        made: list[Token] = []
        for token in line:
            made.append(token)
            if token.value != "(" or len(made) < 4 or made[-3].value != ".":
                continue
            begin = len(made) - 2
            while begin > 1 and made[begin - 1].value == "." and made[begin - 2].type == "NAME":
                begin -= 2
            if begin < len(made) - 2 and all(t.type in ("NAME", "DOT") for t in made[begin:-1]):
                place = across(made[begin], made[-2])
                name = made[-2].lower()
                mistake = Mistake("REC122", "a function has no module", help=replace(place, name))
                made[begin:-1] = [slip("NAME", name, place, mistake)]
        return made

    def _head(self, line: list[Token]) -> list[Token]:
        """`attack "a" {`, `attack 2nd {`, `attack a b {`, `attack a extends b {`."""
        names = [i for i, token in enumerate(line) if token.value.isidentifier()]
        if line[0].type not in ("NAME", "STRING"):
            return line
        if line[0].type == "STRING":
            return [self._unquoted(line[0]), *line[1:]] if len(line) <= 2 else line
        if len(line) >= 2 and line[1].type == "STRING" and not isinstance(line[1], Slip):
            return [line[0], self._unquoted(line[1]), *line[2:]]
        if len(line) == 3 and line[1].type == "NUMBER" and line[2].type == "NAME" and adjacent(line[1], line[2]):  # fmt: skip
            place = across(line[1], line[2])
            name = self.text[place.start : place.end]
            mistake = Mistake("REC122", "a name begins with a letter", help=f"such as `a{name}`")
            return [line[0], slip("NAME", name, place, mistake)]
        if len(names) != len(line) or any(token.value == "like" for token in line[:-1]):
            return line
        if line[-1].value == "like":
            return line
        if len(line) == 4:
            word = line[2]
            mistake = Mistake(
                "REC119", f"`{word}` is written `like` here", help=replace(span_of(word), "like")
            )
            return [*line[:2], slip(self.kinds["like"], "like", span_of(word), mistake), line[3]]
        if len(line) == 3:
            place = across(line[1], line[2])
            joined = f"{line[1]}_{line[2]}"
            used = [
                w for w in (joined, str(line[2]), str(line[1])) if self.names[w] > (w != joined)
            ]
            name = used[0] if used else joined
            mistake = Mistake("REC122", "a name is one word", help=replace(place, name))
            return [line[0], slip("NAME", name, place, mistake)]
        return line

    def _unquoted(self, token: Token) -> Token:
        name = re.sub(r"\W+", "_", str(token)[1:-1]).strip("_")
        if not name.isidentifier():
            name = f"a_{name}".strip("_")
        mistake = Mistake(
            "REC122", "a name is written without quotation marks",
            help=replace(span_of(token), name),
        )  # fmt: skip
        return slip("NAME", name, span_of(token), mistake)

    def _version(self, line: list[Token]) -> list[Token] | None:
        """The first line of a file, if it is nearly `recoverdsl 1`."""
        word = line[0]
        meant = word.type == "RECOVERDSL" or (
            word.type == "NAME" and len(line) <= 3 and not any(t.value == "=" for t in line)
            and (did_you_mean(word, ["recoverdsl"]) or word.value.lower() == "version")
        )  # fmt: skip
        if not meant:
            return None
        if word.type == "RECOVERDSL" and len(line) == 2 and line[1].type == "NUMBER":
            return None
        place = across(line[0], line[-1])
        mistake = Mistake(
            "REC112", "this is not how the version is written",
            help=replace(place, "recoverdsl 1"),
        )  # fmt: skip
        number = Token.new_borrow_pos("NUMBER", "1", line[-1])
        return [slip(self.kinds["recoverdsl"], "recoverdsl", place, mistake), number]

    def _keyword(self, line: list[Token]) -> list[Token]:
        """`expct rate(a) < 5%`, `audti "…"`, `let k = 3`: a first word that is nearly known."""
        word, second = line[0], line[1]
        third = line[2].value if len(line) > 2 else ""
        meant = None
        if second.type == "STRING" and len(line) == 2:
            meant = did_you_mean(word, ["audit"])
        elif second.type == "NAME" and third == "(" and any(t.value in _COMPARISONS for t in line):
            meant = "expect"
        elif second.type == "NAME" and third == "=":
            meant = "param"
        if meant is None:
            return line
        mistake = Mistake(
            "REC119", f"`{word}` begins no statement", help=replace(span_of(word), meant)
        )
        return [slip(self.kinds[meant], meant, span_of(word), mistake), *line[1:]]


def _assigns(tokens: Sequence[Token], at: int) -> bool:
    """Whether `key =` stands there."""
    return at + 1 < len(tokens) and tokens[at].type == "NAME" and tokens[at + 1].value == "="


def _continues(tokens: Sequence[Token], at: int) -> bool:
    """Whether the line that begins there is a value, and no statement of its own."""
    if at >= len(tokens) or tokens[at].type not in _VALUES:
        return False
    if tokens[at].type != "NAME":
        return True
    if at + 1 < len(tokens) and tokens[at + 1].type in ("NAME", "NUMBER", "STRING"):
        return False
    for token in tokens[at + 1 : at + 40]:
        if token.value in ("=", "{"):
            return False
        if not (token.value.isidentifier() or token.value in (".", "[", "]") or token.type == "NUMBER"):  # fmt: skip
            break
    return True
