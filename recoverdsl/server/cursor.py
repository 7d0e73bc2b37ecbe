"""Where the cursor is: in which block, behind which tokens of which statement.

Read from the tokens alone, since while someone types the statement at the cursor is broken, and the
parser keeps nothing of it.
"""

from __future__ import annotations

from attrs import define, field
from lark import Token

from recoverdsl.server.document import Document


@define(eq=False)
class Opened:
    """A block, as far as its tokens tell."""

    kind: str
    name: str | None
    like: str | None
    outer: Opened | None
    keys: list[str] = field(factory=list)
    """The attributes that are written in it, before the cursor and behind it."""
    inner: list[Opened] = field(factory=list)


@define
class Cursor:
    """A place in a text."""

    word: Token | None
    """The word at the cursor; a string only if the cursor is inside it."""
    start: int
    """Where the word begins; without a word, where the cursor is."""
    before: tuple[Token, ...] = ()
    """The tokens of the statement in front of the word."""
    after: str = ""
    """The token behind the word."""
    block: Opened | None = None
    """The block around the cursor."""
    first: bool = True
    """Whether no statement stands before this one."""
    blocks: list[Opened] = field(factory=list)
    """Every block at the top of the file."""
    params: dict[str, str] = field(factory=dict)
    """The file's params, each with the first token of its value."""

    @property
    def others(self) -> list[str]:
        """The attributes of the block around the cursor, without the one whose name is at it."""
        keys = list(self.block.keys) if self.block else []
        if self.after == "=" and self.word in keys:
            keys.remove(str(self.word))
        return keys

    def lineage(self, block: Opened) -> list[Opened]:
        """The block and what it is like, nearest first."""
        line = [block]
        while line[-1].like:
            bases = [b for b in self.blocks if (b.kind, b.name) == (block.kind, line[-1].like)]
            if not bases or bases[0] in line:
                break
            line.append(bases[0])
        return line


def is_string(token: str) -> bool:
    """Whether a token is a text in quotes, or the beginning of one."""
    return token.startswith('"')


def look(document: Document, offset: int) -> Cursor | None:
    """What is at an offset; None in a comment."""
    for comment in document.tokens.comments:
        start = comment.span.start
        if start < offset and "\n" not in document.text[start:offset]:
            return None
    tokens = _written(document)
    word = _word(tokens, offset)
    cursor = Cursor(word, word.start_pos if word else offset)
    _read(cursor, tokens)
    return cursor


def _written(document: Document) -> list[Token]:
    """The tokens without the closing braces, each with a new line, that the text lacks at its end."""
    tokens = list(document.tokens.tokens)
    while len(tokens) > 1 and tokens[-1].start_pos == tokens[-2].start_pos and tokens[-1] == "\n":
        del tokens[-2:]
    return tokens


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
    """Go through all tokens once, and note what is at the cursor."""
    block: Opened | None = None
    statement: list[Token] = []
    found, first = False, True
    for token in tokens:
        if found:
            cursor.after = cursor.after or str(token)
        elif token is cursor.word or (cursor.word is None and token.start_pos >= cursor.start):
            found = True
            cursor.before, cursor.block, cursor.first = tuple(statement), block, first
            cursor.after = "" if cursor.word else str(token)
        if token in ("\n", ";"):
            first = first and not statement
            statement = []
        elif token == "{":
            block = _open(statement, block, cursor)
            statement, first = [], False
        elif token == "}":
            block = block.outer if block else None
            statement = []
        else:
            statement.append(token)
            _note(statement, block, cursor)
    if not found:
        cursor.before, cursor.block, cursor.first = tuple(statement), block, first


def _open(head: list[Token], outer: Opened | None, cursor: Cursor) -> Opened:
    like = next((str(head[i + 1]) for i, t in enumerate(head[:-1]) if t == "like"), None)
    kind, name = [*map(str, head), "", ""][:2]
    block = Opened(kind, name or None, like, outer)
    (outer.inner if outer else cursor.blocks).append(block)
    return block


def _note(statement: list[Token], block: Opened | None, cursor: Cursor) -> None:
    if block and len(statement) == 2 and statement[1] == "=":
        block.keys.append(str(statement[0]))
    elif not block and len(statement) == 4 and statement[0] == "param":
        cursor.params[str(statement[1])] = str(statement[3])
