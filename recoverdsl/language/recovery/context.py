"""The tokens before a place, on which it depends how a sign is read."""

from __future__ import annotations

from lark import Token

_OPENS = frozenset(["{", "}", ";"])
_PARTS = frozenset(["(", ","])
_OPERANDS = frozenset(
    [
        "=",
        "(",
        ",",
        "[",
        "<",
        "<=",
        ">",
        ">=",
        "==",
        "!=",
        "+",
        "-",
        "*",
        "/",
        "..",
        "and",
        "or",
        "not",
    ]
)
_NO_EQUALS = frozenset(["RECOVERDSL", "AUDIT", "EXPECT"])


def ends(token: Token) -> bool:
    """Tell whether a statement ends with a token."""
    return token.type == "NEWLINE" or token.value in _OPENS


class Context:
    """The tokens of a text up to a place."""

    def __init__(self) -> None:
        self.tokens: list[Token] = []
        self.open: list[str] = []
        """The brackets that are open in the statement at hand."""
        self.began = 0
        """The first token of the statement at hand."""
        self.only_newlines = True
        """Whether nothing but newlines has been taken."""

    def take(self, token: Token) -> None:
        """Add the next token."""
        self.tokens.append(token)
        self.only_newlines = self.only_newlines and token.type == "NEWLINE"
        if ends(token):
            self.open.clear()
            self.began = len(self.tokens)
        elif token.value in ("(", "["):
            self.open.append(token.value)
        elif token.value in (")", "]") and self.open:
            self.open.pop()

    def begins(self) -> bool:
        """Tell whether a statement begins here."""
        return self.began == len(self.tokens)

    def second(self) -> bool:
        """Tell whether this follows the first word of a statement."""
        return self.began == len(self.tokens) - 1 and self._follows_word()

    def third(self) -> bool:
        """Tell whether this follows the first two words of a statement."""
        return self.began == len(self.tokens) - 2 and self._follows_word()

    def begins_part(self) -> bool:
        """Tell whether a statement or an argument begins here."""
        return self.begins() or self.tokens[-1].value in _PARTS

    def begins_argument(self) -> bool:
        """Tell whether the first argument of a call begins here."""
        return not self.begins() and bool(self.tokens[-1].value == "(")

    def second_of_argument(self) -> bool:
        """Tell whether this follows the first word of an argument, or of a param."""
        if len(self.tokens) - self.began < 2 or not self._follows_word():
            return False
        return self.tokens[-2].value in _PARTS or self.tokens[-2].type == "PARAM"

    def begins_value(self) -> bool:
        """Tell whether a value begins here."""
        return not self.begins() and self.tokens[-1].value in ("=", "(", ",")

    def begins_operand(self) -> bool:
        """Tell whether an operand begins here."""
        return not self.begins() and self.tokens[-1].value in _OPERANDS

    def in_value(self) -> bool:
        """Tell whether this is within a value."""
        return len(self.tokens) - self.began > 1

    def in_brackets(self) -> bool:
        """Tell whether a bracket of the statement at hand is open."""
        return bool(self.open)

    def in_value_without_brackets(self) -> bool:
        """Tell whether this is within a value, and in no bracket."""
        return self.in_value() and not self.open

    def follows_audit(self) -> bool:
        """Tell whether the text of an audit is to follow."""
        return self.second() and self.tokens[-1].type == "AUDIT"

    def follows_norm(self) -> bool:
        """Tell whether this bounds a norm, which is only ever bounded from above."""
        return not self.begins() and bool(self.tokens[-1].value == "norm")

    def needs_no_equals(self) -> bool:
        """Tell whether this follows the first word of a statement that takes no `=`."""
        return self.second() and self.tokens[-1].type in _NO_EQUALS

    def in_head(self) -> bool:
        """Tell whether this may be the name in the head of a block."""
        return 0 < len(self.tokens) - self.began <= 3 and self._words()

    def ends_head(self) -> bool:
        """Tell whether the head of a block may end here."""
        return 0 < len(self.tokens) - self.began <= 4 and self._words()

    def begins_version(self) -> bool:
        """Tell whether the version of the language is to stand here."""
        return self.only_newlines

    def is_special(self) -> bool:
        """Tell whether this is a place where any word may be the beginning of something else."""
        return self.only_newlines or self.follows_audit()

    def _follows_word(self) -> bool:
        return bool(self.tokens) and bool(self.tokens[-1].value.isidentifier())

    def _words(self) -> bool:
        return all(token.value.isidentifier() for token in self.tokens[self.began : self.began + 8])
