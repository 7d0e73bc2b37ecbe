"""Text → tokens that can be parsed: brackets matched, newlines inside them dropped.

Everything that is wrong with single tokens and with brackets is found here. The token in question
becomes a `BROKEN` one, which the grammar accepts nowhere but as a whole statement, so that the
parser stops at it and knows what to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from attrs import define, field, frozen
from lark import Lark, Token

from recoverdsl.language.nodes import Comment, Span

DEEPEST = 60
"""How deep values and blocks nest. Everything behind the parser may recurse without a guard."""

PARTNER = {"(": ")", "[": "]", "{": "}"}
_OPERATORS = frozenset(
    ["or", "and", "not", "at", "except", "of", "..", "<", "<=", ">", ">=", "==", "+", "-", "*", "/", ".", "[", "="]
)  # fmt: skip
_ESCAPE = re.compile(r"\\(?:u(?P<hex>[0-9a-fA-F]{4})|(?P<one>.))", re.DOTALL)
_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t", "r": "\r"}


class Mended(Token):  # type: ignore[misc]  # lark is not typed
    """The kind of a block whose head could not be read."""


@frozen
class Mistake:
    """What is wrong with one token."""

    code: str
    message: str
    why: str | None = None
    help: str | None = None
    related: tuple[tuple[Span, str], ...] = ()


@define
class Tokens:
    """The tokens of a file, its comments, and what is wrong with the tokens typed `BROKEN`."""

    tokens: list[Token] = field(factory=list)
    comments: list[Comment] = field(factory=list)
    mistakes: dict[int, Mistake] = field(factory=dict)
    """By the offset of the token."""


def span_of(token: Token) -> Span:
    """Where a token stands."""
    return Span(
        token.start_pos, token.end_pos, token.line, token.column, token.end_line, token.end_column
    )


def unescape(literal: str) -> str:
    """The text that a string literal stands for."""

    def one(match: re.Match[str]) -> str:
        return chr(int(match["hex"], 16)) if match["hex"] else _ESCAPES[match["one"]]

    return _ESCAPE.sub(one, literal[1:-1])


def tokenize(lark: Lark, text: str) -> Tokens:
    """Split a text into tokens. Never fails: what is wrong is in `mistakes`."""
    result = Tokens()
    for token in lark.lex(text, dont_ignore=True):
        if token.type == "COMMENT":
            result.comments.append(Comment(token.value.rstrip(), span=span_of(token)))
        elif token.type != "SPACE":
            if mistake := _mistake(token):
                result.mistakes[token.start_pos] = mistake
                token.type = "BROKEN"
            result.tokens.append(token)
    _free_keywords(result.tokens)
    _Brackets(result).match()
    _limit_depth(result)
    return result


def _mistake(token: Token) -> Mistake | None:
    text = str(token)
    if token.type == "STRING":
        for escape in _ESCAPE.finditer(text):
            if escape["hex"] and 0xD800 <= int(escape["hex"], 16) < 0xE000:
                return Mistake("REC110", f"`{escape[0]}` is half of a character")
            if escape["one"] and escape["one"] not in _ESCAPES:
                return Mistake(
                    "REC110",
                    f"a string has no escape `{escape[0]}`",
                    help=r"known are `\"`, `\\`, `\n`, `\t`, `\r` and `\uXXXX`",
                )
    elif token.type == "NUMBER":
        number = text.rstrip("%")
        if len(number) > 40 or float(number) > 1e300:
            return Mistake("REC111", "this number is too large or too long")
    elif token.type == "BROKEN":
        if text.startswith('"'):
            return Mistake(
                "REC102", "this string is not closed", help='end it with `"` on the same line'
            )
        return Mistake("REC103", f"`{text[:20]}` has no meaning here")
    return None


def _free_keywords(tokens: list[Token]) -> None:
    """`with = …` and `in = …`: before an equals sign, a keyword is a name like any other."""
    for token, after in pairwise(tokens):
        if after.type == "EQUAL" and token.value.isidentifier() and token.type != "BROKEN":
            token.type = "NAME"


class _Brackets:
    """Finds every bracket's partner, drops the newlines between ( ) and [ ]."""

    def __init__(self, result: Tokens) -> None:
        self.result = result

    def match(self) -> None:
        if any(value == "{" for value, _ in self._scan(by_column=False)):
            # A brace lacks its partner. Which one, only the layout can tell.
            self.result.tokens = list(self._closed())
        dropped = self._dropped()
        self.result.tokens = [t for i, t in enumerate(self.result.tokens) if i not in dropped]

    def _break(self, token: Token, mistake: Mistake) -> None:
        token.type = "BROKEN"
        self.result.mistakes.setdefault(token.start_pos, mistake)

    def _scan(self, by_column: bool) -> Iterator[tuple[str, int]]:
        """The braces that stay open, and with `by_column` the tokens before which they end."""
        open_columns: list[int] = []
        first = 1
        previous = None
        for i, token in enumerate(self.result.tokens):
            if previous is None or previous.type == "NEWLINE":
                first = token.column
                while by_column and open_columns and token.type != "NEWLINE" and (
                    first < open_columns[-1] or (first == open_columns[-1] and token.value != "}")
                ):  # fmt: skip
                    open_columns.pop()
                    yield "before", i
            if token.value == "{":
                open_columns.append(first)
            elif token.value == "}" and open_columns:
                open_columns.pop()
            previous = token
        for _ in open_columns:
            yield "{", len(self.result.tokens)

    def _closed(self) -> Iterator[Token]:
        """The tokens with the missing closing braces put in, each with its mistake noted."""
        ends: dict[int, int] = {}
        for _, i in self._scan(by_column=True):
            ends[i] = ends.get(i, 0) + 1
        opened: list[Token] = []
        tokens = self.result.tokens
        for i in range(len(tokens) + 1):
            for _ in range(ends.get(i, 0)):
                brace = opened.pop()
                self.result.mistakes[brace.start_pos] = Mistake(
                    "REC105",
                    "this block is not closed",
                    help="add a `}` where it ends",
                    related=((span_of(tokens[i]), "it should end before this"),)
                    if i < len(tokens)
                    else (),
                )
                at = tokens[min(i, len(tokens) - 1)]
                yield Token.new_borrow_pos("RBRACE", "}", at)
                yield Token.new_borrow_pos("NEWLINE", "\n", at)
            if i < len(tokens):
                if tokens[i].value == "{":
                    opened.append(tokens[i])
                elif tokens[i].value == "}" and opened:
                    opened.pop()
                yield tokens[i]

    def _dropped(self) -> set[int]:
        """Indices of the newlines that end nothing."""
        dropped: set[int] = set()
        stack: list[int] = []
        braces = 0
        tokens = self.result.tokens
        for i, token in enumerate(tokens):
            if token.value in ("(", "["):
                stack.append(i)
            elif token.value in (")", "]"):
                self._close(token, stack)
            elif token.value in ("{", "}"):
                dropped -= self._give_up(stack, i)
                braces += 1 if token.value == "{" else -1
                if braces < 0:
                    braces = 0
                    self._break(
                        token, Mistake("REC105", "there is no block here for this `}` to close")
                    )
            elif token.type == "NEWLINE" and stack:
                dropped.add(i)
        dropped -= self._give_up(stack, len(tokens))
        return dropped

    def _close(self, token: Token, stack: list[int]) -> None:
        if not stack:
            self._break(
                token, Mistake("REC105", f"there is nothing here for this `{token}` to close")
            )
            return
        opener = self.result.tokens[stack.pop()]
        if PARTNER[opener.value] != token.value:
            related = (
                (span_of(opener), f"this `{opener}` is closed by `{PARTNER[opener.value]}`"),
            )
            self._break(
                token, Mistake("REC105", f"`{token}` cannot close `{opener}`", related=related)
            )

    def _give_up(self, stack: list[int], stop: int) -> set[int]:
        """Brackets left open: their statements end with the line, unless that ends in a comma."""
        kept: set[int] = set()
        tokens = self.result.tokens
        for i in stack:
            self._break(
                tokens[i],
                Mistake(
                    "REC105",
                    f"this `{tokens[i]}` is not closed",
                    help=f"add a `{PARTNER[tokens[i].value]}`",
                ),
            )
        if stack:
            kept = {
                j
                for j in range(stack[0], stop)
                if tokens[j].type == "NEWLINE" and tokens[j - 1].value not in (",", "(", "[", "\n")
            }
            stack.clear()
        return kept


def _limit_depth(result: Tokens) -> None:
    """Break the statement that nests too deeply.

    A chain of operators nests as well: `a + b + c` is two deep. Counting goes on through brackets
    and starts anew behind a comma.
    """
    depth = deepest = 0
    outside: list[tuple[int, int]] = []
    for token in result.tokens:
        if token.value in ("(", "[", "{"):
            outside.append((depth, deepest))
            depth = deepest = depth + 1
        elif token.value in (")", "]", "}") and outside:
            outer, deepest_outside = outside.pop()
            depth = deepest = max(depth, deepest, outer, deepest_outside)
            if token.value == "}":
                depth = deepest = outer
        elif token.value in (",", ";") or token.type == "NEWLINE":
            deepest = max(depth, deepest)
            depth = outside[-1][0] + 1 if outside else 0
        elif token.value in _OPERATORS:
            depth += 1
        if depth > DEEPEST and token.type not in ("NEWLINE", "BROKEN"):
            token.type = "BROKEN"
            result.mistakes[token.start_pos] = Mistake(
                "REC106", f"this nests more than {DEEPEST} deep", help="write it in smaller parts"
            )
