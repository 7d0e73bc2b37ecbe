"""Where the parser stops: what one token would mend, and what to say where none does."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from attrs import frozen
from lark import Lark, Token

from recoverdsl.language.diagnostics import Edit, Mend, replace
from recoverdsl.language.diagnostics.suggestions import distance
from recoverdsl.language.syntax.nodes import Span
from recoverdsl.language.tokens import (
    Mended,
    Mistake,
    across,
    adjacent,
    between,
    span_of,
)

ENDS = ("NEWLINE", "SEMICOLON")
_KINDS = {
    "NAME": "a name", "NUMBER": "a number", "STRING": "a text in quotes",
    "NEWLINE": "a new line", "$END": "the end of the file",
}  # fmt: skip
_VALUE = frozenset({"NUMBER", "STRING", "NAME", "LPAR", "LSQB", "TRUE", "FALSE", "NOT", "MINUS"})
_OPERATORS = frozenset(
    ["or", "and", "at", "except", "of", "..", "<", "<=", ">", ">=", "==", "+", "-", "*", "/"]
)
_SYNONYMS = {"on": "at", "@": "at", "but": "except", "without": "except", "minus": "except"}
_COMPARISONS = frozenset(["<", "<=", ">", ">=", "=="])


@frozen
class Repair:
    """Tokens to feed so that a statement goes on, and what is reported about it."""

    tokens: tuple[Token, ...]
    at: int
    """The token to go on with."""
    mistake: Mistake | None
    span: Span
    anew: bool = False
    """Whether the statement is begun anew with the first of the tokens."""


@frozen
class Stop:
    """A place at which the parser takes no token: what it would take, and where that is."""

    accepted: Collection[str]
    tokens: Sequence[Token]
    began: int
    """The first token of the statement."""
    at: int
    fresh: bool
    """Whether a statement is expected."""
    inside: bool
    """Whether this is inside a block."""
    text: str
    """The source."""

    def written(self, token: Token) -> str:
        """A token as it is written, which is not always as it is meant."""
        return self.text[token.start_pos : token.end_pos] or str(token)

    def token(self, by: int = 0) -> Token | None:
        """The token that was not taken, or one before or behind it."""
        at = self.at + by
        return self.tokens[at] if 0 <= at < len(self.tokens) else None

    def kind(self, by: int = 0) -> str:
        """Its type; a new line for what is beyond the end."""
        token = self.token(by)
        return "NEWLINE" if token is None else str(token.type)

    def value(self, by: int = 0) -> str:
        """What it says."""
        token = self.token(by)
        return "\n" if token is None else str(token)

    def two_names(self) -> bool:
        """Whether two names are all that was taken of the statement."""
        names = [t.type == "NAME" for t in self.tokens[self.began : self.began + 2]]
        return self.at == self.began + 2 and all(names)


class Repairs:
    """What the words of the grammar tell about the places where the parser stops."""

    def __init__(self, lark: Lark) -> None:
        self.words = {t.name: t.pattern.value for t in lark.terminals if t.pattern.type == "str"}
        self.kinds = {word: name for name, word in self.words.items()}

    # --- One token more, or another -------------------------------------------------------------

    def find(self, stop: Stop) -> Repair | None:
        """The token that mends a statement; None if there is no such thing."""
        token = stop.token()
        if token is None or stop.kind() in ENDS or stop.value() == "}":
            return self._second_name_is_a_value(stop)
        if stop.fresh:
            return self._keyword_is_a_key(stop)
        return (
            self._two_statements(stop)
            or self._missing_equals(stop)
            or self._missing_comma(stop)
            or self._misspelled(stop)
            or self._second_equals(stop)
            or self._second_name_is_a_value(stop)
            or self._keyless(stop)
        )

    def _two_statements(self, stop: Stop) -> Repair | None:
        token, previous = stop.token(), stop.token(-1)
        assert token is not None and previous is not None
        if "NEWLINE" not in stop.accepted or not _starts_statement(stop):
            return None
        mistake = Mistake(
            "REC104",
            f"`{token}` begins a new statement on the same line",
            help=Mend(
                "write it on a new line, or put `;` before it", (between(previous, token, "; "),)
            ),
            related=((span_of(previous), "the statement before it ends here"),),
        )
        return Repair((Token.new_borrow_pos("SEMICOLON", ";", token),), stop.at, mistake, span_of(token))  # fmt: skip

    def _equals(self, name: Token, value: Token) -> Mistake:
        place = span_of(name).behind
        glued = adjacent(name, value)
        return Mistake(
            "REC114", f"`=` is missing behind `{name}`",
            help=Mend("write `=` between a name and its value", (Edit(place, " = " if glued else " ="),)),
            span=across(name, value),
        )  # fmt: skip

    def _missing_equals(self, stop: Stop) -> Repair | None:
        token, previous = stop.token(), stop.token(-1)
        assert token is not None and previous is not None
        if "EQUAL" not in stop.accepted or previous.type != "NAME" or stop.kind() not in _VALUE:
            return None
        argument = stop.value(-2) in ("(", ",") and stop.kind() == "NAME" and stop.value(1) == "("
        if stop.kind() == "NAME" and not argument and stop.kind(-2) != "PARAM":
            return None
        if stop.at == stop.began + 1 and not stop.inside:
            return None
        equal = Token.new_borrow_pos("EQUAL", "=", token)
        return Repair((equal,), stop.at, self._equals(previous, token), span_of(token))

    def _second_name_is_a_value(self, stop: Stop) -> Repair | None:
        """`when active`, `find smallest_norm()`: what was taken for a block is an attribute."""
        if not stop.inside or not stop.two_names() or stop.kind() in ("NAME", "LBRACE", "EQUAL"):
            return None
        name, value = stop.tokens[stop.began], stop.tokens[stop.began + 1]
        equal = Token.new_borrow_pos("EQUAL", "=", value)
        mistake = self._equals(name, value)
        return Repair((name, equal), stop.began + 1, mistake, span_of(value), anew=True)

    def _keyword_is_a_key(self, stop: Stop) -> Repair | None:
        """`in mid`, where `in = mid` is meant."""
        token, after = stop.token(), stop.token(1)
        if token is None or after is None or not stop.inside or not token.value.isidentifier():
            return None
        if after.type not in _VALUE:
            return None
        name = Token.new_borrow_pos("NAME", str(token), token)
        equal = Token.new_borrow_pos("EQUAL", "=", after)
        return Repair((name, equal), stop.at + 1, self._equals(token, after), span_of(token))

    def _missing_comma(self, stop: Stop) -> Repair | None:
        token, previous = stop.token(), stop.token(-1)
        assert token is not None and previous is not None
        closers = {"RPAR", "RSQB"}
        if "COMMA" not in stop.accepted or closers.isdisjoint(stop.accepted):
            return None
        glued = adjacent(previous, token) and previous.type in ("NUMBER", "NAME")
        if stop.kind() not in _VALUE or glued:
            return None
        misspelled = self._misspelled(stop)
        if misspelled is not None and stop.kind(1) in _VALUE:
            return misspelled
        place = span_of(previous).behind
        mistake = Mistake(
            "REC115", f"`,` is missing before `{_short(token)}`",
            help=Mend("values are separated by `,`", (Edit(place, ","),)),
        )  # fmt: skip
        comma = Token.new_borrow_pos("COMMA", ",", token)
        return Repair((comma,), stop.at, mistake, span_of(token))

    def _misspelled(self, stop: Stop) -> Repair | None:
        token = stop.token()
        if token is None or token.type != "NAME":
            return None
        most = 1 if len(token) < 5 else 2
        accepted = [w for w in (self.words.get(t, "") for t in stop.accepted) if w.isidentifier()]
        ranked = sorted((distance(token.lower(), word, most), word) for word in accepted)
        if (synonym := _SYNONYMS.get(token.lower())) in accepted and synonym:
            ranked = [(0, synonym)]
        if not ranked or ranked[0][0] > most or (len(ranked) > 1 and ranked[1][0] == ranked[0][0]):
            return None
        word = ranked[0][1]
        mistake = Mistake(
            "REC119", f"`{token}` cannot stand here",
            help=replace(span_of(token), word, f"did you mean `{word}`?"),
        )  # fmt: skip
        put = Token.new_borrow_pos(self.kinds[word], word, token)
        return Repair((put,), stop.at + 1, mistake, span_of(token))

    def _second_equals(self, stop: Stop) -> Repair | None:
        token, previous = stop.token(), stop.token(-1)
        if token is None or token.value != "=":
            return None
        if stop.value(-1) == "=":
            mistake = Mistake(
                "REC114", "one `=` is enough", help=Mend("remove it", (Edit(span_of(token), ""),))
            )
            return Repair((), stop.at + 1, mistake, span_of(token))
        # Before `=` a word of the language is a name, and before `==` it is none.
        word = previous is not None and previous.isidentifier() and previous.value in self.kinds
        if self.kinds["=="] in stop.accepted and not word:
            # The checker knows what may be compared here, and with what.
            put = Token.new_borrow_pos(self.kinds["=="], "==", token)
            return Repair((put,), stop.at + 1, None, span_of(token))
        return None

    def _keyless(self, stop: Stop) -> Repair | None:
        """`norm <= 20`: a condition that lacks its attribute, which the checker can tell."""
        if not stop.inside or stop.value() not in _COMPARISONS or stop.at != stop.began + 1:
            return None
        name = stop.tokens[stop.began]
        equal = Mended.new_borrow_pos("EQUAL", "=", name)
        return Repair((name, equal), stop.began, None, span_of(name), anew=True)

    # --- What to say ----------------------------------------------------------------------------

    def complaint(self, stop: Stop) -> Mistake:
        """What is wrong where nothing mends it."""
        token, previous = stop.token(), stop.token(-1)
        if token is not None and previous is not None and previous.type == "NUMBER" and (
            adjacent(previous, token) and (token.value.isidentifier() or token.type == "DOT")
        ):  # fmt: skip
            run = stop.written(previous) + stop.written(token)
            return Mistake(
                "REC117", f"`{_cut(run)}` is no number", span=across(previous, token),
                help="write a plain number; a text stands in quotation marks",
            )  # fmt: skip
        if prose := self._prose(stop):
            return prose
        expected = self._expected(stop)
        help = f"expected {expected}" if expected else None
        if token is None or token.type in ENDS:
            # An excerpt that marks a line end shows nothing, so what came before it is marked.
            where = previous or token
            message = "the statement ends too early"
            if token is None:
                message = "the file ends in the middle of a statement"
            return Mistake("REC101", message, help=help, span=span_of(where) if where else None)
        if token.type not in ("NAME", "NUMBER", "STRING") and token.value.isidentifier():
            message = f"`{token}` is a word of the language and cannot stand here"
        else:
            message = f"`{_cut(stop.written(token))}` cannot stand here"
        return Mistake("REC101", message, help=help)

    def _prose(self, stop: Stop) -> Mistake | None:
        """A line of words."""
        end = stop.began
        while end < len(stop.tokens) and stop.tokens[end].value.isidentifier():
            end += 1
        if end - stop.began < 3 or stop.at > end or stop.tokens[stop.began].type != "NAME":
            return None
        stops = next(
            (t for t in stop.tokens[end : end + 100] if t.type in ENDS or t.value in "{}"), None
        )
        if end < len(stop.tokens) and (
            stop.tokens[end].value == "=" or (stops is not None and stops.value == "{")
        ):
            return None
        place = across(stop.tokens[stop.began], stop.tokens[end - 1])
        alone = stop.began == 0 or stop.tokens[stop.began - 1].type == "NEWLINE"
        alone = alone and (stops is None or stops.type == "NEWLINE")
        fix = (Edit(place.before, "# "),) if alone else ()
        help = Mend("if it is a comment, begin it with `#`", fix)
        return Mistake("REC101", "these words are no statement", help=help, span=place)

    def _expected(self, stop: Stop) -> str:
        """What could have come, in a person's words."""
        accepted = set(stop.accepted) - {"BROKEN"}
        if accepted >= _VALUE - {"MINUS", "NOT"}:
            return "a value"
        if stop.two_names():
            name = stop.tokens[stop.began]
            return f"`=` behind `{name}` if this is an attribute, or `{{` if it is a block"
        if stop.fresh:
            return "a statement, such as `attack name {` or `key = value`"
        if stop.at == stop.began + 1 and "EQUAL" in accepted:
            return f"`=` behind `{stop.tokens[stop.began]}`"
        phrases = []
        ends = accepted & {"NEWLINE", "SEMICOLON"}
        accepted -= {name for name in accepted if self.words.get(name) in _OPERATORS}
        accepted -= {"DOT", "LSQB", "LPAR"} if ends else set()
        if ends:
            accepted -= {"NEWLINE", "SEMICOLON", "$END"}
            phrases.append("a new line or `;`")
        phrases += sorted(_KINDS.get(name) or f"`{self.words[name]}`" for name in accepted)
        *most, last = phrases or ["something else"]
        return f"{', '.join(most)} or {last}" if most else last


def _starts_statement(stop: Stop) -> bool:
    kinds = [stop.kind(by) for by in range(3)]
    if kinds[0] in ("EXPECT", "PARAM", "AUDIT"):
        return True
    heads = not {"LBRACE", "LIKE"}.isdisjoint(kinds[1:3])
    return kinds[0] == "NAME" and (heads or kinds[1] == "EQUAL")


def _short(token: Token) -> str:
    return _cut(str(token))


def _cut(text: str) -> str:
    return text if len(text) <= 30 else text[:29] + "…"
