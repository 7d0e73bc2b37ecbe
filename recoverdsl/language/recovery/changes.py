"""The changes of a line of which one may make it readable: one table, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from attrs import field, frozen
from lark import Token

from recoverdsl.language.diagnostics.diagnostic import Edit, Help
from recoverdsl.language.diagnostics.suggestions import distance
from recoverdsl.language.recovery.lines import CLOSER, OPENER
from recoverdsl.language.recovery.mistakes import Mistake
from recoverdsl.language.syntax import grammar
from recoverdsl.language.syntax.nodes import Span
from recoverdsl.language.syntax.tokens import adjacent, placed, span_of

_VALUES = frozenset(["NAME", "NUMBER", "STRING", "LPAR", "LSQB", "TRUE", "FALSE", "NOT", "MINUS"])
_SYNONYMS = {
    "on": "at", "but": "except", "without": "except", "minus": "except", "assert": "expect",
    "let": "param", "extends": "like", "using": "by", "with": "by", "as": "by",
}  # fmt: skip
_COMPARISONS = frozenset(["<", "<=", ">", ">=", "==", "!="])


@frozen
class Change:
    """Signs or words put in, taken out or replaced, and what is said about it."""

    code: str
    message: str
    help: str
    at: Span | None = None
    """The place that is marked, if that is not the change."""
    replaced: Mapping[int, str] = field(factory=dict)
    """Places of tokens to what they are replaced by; empty where they are taken out."""
    inserted: Mapping[int, str] = field(factory=dict)
    """Places of tokens to what is put before them."""
    fixes: bool = True
    """Whether a program may do it."""

    def apply(self, line: Sequence[Token]) -> list[Token]:
        """Return the line with the change made."""
        made: list[Token] = []
        for i in range(len(line) + 1):
            if text := self.inserted.get(i, ""):
                made += _tokens(text, _before(line, i))
            if i < len(line) and i not in self.replaced:
                made.append(line[i])
            elif i < len(line) and self.replaced[i]:
                made += _tokens(self.replaced[i], span_of(line[i]))
        return made

    def mistake(self, line: Sequence[Token]) -> Mistake:
        """Return what is reported."""
        edits = [Edit(span_of(line[i]), text) for i, text in self.replaced.items()]
        edits += [_insertion(line, i, text) for i, text in self.inserted.items()]
        edits.sort(key=lambda edit: edit.span.start)
        first = edits[0].span
        return Mistake(
            self.code, self.message, self.at or first,
            Help(self.help, tuple(edits)) if self.fixes else self.help,
        )  # fmt: skip


def _tokens(text: str, at: Span) -> list[Token]:
    return [placed(t.type, t.value, at) for t in grammar.lexed(text) if t.type != "SPACE"]


def _before(line: Sequence[Token], i: int) -> Span:
    return span_of(line[i]).before if i < len(line) else span_of(line[-1]).after


def _insertion(line: Sequence[Token], i: int, text: str) -> Edit:
    if i == 0:
        return Edit(span_of(line[0]).before, text)
    after = span_of(line[i - 1]).after
    if text == "=":
        glued = i < len(line) and adjacent(line[i - 1], line[i])
        return Edit(after, " = " if glued else " =")
    if text == "(" and i < len(line):
        return Edit(after.to(span_of(line[i]).before), text)
    return Edit(after, text)


@frozen
class Stop:
    """The place of a line at which the parser takes no token, and what it would take."""

    line: Sequence[Token]
    at: int
    accepted: frozenset[str]
    inside: bool
    """Whether this is inside a block."""

    def token(self, by: int = 0) -> Token | None:
        """Return the token that was not taken, or one before or after it."""
        at = self.at + by
        return self.line[at] if 0 <= at < len(self.line) else None

    @property
    def found(self) -> str:
        """Return what stands there, in a person's words."""
        token = self.token()
        return "the end of the line" if token is None else f"`{shown(token)}`"


def shown(token: Token) -> str:
    """Return a token as messages quote it."""
    text = str(token)
    return text if len(text) <= 30 else f"{text[:29]}…"


# --- Signs that are missing or too many -----------------------------------------------------------


def _equals(stop: Stop) -> Iterator[Change]:
    line, at = stop.line, stop.at
    here, before = stop.token(), stop.token(-1)
    if here is not None and here.value == "=":
        if before is not None and before.value == "=":
            yield Change(
                "REC114", "expected a value, found another `=`", "remove it", replaced={at: ""}
            )
        if line[0].type == "EXPECT":
            # The checker knows which comparison is possible here.
            yield Change("", "", "", replaced={at: "=="})
    # `when active`, `adam(lr 0.1)`, `param k 3`: up to two words may have been taken already.
    for place in (at or 1, at - 1) if stop.inside or line[0].type == "PARAM" else (at,):
        if 0 < place < len(line) and line[place - 1].value.isidentifier():
            name, value = line[place - 1], line[place]
            if value.type in _VALUES and not (place == 1 and not stop.inside):
                yield Change(
                    "REC114", f"expected `=` between `{name}` and its value, found `{shown(value)}`",
                    "write `=` between a name and its value", span_of(name).to(span_of(value)), inserted={place: "="},
                )  # fmt: skip


def _commas(stop: Stop) -> Iterator[Change]:
    line, at = stop.line, stop.at
    semicolons = {i: "," for i, token in enumerate(line) if token.value == ";"}
    if semicolons:
        yield Change("REC115", "expected `,` between values, found `;`", "write `,`", replaced=semicolons)  # fmt: skip
    for place in (at, at - 1):
        if 0 <= place < len(line) and line[place].value == ",":
            yield Change("REC115", f"expected a value, found {_after(line, place)}", "remove the comma", span_of(line[place]), {place: ""})  # fmt: skip
    nested = not stop.accepted.isdisjoint(("RPAR", "RSQB"))
    if (
        nested
        and at < len(line)
        and line[at].type in _VALUES
        and not adjacent(line[at - 1], line[at])
    ):
        yield Change("REC115", f"expected `,`, found {stop.found}", "separate values by `,`", span_of(line[at]), inserted={at: ","})  # fmt: skip


def _after(line: Sequence[Token], at: int) -> str:
    return f"`{shown(line[at + 1])}`" if at + 1 < len(line) else "the end of the line"


def _words(stop: Stop) -> Iterator[Change]:
    """Return a word that is nearly one of the grammar, or is written for it in other languages."""
    known = {kind: word for word, kind in grammar.words().items()}
    for at in dict.fromkeys((stop.at, 0)):
        token = stop.line[at] if at < len(stop.line) else None
        if token is None or not token.value.isidentifier():
            continue
        accepted = {known.get(kind, "") for kind in stop.accepted} if at else set(known.values())
        words = sorted(word for word in accepted if word.isidentifier())
        most = 1 if len(token) < 5 else 2
        near = {word: distance(token.lower(), word, most) for word in words}
        ranked = sorted((near[word], word) for word in words if near[word] <= most)
        meant = [_SYNONYMS.get(token.lower(), ""), *(word for _, word in ranked)]
        for word in (word for word in meant if word in accepted and word):
            yield Change("REC119", f"expected `{word}`, found `{token}`", f"did you mean `{word}`?", replaced={at: word})  # fmt: skip


def _by(stop: Stop) -> Iterator[Change]:
    """`expect … by`, without one of the words that follow it."""
    here, after = stop.token(), stop.token(1)
    if here is None or here.value != "by" or stop.line[0].type != "EXPECT":
        return
    yield Change(
        "REC101", f"expected a word after `by`, found {_after(stop.line, stop.at)}",
        "write `by estimate`, or nothing: an expectation is judged by the interval", span_of(after or here),
        {stop.at: "by estimate"} | ({stop.at + 1: ""} if after else {}), fixes=False,
    )  # fmt: skip


# --- Brackets -------------------------------------------------------------------------------------


def _brackets(stop: Stop) -> Iterator[Change]:
    """Return the brackets of a line, of which one lacks its partner or is of another kind."""
    line = stop.line
    stack: list[int] = []
    pairs: list[tuple[int, int]] = []
    surplus: list[int] = []
    for i, token in enumerate(line):
        if token.value in CLOSER:
            stack.append(i)
        elif token.value in OPENER:
            if stack:
                pairs.append((stack.pop(), i))
            else:
                surplus.append(i)
    yield from _other_pairs(line, pairs, stop.at)
    yield from _turned(line, stack, surplus)
    if stack:
        yield from _unclosed(line, stack)
    if surplus:
        yield from _unopened(line, surplus[0])


def _other_pairs(line: Sequence[Token], pairs: Sequence[tuple[int, int]], at: int) -> Iterator[Change]:  # fmt: skip
    for first, last in pairs:
        opener, closer = line[first].value, line[last].value
        if CLOSER[opener] != closer:
            for kept, put, other in ((first, last, CLOSER[opener]), (last, first, OPENER[closer])):
                if "{" not in line[kept].value and "}" not in line[kept].value:
                    yield Change("REC105" if "{" not in (opener, OPENER[closer]) else "REC123",
                                 f"expected `{other}`, found `{line[put]}`", f"write `{other}`", replaced={put: other})  # fmt: skip
    wanted = {
        "[]": "expected a list in `[ ]`, found `{0}`", "()": "expected arguments in `( )`, found `{0}`",
        "": "expected a value without braces, found `{0}`",
    }  # fmt: skip
    for first, last in sorted(pairs, reverse=True):
        if CLOSER[line[first].value] != line[last].value or not (first <= at <= last + 1 or line[first].value == "{"):  # fmt: skip
            continue
        for pair, message in wanted.items():
            if pair[:1] != line[first].value and (pair or line[first].value == "{"):
                opener, closer = pair[:1], pair[1:]
                help = f"write `{opener}…{closer}`" if pair else "remove them"
                layer = first > 1 and line[first - 2].value == "."
                said = "expected the number of a layer in `[ ]`, found `{0}`" if layer else message
                yield Change("REC123", said.format(line[first]), help, span_of(line[first]), {first: opener, last: closer})  # fmt: skip


def _turned(line: Sequence[Token], stack: Sequence[int], surplus: Sequence[int]) -> Iterator[Change]:  # fmt: skip
    """`wilson]95%)`, `[first, last{`: a bracket that looks the wrong way."""
    for i in (*stack[::-1], *surplus):
        token = line[i]
        others = OPENER if token.value in CLOSER else CLOSER
        for other in others:
            if "{" not in other and "}" not in other and i > 0 and adjacent(line[i - 1], token):
                yield Change("REC123", f"expected `{other}`, found `{token}`", f"write `{other}`", replaced={i: other})  # fmt: skip


def _unclosed(line: Sequence[Token], stack: Sequence[int]) -> Iterator[Change]:
    first = stack[0]
    opener = line[stack[-1]].value
    closers = "".join(CLOSER[line[i].value] for i in reversed(stack))
    message = f"this `{line[first]}` is not closed"
    if len(stack) > 1:
        message += f", nor {'is' if len(stack) == 2 else 'are'} the {len(stack) - 1} within it"
    close = partial(Change, "REC105", message, f"add `{closers}`", span_of(line[first]))
    if len(stack) == 1:
        inner = stack[-1]
        if inner + 1 < len(line) and line[inner + 1].value == opener and adjacent(line[inner], line[inner + 1]):  # fmt: skip
            yield Change("REC105", f"expected a value, found another `{opener}`", "remove it", replaced={inner: ""})  # fmt: skip
        if inner and line[inner - 1].value == opener and adjacent(line[inner - 1], line[inner]):
            yield Change("REC105", f"expected a value, found another `{opener}`", "remove it", replaced={inner: ""})  # fmt: skip
        # An index ends with its number, what `expect` compares before its comparison, a list before `except`.
        ends = _COMPARISONS if line[0].type == "EXPECT" else {"except"} if opener == "[" else set()
        early = [i for i in range(inner + 1, len(line)) if line[i].value in ends]
        if opener == "[" and inner + 2 < len(line) and line[inner + 2].value == ".":
            early.insert(0, inner + 2)
        for place in early:
            yield close(inserted={place: closers})
    for place in range(len(line), stack[-1], -1):
        yield close(inserted={place: closers})


def _unopened(line: Sequence[Token], closer: int) -> Iterator[Change]:
    opener = OPENER[line[closer].value]
    message, at = f"this `{line[closer]}` is not opened", span_of(line[closer])
    yield Change("REC105", message, "remove it", at, replaced={closer: ""})
    for place in range(closer, 0, -1):
        if line[place - 1].type == "NAME":
            help = f"add a `{opener}` after `{line[place - 1]}`"
            yield Change("REC105", message, help, at, inserted={place: opener})


# --- All of them ----------------------------------------------------------------------------------

TABLE: tuple[Callable[[Stop], Iterator[Change]], ...] = (_brackets, _equals, _commas, _by, _words)


def changes(stop: Stop) -> Iterator[Change]:
    """Yield the changes that may make a line readable."""
    for row in TABLE:
        yield from row(stop)
