"""Signs, numbers, quotation marks and comments as other languages write them: one table.

A row says how something is recognized and the text of this language that it is read as. The first
row whose pattern matches and whose condition holds is taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import frozen

from recoverdsl.language.recovery.context import Context
from recoverdsl.language.syntax.printer import quote

Text = str | Callable[[re.Match[str]], str]

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_NAME = r"[^\W\d]\w*"
_ENDS = r"(?=[ \t\r]*(?:[),\];}#\n]|\Z))"


@frozen
class Row:
    """Something that is written otherwise than this language writes it."""

    pattern: str
    read_as: Text | None
    """The text of this language, empty where it is left out; None if there is none."""
    code: str
    message: str
    """May hold `{0}`, what is written, and `{1}`, what it is read as."""
    help: str | None = "write `{1}`"
    where: Callable[[Context], bool] = lambda context: True
    edit: Text | None = None
    """The text that a fix puts in place of it, if that is not `read_as`."""
    mark: int | None = None
    """How many characters are marked and replaced, if that is not all that matches."""


def _group(number: int, form: str = "{}") -> Callable[[re.Match[str]], str]:
    return lambda match: form.format(match[number])


def _quoted(number: int) -> Callable[[re.Match[str]], str]:
    return lambda match: quote(match[number].strip())


# --- Comments -----------------------------------------------------------------------------------


def _comment(pattern: str, sign: str, where: Callable[[Context], bool] = lambda c: True) -> Row:
    message = f"expected `#` before a comment, found `{sign}`"
    return Row(pattern, "", "REC118", message, "write `#`", where, "#", len(sign))


def _lines(match: re.Match[str]) -> str:
    lines = match[1].strip().split("\n")
    return "\n".join(f"# {line.strip()}".rstrip() for line in lines)


COMMENTS = (
    Row(r"/\*((?:[^*]|\*(?!/))*)\*/(?=[ \t\r]*(?:\n|\Z))", "", "REC118", "expected `#` before a comment, found `/*`",
        "begin each of its lines with `#`", edit=_lines),
    Row(r"/\*(?:[^*]|\*(?!/))*\*/", "", "REC118", "expected `#` before a comment, found `/*`",
        "begin each of its lines with `#`", edit=lambda match: ""),
    _comment(r"/\*[^\n]*", "/*"),
    _comment(r"//[^\n]*", "//"),
    _comment(r"--(?=[ \t\r]*\w+[ \t\r]+\w+)[^\n]*", "--"),
    _comment(r"--[^\n]*", "--", Context.begins),
    _comment(r"%(?=[ \t\r]*[^\W\d])[^\n]*", "%", Context.begins),
    Row(r"```[^\n]*", "", "REC101", "expected a statement, found a Markdown fence", "remove it", Context.begins),
)  # fmt: skip

# --- Texts --------------------------------------------------------------------------------------

_MARKS = 'expected `"` around a text, found `{0}`'
_UNQUOTED = "expected quotation marks around a text"
_RUN = r"[\w./\\:~@-]"
_PATH = (
    rf"(?={_RUN}{{0,200}}?(?:\\|:[/\\]|@|[0-9][A-Za-df-z_]\w{{6}}|[0-9]\.[0-9]+\.))[\w./~]{_RUN}{{1,200}}"
    r"|\.{0,2}/[\w./@-]{1,200}|~/[\w./@-]{1,200}"
    r"|(?=[\w.-]{0,200}/)(?=[\w./-]{0,200}?[0-9][A-Za-df-z])[\w./-]{2,200}"
    r"|(?=[\w.-]{0,100}?==)[\w.-]{1,100}==[0-9][\w.]{0,50}"
)
"""Paths, addresses, digests and requirements; bounded, so that no text takes long."""


def _trimmed(match: re.Match[str]) -> str:
    return quote(match[0].strip().strip("'\"“”‘’`"))


TEXTS = (
    Row(rf"[“”„]({_NUMBER})[“”]%", _group(1, "{}%"), "REC117", "expected a number, found {0}", where=Context.in_value),
    Row(r"'([^'\n]*)'", _quoted(1), "REC113", _MARKS),
    Row(r"`([^`\n]*)`", _quoted(1), "REC113", 'expected `"` around a text, found a backtick'),
    Row(r'[“”„«»‘’]([^“”«»‘’"\n]*)[“”«»‘’"]', _quoted(1), "REC113", _MARKS),
    Row(r'"([^"“”\n]*)[“”]', _quoted(1), "REC113", _MARKS),
    Row(r'(?<=audit[ \t])[^\s"=:#][^\n#]*', _trimmed, "REC113", _UNQUOTED, where=Context.follows_audit),
    Row(r'[^\s"\'=(),\[\]{};#]{1,200}"' + _ENDS, lambda m: quote(m[0][:-1]), "REC102", "this string is not opened",
        'begin it with `"`', edit=lambda m: f'"{m[0]}', where=Context.in_value),
    Row(r'"[^"\n(){}\[\],;]*', lambda m: quote(m[0][1:].rstrip()), "REC102", "this string is not closed",
        'end it with `"` on the same line', edit=lambda m: f'{m[0].rstrip()}"', where=Context.in_brackets),
    Row(r'"[^"\n]*', lambda m: quote(m[0][1:].rstrip()), "REC102", "this string is not closed",
        'end it with `"` on the same line', edit=lambda m: f'{m[0].rstrip()}"'),
    Row(rf"(?:{_PATH}){_ENDS}", _trimmed, "REC113", _UNQUOTED, where=Context.begins_value),
    Row(r"['`“”„«»‘’]", None, "REC113", 'expected `"`, found `{0}`', 'write a text as `"like this"`'),
)  # fmt: skip

# --- Numbers ------------------------------------------------------------------------------------

_THOUSANDS = {"k": 1_000, "K": 1_000, "M": 1_000_000}


def _number(pattern: str, read_as: Text, where: Callable[[Context], bool] = lambda c: True) -> Row:
    return Row(pattern, read_as, "REC117", "expected a number, found `{0}`", where=where)


def _hook(match: re.Match[str]) -> str:
    model = re.search(rf"\bmodel[ \t\r]+({_NAME})", match.string)
    side = {"pre": "input", "post": "output"}[match[2]]
    return f"{model[1] if model else 'my_model'}.layers[{match[1]}].{side}"


NUMBERS = (
    _number(rf"({_NUMBER})(?:[ \t\r]*%){{2,}}", _group(1, "{}%")),
    _number(rf"({_NUMBER})[ \t\r]+(?:%|(?i:percent|pct)\b)", _group(1, "{}%")),
    _number(rf"%[ \t\r]*({_NUMBER})%?", _group(1, "{}%")),
    _number(rf"\+({_NUMBER}%?)", _group(1), Context.begins_operand),
    _number(r"\.[0-9]+%?", lambda m: f"0{m[0]}", Context.begins_operand),
    _number(r"([0-9]+)\.(%?)(?![\w.%])", lambda m: m[1] + m[2]),
    _number(r"[0-9]+(?:_[0-9]+)+\b", lambda m: m[0].replace("_", "")),
    _number(r"([0-9]+)([kKM])\b", lambda m: str(int(m[1]) * _THOUSANDS[m[2]])),
    Row(r"blocks\.([0-9]+)\.hook_resid_(pre|post)", _hook, "REC123",
        "expected a point of the residual stream, found a hook point of TransformerLens"),
    Row(rf"\.([0-9]+)(?=\.{_NAME})", _group(1, "[{}]"), "REC123", "expected `[{0}]`, found `.{0}`"),
)  # fmt: skip

# --- Signs --------------------------------------------------------------------------------------

SIGNS = {
    "<=": "≤ ⩽ =<", ">=": "≥ ⩾ =>", "*": "× ·", "/": "÷", "-": "− – —", "and": "&& & ∧", "or": "|| | ∨",
    "not": "! ¬", "at": "@", "..": "…", "=": ":= ：", ",": "，", ";": "；", "(": "（", ")": "）",
}  # fmt: skip
"""The signs and words of this language, each with the signs that others write for it."""

_COMPARE = "compare numbers with `<`, `<=`, `>` or `>=`, and texts with `==` or `!=`"
_JOINED = "expected `=` between a name and its value, found `{0}`"


def _any(signs: str) -> str:
    # `!=` is a sign of this language.
    return "|".join(map(re.escape, signs.split())).replace("!", "!(?!=)")


def _spaced(word: str) -> Text:
    def edit(match: re.Match[str]) -> str:
        before = match.string[max(0, match.start() - 1) : match.start()].strip(" \t(\n")
        after = match.string[match.end() : match.end() + 1].strip()
        return f"{' ' * bool(before)}{word}{' ' * bool(after)}"

    return edit if word.isalpha() else word


_HEAD = rf"(?=[ \t\r]*(?:like[ \t\r]+{_NAME}[ \t\r]*)?\{{)"

OTHER_SIGNS = (
    Row(r"(?:(?<=\w)[?$§~]|(?<=[^\W\d])\^)(?=[\s,)\]=]|\Z)", "", "REC103", "`{0}` has no meaning here", "remove it"),
    Row(r"=>", "<=", "REC116", "expected `{1}`, found `{0}`", where=Context.follows_norm),
    Row("≠|<>", None, "REC116", "expected a comparison, found `{0}`", _COMPARE),
    Row(r"\*\*|\^", None, "REC116", "expected a number, found a power", "write the number out"),
    Row(rf"\$\{{({_NAME})\}}|\$({_NAME})", lambda m: m[1] or m[2], "REC116", "expected the name of a param alone, found `{0}`"),
    Row(r"(?:=|:=|:)(?!=)(?![ \t\r]*\{)", "", "REC114", "expected a value, found `{0}`", "remove it", Context.needs_no_equals),
    Row(r"[:=][ \t\r]*(?=\{[ \t\r]*(?:#|\n|\Z))", "", "REC120", "expected `{{`, found `{0}`", "remove it", Context.ends_head),
    Row(r"[:=][ \t\r]*(?=\{)", "", "REC120", "expected `{{`, found `{0}`", "remove it", Context.third),
    Row(rf":(?=[ \t\r]+{_NAME}[ \t\r]*\{{)", "like", "REC119", "expected `like`, found `:`", where=Context.third),
    Row(r":=|==|->|:(?![ \t\r]*(?:\n|\Z))", "=", "REC114", _JOINED, "write `=`", Context.second, _spaced("=")),
    Row(r":=?(?![ \t\r]*(?:\n|\Z))", "=", "REC114", _JOINED, "write `=`", Context.second_of_argument, lambda m: " =" if m.string[m.end()] == " " else " = "),
    *(Row(_any(signs), sign, "REC116", "expected `{1}`, found `{0}`", edit=_spaced(sign)) for sign, signs in SIGNS.items()),
    Row(rf"-[ \t\r]*(?={_NAME}[ \t\r]*[:=])", "", "REC101", "expected a statement, found `-`", "remove it", Context.begins),
)  # fmt: skip

# --- Names and the version ----------------------------------------------------------------------


NAMES = (
    Row(rf'"({_NAME})"[ \t\r]*:', _group(1, "{} ="), "REC122", "expected a name and `=`, found `{0}`", where=Context.begins_part),
    Row(r"(?!recoverdsl[ \t\r]+[0-9])(?i:recover\w*|version)\b(?![ \t\r]*[=:{])[^\n#{]*", "recoverdsl 1", "REC112",
        "expected `recoverdsl 1`, found `{0}`", where=Context.begins_version),
    Row(rf"{_NAME}(?:-\w+){{1,20}}(?=[ \t\r]*=(?!=))", lambda m: m[0].replace("-", "_"), "REC122",
        "expected a name, found `{0}`", where=Context.begins_part),
    Row(rf"{_NAME}(?:-\w+){{1,20}}{_HEAD}", lambda m: m[0].replace("-", "_"), "REC122", "expected a name, found `{0}`"),
    Row(rf'"({_NAME})"{_HEAD}', _group(1), "REC122", "expected a name, found a text", where=Context.in_head),
    Row(rf"[0-9]+{_NAME}(?:-\w+){{0,20}}{_HEAD}", lambda m: f"_{m[0].replace('-', '_')}", "REC122",
        "expected a name, found `{0}`", "write `{1}`: a name begins with a letter or `_`", where=Context.second),
    Row(rf'\{{[ \t\r]*"?({_NAME})"?[ \t\r]*[:=]([^{{}}\n]*)\}}', lambda m: f"{m[1]} ={m[2]}", "REC123",
        "expected arguments without braces, found `{0}`", "remove the braces", where=Context.begins_argument),
    Row(rf'\{{[ \t\r]*"?{_NAME}"?[ \t\r]*[:=][^{{}}\n]*\}}', None, "REC123", "expected a value, found `{0}`",
        "write a call, `name(key = value)`", where=Context.begins_value),
    Row(r"([^\W\d]\w*?)([0-9]+%?)(?=([)\]]))", lambda m: f"{m[1]}{'(' if m[3] == ')' else '['}{m[2]}", "REC105",
        "expected a bracket before the number, found `{0}`", where=Context.in_value_without_brackets),
    Row(rf"(?:{_NAME}\.){{1,8}}(?!layers\()({_NAME})(?=\()", lambda m: m[1].lower(), "REC122",
        "expected a function without a module, found `{0}`"),
)  # fmt: skip

PLAIN = (
    rf"(?P<SPACE>[ \t\r]+)|(?P<NEWLINE>\n)|(?P<NAME>{_NAME}(?=[ \t\r,(=\n]))|(?P<NUMBER>{_NUMBER}%?(?=[,)\];\n+*]))"
    r"|(?P<SIGN>[()\[\],;}])"
)
"""Tokens with which no row begins, but at the beginning of a text and after `audit`; most of a text is of these."""

ROWS: tuple[Row, ...] = (*NAMES, *COMMENTS, *TEXTS, *NUMBERS, *OTHER_SIGNS)
"""The whole table, in the order in which it is tried; names before the texts of the grammar."""
