"""How deep values and blocks nest."""

from __future__ import annotations

from lark import Token

DEEPEST = 60
"""How deep values and blocks nest. Everything after the parser may recurse without a guard."""

_OPERATORS = frozenset(
    ["or", "and", "not", "at", "except", "of", "..", "<", "<=", ">", ">=", "==", "!=", "+", "-", "*", "/", ".", "[", "="]
)  # fmt: skip


class Nesting:
    """Counts the depth of a text, token by token.

    A chain of operators nests as well: `a + b + c` is two deep. Counting goes on through brackets
    and starts anew after a comma.
    """

    def __init__(self) -> None:
        self.depth = self.deepest = 0
        self.outside: list[tuple[int, int]] = []

    def too_deep(self, token: Token) -> bool:
        """Take the next token; tell whether it nests too deeply."""
        outer = self.outside[-1][0] + 1 if self.outside else 0
        if token.value in ("(", "[", "{"):
            self.outside.append((self.depth, self.deepest))
            self.depth = self.deepest = self.depth + 1
        elif token.value in (")", "]", "}") and self.outside:
            depth, deepest = self.outside.pop()
            self.depth = self.deepest = max(self.depth, self.deepest, depth, deepest)
            if token.value == "}":
                self.depth = self.deepest = depth
        elif token.value == ",":
            self.deepest = max(self.depth, self.deepest)
            self.depth = outer
        elif token.value == ";" or token.type == "NEWLINE":
            self.depth = self.deepest = outer
        elif token.value in _OPERATORS:
            self.depth += 1
        return self.depth > DEEPEST and token.type != "NEWLINE"
