"""Text → syntax tree, with every mistake found in one pass.

At a mistake the parser goes back to where the statement began, puts a `BROKEN` statement in its
place and goes on behind it, so that one mistake gives one diagnostic and hides no other.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from lark import Lark, Token, UnexpectedToken

from recoverdsl.language.builder import Builder
from recoverdsl.language.diagnostics import Collector
from recoverdsl.language.nodes import Span, Tree
from recoverdsl.language.tokens import Mended, Tokens, span_of, tokenize

LONGEST = 1 << 20
"""Characters in a spec."""

_ENDS = ("NEWLINE", "SEMICOLON")
_STARTS = ("RECOVERDSL", "AUDIT", "PARAM", "EXPECT", "NAME", *_ENDS)
_KINDS = {
    "NAME": "a name", "NUMBER": "a number", "STRING": "a text in quotes",
    "NEWLINE": "a new line", "$END": "the end of the file",
}  # fmt: skip
_VALUE = frozenset({"NUMBER", "STRING", "NAME", "LPAR", "LSQB", "TRUE", "FALSE", "NOT", "MINUS"})
_OPERATORS = frozenset(
    ["or", "and", "at", "except", "of", "..", "<", "<=", ">", ">=", "==", "+", "-", "*", "/"]
)


@cache
def grammar() -> str:
    """The text of the grammar: beside this file in a wheel, in `grammar/` in a checkout."""
    here = Path(__file__).parent
    for path in (here / "recover.lark", here.parents[1] / "grammar" / "recover.lark"):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError("recover.lark is missing from this installation of recoverdsl")


@cache
def _lark() -> Lark:
    return Lark(
        grammar(),
        start="file",
        parser="lalr",
        lexer="basic",
        keep_all_tokens=True,
        maybe_placeholders=False,
        transformer=Builder(),
    )


def parse_text(text: str, file: str, report: Collector) -> Tree:
    """The tree of a text; statements that cannot be read are `Broken`, and reported."""
    if len(text) > LONGEST:
        span = Span(0, 0, 1, 1, 1, 1)
        report.add(
            "REC108",
            f"the file has {len(text):,} characters",
            span,
            why="a spec has at most 1,048,576",
        )
        return Tree((), (), text, file)
    read = read_tokens(text)
    statements = _Reader(_lark(), read, report).read()
    return Tree(statements, tuple(read.comments), text, file)


def read_tokens(text: str) -> Tokens:
    """The tokens that the parser is given, with what is wrong with single ones; none of a text that is too long."""
    return tokenize(_lark(), text) if len(text) <= LONGEST else Tokens()


class _Reader:
    """Feeds tokens to the parser, one file long."""

    def __init__(self, lark: Lark, read: Tokens, report: Collector) -> None:
        self.words = {t.name: t.pattern.value for t in lark.terminals if t.pattern.type == "str"}
        self.parser = lark.parse_interactive("")
        self.tokens, self.mistakes, self.report = read.tokens, read.mistakes, report
        self.at = 0
        self.began = 0
        self.open = 0
        self.fresh = True
        self.before: tuple[list[Any], list[Any]] = ([], [])

    def read(self) -> tuple[Any, ...]:
        while self.at < len(self.tokens) and not self.report.full:
            token = self.tokens[self.at]
            if self.fresh:
                self.began = self.at
            if token.type == "BROKEN":
                self._say(token)
                self._recover()
                continue
            if token.value == "{" and token.start_pos in self.mistakes:
                self._say(token)
            try:
                possible = self._possible(token)
                if possible:
                    self.parser.feed_token(token)
            except UnexpectedToken:
                possible = False
            if not possible:
                self._unexpected(token)
                continue
            self.open += {"{": 1, "}": -1}.get(token.value, 0)
            if self.fresh:
                state = self.parser.parser_state
                self.before = (state.state_stack[:-1], state.value_stack[:-1])
            self.fresh = token.type in _ENDS or token.value == "{"
            self.at += 1
        return self._finish()

    def _possible(self, token: Token) -> bool:
        """Whether the parser may look at a token at all.

        An LALR parser may complete what is on its stack before it notices that a token is wrong;
        between statements there would be no way back.
        """
        if token.type == "RBRACE":
            return self.open > 0
        return not self.fresh or token.type in _STARTS

    def _finish(self) -> tuple[Any, ...]:
        last = self.tokens[-1] if self.tokens else Token("NEWLINE", "", 0, 1, 1, 1, 1, 0)
        if self.report.full:
            return ()
        try:
            statements: tuple[Any, ...] = self.parser.feed_eof(last)
        except UnexpectedToken:
            self._complain(last, "the file ends in the middle of a statement")
            self._replace(self.at)
            statements = self.parser.feed_eof(last)
        return statements

    # --- What to say --------------------------------------------------------------------------

    def _say(self, token: Token) -> None:
        """Report what is already known about a broken token."""
        mistake = self.mistakes[token.start_pos]
        self.report.add(
            mistake.code, mistake.message, span_of(token),
            why=mistake.why, help=mistake.help, related=mistake.related,
        )  # fmt: skip

    def _unexpected(self, token: Token) -> None:
        accepted = self.parser.accepts()
        if "NEWLINE" in accepted and not self.fresh and self._starts_statement():
            previous = self.tokens[self.at - 1]
            self.report.add(
                "REC104",
                f"`{token}` begins a new statement on the same line",
                span_of(token),
                help="write it on a new line, or put `;` before it",
                related=[(span_of(previous), "the statement before it ends here")],
            )
            self.parser.feed_token(Token.new_borrow_pos("SEMICOLON", ";", token))
            self.fresh = True
            return
        if token.type in _ENDS:
            self._complain(token, "the statement ends too early")
        elif token.type not in ("NAME", "NUMBER", "STRING") and token.value.isidentifier():
            self._complain(token, f"`{token}` is a word of the language and cannot stand here")
        else:
            self._complain(token, f"`{_short(token)}` cannot stand here")
        self._recover()

    def _complain(self, token: Token, message: str) -> None:
        span = span_of(token)
        if token.type in _ENDS and self.at:
            # An excerpt that marks a line end shows nothing, so what came before it is marked.
            span = span_of(self.tokens[self.at - 1])
        expected = self._expected()
        self.report.add("REC101", message, span, help=f"expected {expected}" if expected else None)

    def _expected(self) -> str:
        """What could have come, in a person's words."""
        accepted = set(self.parser.accepts()) - {"BROKEN"}
        if accepted >= _VALUE - {"MINUS", "NOT"}:
            return "a value"
        if self._two_names():
            return f"`=` behind `{self.tokens[self.began]}` if this is an attribute, or `{{` if it is a block"
        if self.fresh:
            return "a statement, such as `attack name {` or `key = value`"
        phrases = []
        ends = accepted & {"NEWLINE", "SEMICOLON"}
        accepted -= {name for name in accepted if self.words.get(name) in _OPERATORS}
        if ends:
            accepted -= {"NEWLINE", "SEMICOLON", "$END"}
            phrases.append("a new line or `;`")
        phrases += sorted(_KINDS.get(name) or f"`{self.words[name]}`" for name in accepted)
        *most, last = phrases or ["something else"]
        return f"{', '.join(most)} or {last}" if most else last

    # --- Going on -----------------------------------------------------------------------------

    def _two_names(self) -> bool:
        names = [t.type == "NAME" for t in self.tokens[self.began : self.began + 2]]
        return self.at == self.began + 2 and all(names)

    def _starts_statement(self) -> bool:
        kinds = [t.type for t in self.tokens[self.at : self.at + 3]] + ["", "", ""]
        if kinds[0] in ("EXPECT", "PARAM", "AUDIT"):
            return True
        heads = not {"LBRACE", "LIKE"}.isdisjoint(kinds[1:3])
        return kinds[0] == "NAME" and (heads or kinds[1] == "EQUAL")

    def _recover(self) -> None:
        token = self.tokens[self.at]
        if token.value == "}" and (self.fresh or not self.open):
            self.at += 1
            return
        # Behind a closing brace the statement is complete, and only the rest of the line is wrong.
        complete = not self.fresh and self.tokens[self.at - 1].value == "}"
        depth, stop = 0, self.at
        while stop < len(self.tokens):
            token = self.tokens[stop]
            if token.value == "{":
                if not complete and depth == 0 and self._head_of_block(stop):
                    return
                depth += 1
            elif token.value == "}":
                if depth == 0:
                    break
                depth -= 1
            elif token.type in _ENDS and depth == 0:
                break
            stop += 1
        if complete:
            self.at = stop
        else:
            self._replace(stop)

    def _head_of_block(self, brace: int) -> bool:
        """Mend a head that cannot be read, so that the block's inside still is."""
        first = self.tokens[self.began]
        behind = self.tokens[brace + 1].type if brace + 1 < len(self.tokens) else ""
        if first.type != "NAME" or behind != "NEWLINE" or self.tokens[brace].type == "BROKEN":
            return False
        self._rewind()
        self.parser.feed_token(Mended.new_borrow_pos("NAME", str(first), first))
        if brace > self.began + 1 and self.tokens[self.began + 1].type == "NAME":
            self.parser.feed_token(self.tokens[self.began + 1])
        self.at, self.fresh = brace, False
        state = self.parser.parser_state
        self.before = (list(state.state_stack), list(state.value_stack))
        return True

    def _rewind(self) -> None:
        if not self.fresh:
            state = self.parser.parser_state
            state.state_stack[:], state.value_stack[:] = self.before
            self.fresh = True

    def _replace(self, stop: int) -> None:
        """Put a broken statement in place of what was begun, and go on at `stop`."""
        self._rewind()
        skipped = self.tokens[self.began : max(stop, self.began + 1)]
        words = " ".join(t for t in skipped[:50] if t.type == "NAME")
        broken = Token.new_borrow_pos("BROKEN", words, skipped[0])
        self.parser.feed_token(broken)
        self.fresh = False
        self.at = stop
        state = self.parser.parser_state
        self.before = (state.state_stack[:-1], state.value_stack[:-1])


def _short(token: Token) -> str:
    text = str(token)
    return text if len(text) <= 30 else text[:29] + "…"
