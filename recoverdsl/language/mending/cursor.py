"""A walk over tokens that writes down what is meant by them."""

from __future__ import annotations

from collections.abc import Mapping

from lark import Token

from recoverdsl.language.diagnostics import replace
from recoverdsl.language.tokens import Mistake, Tokens, across, adjacent, broken, slip


class Cursor:
    """The tokens as written, and those that are meant so far.

    A rule is given the place of a token and puts what it and perhaps some behind it mean; it says
    how many it took, and 0 if it has nothing to say about them.

    Args:
        result: the tokens, and where mistakes go that no token can carry.
        text: the source.
        kinds: words and signs of the grammar, each with its type of token.
    """

    def __init__(self, result: Tokens, text: str, kinds: Mapping[str, str]) -> None:
        self.tokens, self.found, self.text, self.kinds = result.tokens, result.found, text, kinds
        self.out: list[Token] = []
        self.comments_end = True
        """Whether a `*/` may still come."""

    # --- Looking around -----------------------------------------------------------------------

    def peek(self, at: int) -> Token | None:
        """A token, if there is one."""
        return self.tokens[at] if 0 <= at < len(self.tokens) else None

    def next(self, at: int, value: str) -> bool:
        """Whether that sign stands right behind a token."""
        after = self.peek(at + 1)
        return after is not None and after.value == value and adjacent(self.tokens[at], after)

    def previous(self) -> Token | None:
        """The token that was put last."""
        return self.out[-1] if self.out else None

    def begins(self) -> bool:
        """Whether the next token begins a statement."""
        previous = self.previous()
        return previous is None or previous.type == "NEWLINE" or previous.value in ("{", "}", ";")

    def second(self) -> bool:
        """Whether the next token is the second of a statement or an argument, behind a name."""
        return bool(self.out) and self.out[-1].value.isidentifier() and self.second_text()

    def first_word(self) -> bool:
        """Whether the last word that was put begins a statement."""
        before = self.out[-2] if len(self.out) > 1 else None
        return before is None or before.type == "NEWLINE" or before.value in ("{", "}", ";")

    def second_text(self) -> bool:
        """Whether what was put last begins a statement or an argument."""
        before = self.out[-2] if len(self.out) > 1 else None
        return before is None or before.type == "NEWLINE" or before.value in ("{", "}", ";", "(", ",")  # fmt: skip

    def line_end(self, at: int) -> int:
        """Where the line of a token ends."""
        while at < len(self.tokens) and self.tokens[at].type != "NEWLINE":
            at += 1
        return at

    # --- Putting something in place -----------------------------------------------------------

    def put(self, value: str, at: int, taken: int, mistake: Mistake) -> int:
        """Put a word or sign in place of some tokens."""
        place = across(self.tokens[at], self.tokens[at + taken - 1])
        self.out.append(slip(self.kinds[value], value, place, mistake))
        return taken

    def sign(self, value: str, at: int, taken: int) -> int:
        """Put a sign or word that was written otherwise."""
        place = across(self.tokens[at], self.tokens[at + taken - 1])
        written = self.text[place.start : place.end]
        tight = self.text[place.start - 1 : place.start].isalnum()
        spaced = value.isalpha() and self.text[place.end : place.end + 1].strip()
        text = f"{' ' * (tight and value.isalpha())}{value}{' ' * bool(spaced)}"
        mistake = Mistake(
            "REC116", f"`{written}` is written `{value}` here",
            help=replace(place, text, f"write `{value}`"),
        )  # fmt: skip
        return self.put(value, at, taken, mistake)

    def number(self, number: str, at: int, taken: int) -> int:
        """Put a number that was written otherwise."""
        place = across(self.tokens[at], self.tokens[at + taken - 1])
        written = self.text[place.start : place.end]
        mistake = Mistake(
            "REC117", f"`{written}` is not how a number is written", help=replace(place, number)
        )
        self.out.append(slip("NUMBER", number, place, mistake))
        return taken

    def broken(self, at: int, taken: int, mistake: Mistake) -> int:
        """Put something that can be no part of a statement."""
        self.out.append(broken(self.tokens[at], self.tokens[at + taken - 1], mistake))
        return taken
