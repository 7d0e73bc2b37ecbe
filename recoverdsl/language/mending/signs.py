"""Signs of other languages and keyboards: `≤`, `=>`, `:=`, `&&`, `$k`."""

from __future__ import annotations

import re

from lark import Token

from recoverdsl.language.diagnostics import Edit, Mend, replace
from recoverdsl.language.mending.comments import comment
from recoverdsl.language.mending.cursor import Cursor
from recoverdsl.language.tokens import Mistake, across, adjacent, between, slip, span_of

SIGNS = {
    "≤": "<=", "⩽": "<=", "≥": ">=", "⩾": ">=", "×": "*", "·": "*", "÷": "/", "−": "-", "–": "-",
    "—": "-", "&&": "and", "&": "and", "∧": "and", "||": "or", "|": "or", "∨": "or", "!": "not",
    "¬": "not", "@": "at", "…": "..", "：": ":", "，": ",", "；": ";", "（": "(", "）": ")",
}  # fmt: skip
"""Each with the one that is meant."""
NONE_SUCH = {"≠": "unequal", "!=": "unequal", "<>": "unequal", "**": "powers", "^": "powers"}
"""Signs for what the language does not have."""
NO_EQUALS = {"recoverdsl": "NUMBER", "audit": "STRING", "expect": "NAME"}
"""Statements that take no `=`, with what stands behind their first word."""


def unknown(cursor: Cursor, at: int) -> int:
    """A sign that the language does not have."""
    written = str(cursor.tokens[at])
    if written in NONE_SUCH or (written == "!" and cursor.next(at, "=")):
        return none_such(cursor, at, 2 if written == "!" else 1)
    meant = SIGNS.get(written, written)
    if meant == ":":
        return colon(cursor, at)
    if _hangs(cursor, at):
        place = span_of(cursor.tokens[at])
        help = Mend("remove it", (Edit(place, ""),))
        mistake = Mistake("REC103", f"`{written}` has no meaning here", help=help)
        cursor.found.append((place, mistake))
        return 1
    if meant in cursor.kinds:
        return cursor.sign(meant, at, 1)
    if written == "$" and (taken := dollar(cursor, at)):
        return taken
    sign = written if len(written) == 1 else written[:20]
    return cursor.broken(
        at, 1, Mistake("REC103", f"`{sign}` has no meaning here", help="remove it")
    )


def _hangs(cursor: Cursor, at: int) -> bool:
    """Whether a sign hangs on the end of a word, where no operator does: `refuses?`"""
    token, previous, after = cursor.tokens[at], cursor.previous(), cursor.peek(at + 1)
    if (
        previous is None
        or len(token) > 1
        or not adjacent(previous, token)
        or not previous.value.isidentifier()
    ):
        return False
    return after is None or not adjacent(token, after) or after.value in ("\n", ",", ")", "]", "=")


def dollar(cursor: Cursor, at: int) -> int:
    """`$k` or `${k}`: a param is used by its name."""
    behind = cursor.tokens[at + 1 : at + 4]
    braced = len(behind) == 3 and behind[0].value == "{" and behind[2].value == "}"
    name = behind[1] if braced else behind[0] if behind else None
    if name is None or name.type != "NAME" or not adjacent(cursor.tokens[at], behind[0]):
        return 0
    taken = 4 if braced else 2
    place = across(cursor.tokens[at], cursor.tokens[at + taken - 1])
    mistake = Mistake("REC116", "a param is used by its name alone", help=replace(place, str(name)))
    cursor.out.append(slip("NAME", str(name), place, mistake))
    return taken


def none_such(cursor: Cursor, at: int, taken: int) -> int:
    place = across(cursor.tokens[at], cursor.tokens[at + taken - 1])
    written = cursor.text[place.start : place.end]
    if NONE_SUCH.get(written) == "powers":
        mistake = Mistake("REC116", "there are no powers", help="write the number that is meant")
    else:
        mistake = Mistake(
            "REC116", f"there is no `{written}`",
            help="numbers are compared with `<`, `<=`, `>` and `>=`",
        )  # fmt: skip
    return cursor.broken(at, taken, mistake)


def colon(cursor: Cursor, at: int) -> int:
    token, previous, after = cursor.tokens[at], cursor.previous(), cursor.peek(at + 1)
    if cursor.next(at, "="):
        taken, end = 2, cursor.peek(at + 2)
    else:
        taken, end = 1, after
    place = across(token, cursor.tokens[at + taken - 1])
    written = cursor.text[place.start : place.end]
    if previous is None or end is None or end.type == "NEWLINE":
        # At the end of a line it may begin a block, which the brackets will tell.
        mistake = Mistake("REC103", f"`{written}` has no meaning here", help="remove it")
        return cursor.broken(at, taken, mistake)
    if end.value == "{":
        mistake = Mistake(
            "REC120", f"no `{written}` stands before the `{{` of a block",
            help=Mend("remove it", (Edit(place, ""),)),
        )  # fmt: skip
        cursor.found.append((place, mistake))
        return taken
    if cursor.first_word() and previous.value in (*NO_EQUALS, "param"):
        return needless(cursor, at, taken)
    if head_with_colon(cursor, at):
        mistake = Mistake("REC119", f"`{written}` is written `like` here", help=replace(place, "like"))  # fmt: skip
        return cursor.put("like", at, taken, mistake)
    text = "=" if cursor.text[place.start - 1 : place.start] == " " else " ="
    text += "" if cursor.text[place.end : place.end + 1] in (" ", "\t") else " "
    if previous.type == "STRING" and cursor.second_text():
        name_from(cursor, previous, Edit(place, text))
        cursor.out.append(Token.new_borrow_pos("EQUAL", "=", token))
        return taken
    if previous.value.isidentifier():
        mistake = Mistake(
            "REC114", f"a name and its value are joined by `=`, not by `{written}`",
            help=replace(place, text, "write `=`"),
        )  # fmt: skip
        return cursor.put("=", at, taken, mistake)
    mistake = Mistake("REC103", f"`{written}` has no meaning here", help="remove it")
    return cursor.broken(at, taken, mistake)


def name_from(cursor: Cursor, text: Token, equal: Edit) -> None:
    """`"steps": 100`: the name without its quotation marks."""
    name = re.sub(r"\W+", "_", str(text)[1:-1]) or "_"
    mistake = Mistake(
        "REC122", "a name is written without quotation marks, and its value behind `=`",
        help=Mend(f"write `{name} = …`", (Edit(span_of(text), name), equal)),
    )  # fmt: skip
    cursor.out[-1] = slip("NAME", name, span_of(text), mistake)


def head_with_colon(cursor: Cursor, at: int) -> bool:
    """`attack projected : unconstrained {`."""
    behind = [t.value for t in cursor.tokens[at + 1 : at + 3]]
    words = [t.value.isidentifier() for t in cursor.out[-2:]]
    return len(behind) == 2 and behind[0].isidentifier() and behind[1] == "{" and all(words)


def needless(cursor: Cursor, at: int, taken: int) -> int:
    """`audit = "…"`: an equals sign where none belongs."""
    place = across(cursor.tokens[at], cursor.tokens[at + taken - 1])
    written = cursor.text[place.start : place.end]
    glued = not cursor.text[place.end : place.end + 1].isspace()
    mistake = Mistake(
        "REC114", f"`{cursor.out[-1]}` takes no `{written}`",
        help=Mend("remove it", (Edit(place, " " if glued else ""),)),
    )  # fmt: skip
    cursor.found.append((place, mistake))
    return taken


def equal(cursor: Cursor, at: int) -> int:
    if cursor.next(at, "<"):
        return cursor.sign("<=", at, 2)
    if cursor.next(at, ">"):
        # A norm is only ever bounded from above.
        bounded = bool(cursor.out) and cursor.out[-1].value == "norm"
        return cursor.sign("<=" if bounded else ">=", at, 2)
    previous, after = cursor.previous(), cursor.peek(at + 1)
    if previous is not None and after is not None and cursor.first_word():
        follows = NO_EQUALS.get(previous.value)
        if follows and after.type == follows and not (
            follows == "NAME" and not calls(cursor, at + 1)
        ):  # fmt: skip
            return needless(cursor, at, 1)
    return 0


def calls(cursor: Cursor, at: int) -> bool:
    after = cursor.peek(at + 1)
    return after is not None and after.value == "("


def equals(cursor: Cursor, at: int) -> int:
    """`steps == 100`"""
    if cursor.previous() is None or cursor.out[-1].type != "NAME" or not cursor.first_word():
        return 0
    place = span_of(cursor.tokens[at])
    mistake = Mistake(
        "REC114", "a name and its value are joined by `=`, not by `==`",
        help=replace(place, "="),
    )  # fmt: skip
    return cursor.put("=", at, 1, mistake)


def minus(cursor: Cursor, at: int) -> int:
    token, after = cursor.tokens[at], cursor.peek(at + 1)
    words = [t.type == "NAME" for t in cursor.tokens[at + 2 : at + 4]]
    if cursor.next(at, "-") and (cursor.begins() or words == [True, True]):
        return comment(cursor, at, 2, cursor.line_end(at), "--")
    if cursor.next(at, ">") and cursor.second():
        place = across(token, cursor.tokens[at + 1])
        mistake = Mistake(
            "REC114", "a name and its value are joined by `=`, not by `->`",
            help=replace(place, "="),
        )  # fmt: skip
        return cursor.put("=", at, 2, mistake)
    beyond = cursor.peek(at + 2)
    joins = beyond is not None and beyond.value in ("=", ":")
    if cursor.begins() and joins and after is not None and after.value.isidentifier():
        edit = between(token, after, "")
        mistake = Mistake(
            "REC101", "a statement begins with no `-`",
            help=Mend("remove it", (Edit(span_of(token).to(edit.span), ""),)),
        )  # fmt: skip
        cursor.found.append((span_of(token), mistake))
        return 1
    return 0


def less(cursor: Cursor, at: int) -> int:
    return none_such(cursor, at, 2) if cursor.next(at, ">") else 0


def star(cursor: Cursor, at: int) -> int:
    return none_such(cursor, at, 2) if cursor.next(at, "*") else 0
