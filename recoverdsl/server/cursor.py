"""The place of the cursor: its block, and the tokens before it in its statement.

It is found from the tokens alone: while someone types, the statement at the cursor is incomplete and
the parser keeps nothing of it.
"""

from __future__ import annotations

from attrs import define, field
from lark import Token

from recoverdsl.language.syntax.nodes import Block
from recoverdsl.server.document import Document

OPENING, CLOSING = frozenset("(["), frozenset(")]")
JOINING = OPENING | {",", "=", "+", "-", "*", "/", "and", "or", "not", "at", "except", "of", "..", "<", "<=", ">", ">="}  # fmt: skip
"""Tokens next to which a line break inside brackets does not end the statement."""


@define(eq=False)
class Opened:
    """A block, as far as its tokens show it."""

    kind: str
    name: str | None
    like: str | None
    outer: Opened | None
    keys: list[str] = field(factory=list)
    """The attributes written in it, before and after the cursor."""
    inner: list[Opened] = field(factory=list)


@define
class Cursor:
    """A place in a text."""

    word: Token | None
    """The word at the cursor; a string only if the cursor is inside it."""
    start: int
    """Where the word begins; without a word, where the cursor is."""
    before: tuple[Token, ...] = ()
    """The tokens of the statement before the word."""
    after: str = ""
    """The token after the word."""
    block: Opened | None = None
    """The block around the cursor."""
    first: bool = True
    """Whether this is the first statement of the file."""
    blocks: list[Opened] = field(factory=list)
    """Every block at the top of the file."""
    params: dict[str, str] = field(factory=dict)
    """The file's params, each with the first token of its value."""
    imported: list[tuple[str, str]] = field(factory=list)
    """Kind and name of the blocks that the file imports."""

    @property
    def others(self) -> list[str]:
        """The attributes of the block around the cursor, without the one whose name is at it."""
        keys = list(self.block.keys) if self.block else []
        if self.after == "=" and self.word in keys:
            keys.remove(str(self.word))
        return keys

    def lineage(self, block: Opened) -> list[Opened]:
        """Return the block and those that it inherits from by `like`, nearest first."""
        line = [block]
        while line[-1].like:
            bases = [b for b in self.blocks if (b.kind, b.name) == (block.kind, line[-1].like)]
            if not bases or bases[0] in line:
                break
            line.append(bases[0])
        return line


def is_string(token: str) -> bool:
    """Tell whether a token is a quoted text, or the beginning of one."""
    return token.startswith('"')


def cursor_at(document: Document, offset: int) -> Cursor | None:
    """Return the cursor at an offset; None in a comment."""
    for token in document.tokens:
        if token.type == "COMMENT" and token.start_pos < offset <= token.end_pos:
            return None
    tokens = [token for token in document.tokens if token.type != "COMMENT"]
    word = _word(tokens, offset)
    imported = [
        (s.kind.text, s.name.text) for s in document.checked.whole.statements
        if isinstance(s, Block) and s.name and s.span.source
    ]  # fmt: skip
    cursor = Cursor(word, word.start_pos if word else offset, imported=imported)
    _read(cursor, tokens)
    return cursor


def _word(tokens: list[Token], offset: int) -> Token | None:
    found = None
    for token in tokens:
        if token.start_pos > offset:
            break
        if is_string(token):
            is_open = token.type == "BROKEN"
            if token.start_pos < offset < token.end_pos + is_open:
                found = token
        elif offset <= token.end_pos and token.replace("_", "a").isalnum():
            found = token
    return found


def _read(cursor: Cursor, tokens: list[Token]) -> None:
    """Read all tokens once and fill in the cursor."""
    block: Opened | None = None
    statement: list[Token] = []
    depth = 0
    ends = _layout(tokens)
    found, first = False, True

    def here() -> None:
        cursor.before, cursor.block, cursor.first = tuple(statement), block, first

    for i, token in enumerate(tokens):
        if found:
            cursor.after = cursor.after or str(token)
        elif cursor.word is None and token.start_pos >= cursor.start:
            found, cursor.after = True, str(token)
            here()
        for _ in range(ends.get(i, 0)):
            block, statement, depth = block.outer if block else None, [], 0
        if token is cursor.word:
            found = True
            here()
        if token == "\n" and depth > 0 and _continues(statement[-1], tokens[i + 1 : i + 2]):
            continue
        if token in ("\n", ";"):
            first = first and not statement
            statement, depth = [], 0
        elif token == "{":
            block = _open(statement, block, cursor)
            statement, depth, first = [], 0, False
        elif token == "}":
            block, statement, depth = block.outer if block else None, [], 0
        else:
            statement.append(token)
            depth += (token in OPENING) - (token in CLOSING)
            _record(statement, block, cursor)
    if not found:
        here()


def _continues(last: Token, following: list[Token]) -> bool:
    """Tell whether a bracketed value continues on the next line; if not, its bracket was forgotten."""
    return last in JOINING or any(token in CLOSING or token in JOINING for token in following)


def _layout(tokens: list[Token]) -> dict[int, int]:
    """Count the blocks that end before each token by indentation, where closing braces are missing."""
    balance = lowest = 0
    for token in tokens:
        balance += (token == "{") - (token == "}")
        lowest = min(lowest, balance)
    if balance <= lowest:
        return {}
    ends: dict[int, int] = {}
    columns: list[int] = []
    column = 1
    for i, token in enumerate(tokens):
        if i == 0 or tokens[i - 1] == "\n":
            column = token.column
            while columns and token != "\n" and column + (token == "}") <= columns[-1]:
                columns.pop()
                ends[i] = ends.get(i, 0) + 1
        if token == "{":
            columns.append(column)
        elif token == "}" and columns:
            columns.pop()
    return ends


def _open(head: list[Token], outer: Opened | None, cursor: Cursor) -> Opened:
    like = next((str(head[i + 1]) for i, t in enumerate(head[:-1]) if t == "like"), None)
    kind, name = [*map(str, head), "", ""][:2]
    block = Opened(kind, name or None, like, outer)
    (outer.inner if outer else cursor.blocks).append(block)
    return block


def _record(statement: list[Token], block: Opened | None, cursor: Cursor) -> None:
    if block and len(statement) == 2 and statement[1] == "=":
        block.keys.append(str(statement[0]))
    elif not block and len(statement) == 4 and statement[0] == "param":
        cursor.params[str(statement[1])] = str(statement[3])
