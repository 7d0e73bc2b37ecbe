"""Scores and conditions: what `logit(" {io}") at last_token` and `top_token == " {io}"` are read as."""

from __future__ import annotations

import string
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from recoverdsl.language import schema
from recoverdsl.language.checker.arithmetic import fold, is_arithmetic
from recoverdsl.language.checker.conversions import flipped, meant_by, without_percent, written
from recoverdsl.language.checker.scope import Scope
from recoverdsl.language.diagnostics import Help, replace
from recoverdsl.language.diagnostics.suggestions import help_with_word, suggest
from recoverdsl.language.syntax.nodes import (
    Argument,
    Binary,
    Call,
    Expression,
    Number,
    Path,
    String,
    Unary,
    Word,
)  # fmt: skip
from recoverdsl.language.syntax.printer import quote

_ORDERS = ("<", "<=", ">", ">=")
_SAMES = ("==", "!=")
_READ = {
    word: known
    for words in (schema.WORDS, schema.CALLS)
    for word, known in words.items()
    if schema.Predicate in known.forms
}
"""The words and calls that a condition compares."""


class Conditions:
    """The readers of scores and conditions. Each returns None once it has reported what is wrong."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def wrong_type(self, value: Expression, what: str, wanted: str, *annotations: Any) -> Any:
        """Report that something else is needed here."""
        raise NotImplementedError

    def positions(self, value: Expression) -> schema.Positions | None:
        """Return token positions."""
        raise NotImplementedError

    def number(self, kind: type, value: Expression, what: str, meta: Mapping[str, Any]) -> Any:
        """Return a number, with its unit and range checked."""
        raise NotImplementedError

    def _add(
        self,
        code: str,
        message: str,
        at: Expression | Word | Argument,
        help: Help | str | None = None,
    ) -> None:
        self.scope.report.add(code, message, at.span, help=help)

    def score(self, value: Expression) -> schema.Score | None:
        if not isinstance(value, Binary) or value.operator != "at":
            self._add(
                "REC301",
                "`score` needs the position that it is read at",
                value,
                "add `at last_token`",
            )
            return None
        terms: list[schema.Term] = []
        sound = self.terms(value.left, Fraction(1), terms)
        positions = self.positions(value.right)
        return schema.Score(tuple(terms), positions) if sound and positions else None

    def terms(self, value: Expression, weight: Fraction, into: list[schema.Term]) -> bool:
        match value:
            case Binary("+" | "-" as sign, left, right):
                one = self.terms(left, weight, into)
                return self.terms(right, weight if sign == "+" else -weight, into) and one
            case Unary("-", operand):
                return self.terms(operand, -weight, into)
            case Binary("*", left, right) if is_arithmetic(left) != is_arithmetic(
                right
            ) or all_numbers(left):
                factor, rest = (left, right) if all_numbers(left) else (right, left)
                number = fold(factor, self.scope.report)
                return number is not None and self.terms(rest, weight * number.plain, into)
            case Binary("/", left, right):
                number = fold(value.right, self.scope.report)
                if number is not None and not number.value:
                    self._add("REC309", "this divides by zero", right, "divide by another number")
                    return False
                return number is not None and self.terms(left, weight / number.plain, into)
            case Call(Word("logit" | "logprob" as quantity)):
                return self._term(value, quantity, weight, into)
        self._add(
            "REC301", "a score is a sum of `logit(\"…\")` and `logprob(\"…\")`", value,
            (help_with_word(value.function.span, value.function.text, ("logit", "logprob")) if isinstance(value, Call) else None)
            or 'such as `logit(" {io}") - logit(" {s}")`',
        )  # fmt: skip
        return False

    def _term(
        self,
        call: Call,
        quantity: Any,
        weight: Fraction,
        into: list[schema.Term],
    ) -> bool:
        token = self.token_of(call)
        if token is not None:
            into.append(schema.Term(float(weight), quantity, token))
        return token is not None

    def token_of(self, call: Call) -> str | None:
        """Return the token that a call names: `logit(" {io}")`."""
        name, given = call.function.text, call.arguments
        if len(given) != 1 or given[0].name or not isinstance(given[0].value, String):
            help: Help | str | None = f'such as `{name}(" {{io}}")`'
            if len(given) == 1 and not given[0].name:
                help = meant_by(str, given[0].value, self.scope) or help
            self._add("REC301", f"`{name}` needs one token, as a text in quotes", call, help)
            return None
        return self.filled(given[0].value, "a token")

    def filled(self, value: String, what: str) -> str | None:
        """Return a text that may name columns of the data in braces, and may not be empty."""
        try:
            parsed = string.Formatter().parse(value.value)
            columns = [name for _, name, _, _ in parsed if name is not None]
        except ValueError:
            columns = [""]
        if not value.value or not all(name.isidentifier() for name in columns):
            self._add(
                "REC310", f"expected {what} with columns of the data in braces", value,
                "write `{io}` for a column, and `{{` for a brace",
            )  # fmt: skip
            return None
        return value.value

    # --- Conditions ---------------------------------------------------------------------------

    def predicate(self, value: Expression) -> Any:
        match value:
            case Unary("not", operand):
                inner = self.predicate(operand)
                return inner and schema.Not(inner)
            case Binary("and" | "or" as operator):
                parts = [self.predicate(part) for part in _chain(value, operator)]
                cls = schema.And if operator == "and" else schema.Or
                return cls(tuple(parts)) if all(parts) else None
            case Binary(operator) if operator in (*_ORDERS, *_SAMES):
                return self._comparison(value)
            case Binary("at", condition, _) if isinstance(condition, Binary):
                return self._without_place(value, condition)
            case Path() if value.name in schema.DETECTORS:
                return schema.Detector(str(value.name))
        word = _word_of(value)
        if word in _READ:
            help = f"compare it: `{_example(word)}`"
            if isinstance(value, Path):
                self._add("REC211", f"there is no detector `{word}`", value, help)
            else:
                self._add("REC301", f"`{word}(…)` alone is no condition", value, help)
        elif isinstance(value, Path) and value.name:
            known = (*schema.DETECTORS, *(w for w in _READ if w in schema.WORDS))
            near = help_with_word(value.span, value.name, known, "known here")
            self._add("REC211", f"there is no detector `{value.name}`", value, near)
        elif isinstance(value, Call):
            near = suggest(word, [w for w in _READ if w in schema.CALLS], "known here")
            self._add("REC203", f"there is no figure `{word}` that a condition could compare", value.function, near)  # fmt: skip
        else:
            self._add("REC301", "expected a condition", value, "such as `score > 0` or `not refuses`")  # fmt: skip
        return None

    def _comparison(self, value: Binary) -> Any:
        operator: Any = value.operator
        left, right = value.left, value.right
        if isinstance(right, Binary) and right.operator == "at" and _word_of(left) in _READ:
            return self._without_place(right, right.left)
        word = _word_of(left)
        if word not in (*_READ, *schema.DETECTORS) and (own := _word_of(right)) in _READ:
            fix = f"{written(right, self.scope)} {flipped(operator)} {written(left, self.scope)}"
            self._add("REC301", f"`{own}` stands on the left of what it is compared with", value, replace(value.span, fix))  # fmt: skip
            return None
        read: Any = {
            "top_token": self._top_token, "text": self._text, "most_likely": self._most_likely,
            "rank": self._rank, "probability": self._probability,
        }.get(word)  # fmt: skip
        if read and isinstance(left, Call) == (word in schema.CALLS):
            return read(operator, left, right, value)
        if _has_logits(left) or _has_logits(right):
            return self._logits(value)
        if operator in _SAMES and (word in ("score", "judge") or isinstance(left, Number)):
            help = "numbers are compared with `<`, `<=`, `>` or `>=`"
            self._add("REC301", "expected a condition", value, help)
            return None
        if word == "judge":
            share = {"unit": "fraction", "at_least": 0, "at_most": 1}
            bound = self.number(float, right, "`judge`", share)
            return schema.Comparison(word, operator, bound) if isinstance(bound, float) else None
        if word != "score" and word not in schema.DETECTORS:
            known = [w for w in _READ if (w in schema.CALLS) == isinstance(left, Call)]
            at = left.function if isinstance(left, Call) else left
            near = help_with_word(at.span, word, known) if word else None
            self._add("REC301", "this cannot be compared in a condition", left, near or f"such as `{_example('top_token')}` or `score > 0`")  # fmt: skip
            return None
        number = fold(right, self.scope.report)
        if number and number.percent:
            message = "a score is not a share, so it takes no `%`"
            self._add("REC303", message, right, without_percent(right))
            return None
        return number and schema.Comparison(word, operator, float(number.value))

    def _without_place(self, placed: Binary, condition: Expression) -> None:
        help = replace(placed.span, written(condition, self.scope), "remove the position")
        message = "a condition is read at the last token of the prompt and takes no position"
        self._add("REC301", message, placed.right, help)

    def _same(self, operator: str, value: Binary, word: str) -> bool:
        """Tell whether the operator is `==` or `!=`, and report it if not."""
        if operator not in _SAMES:
            help = f"write `==` or `!=`: `{_example(word)}`"
            self._add("REC301", f"`{word}` is compared by `==` or `!=`", value, help)
        return operator in _SAMES

    def _order(self, operator: str, value: Binary, word: str) -> bool:
        """Tell whether the operator orders numbers, and report it if not."""
        if operator not in _ORDERS:
            help: Help | str = f"such as `{_example(word)}`"
            if word == "rank" and operator == "==" and written(value.right, self.scope) == "1":
                between = value.left.span.after.to(value.right.span.before)
                help = replace(between, " <= ", "write `<=`")
            self._add("REC301", f"`{word}` is compared by `<`, `<=`, `>` or `>=`", value, help)
        return operator in _ORDERS

    def _quoted(self, right: Expression, word: str, what: str) -> str | None:
        """Return the text that something is compared with."""
        if isinstance(right, String):
            return right.value if not right.value and word == "text" else self.filled(right, what)
        help: Help | str = f"such as `{_example(word)}`"
        if word != "most_likely":
            help = meant_by(str, right, self.scope) or help
        self._add("REC301", f"`{word}` is compared with {what}, as a text in quotes", right, help)
        return None

    def _top_token(self, operator: str, left: Expression, right: Expression, value: Binary) -> Any:
        if not self._same(operator, value, "top_token"):
            return None
        token = self._quoted(right, "top_token", "a token")
        return None if token is None else _negated(operator, schema.TopToken(token))

    def _text(self, operator: str, left: Expression, right: Expression, value: Binary) -> Any:
        if not self._same(operator, value, "text"):
            return None
        text = self._quoted(right, "text", "a text")
        return None if text is None else _negated(operator, schema.TextIs(text))

    def _most_likely(self, operator: str, left: Call, right: Expression, value: Binary) -> Any:
        given = [a.value for a in left.arguments]
        others = [a for a in left.arguments if a.name or not isinstance(a.value, String)]
        if len(given) < 2 or others:
            help: Help | str | None = f"such as `{_example('most_likely')}`"
            if others and not others[0].name:
                help = meant_by(str, others[0].value, self.scope) or help
            self._add("REC301", "`most_likely` needs two tokens or more, as texts in quotes", others[0] if others else left, help)  # fmt: skip
            return None
        if not self._same(operator, value, "most_likely"):
            return None
        choices = [self.filled(one, "a token") for one in given if isinstance(one, String)]
        token = self._quoted(right, "most_likely", "one of its tokens")
        if token is None or any(choice is None for choice in choices):
            return None
        for at, choice in enumerate(choices):
            if choice in choices[:at]:
                self._add("REC208", f"`{quote(str(choice))}` is given twice", given[at], "remove one of them")  # fmt: skip
                return None
        if token not in choices and not any("{" in str(text) for text in (token, *choices)):
            known = ", ".join(f"`{quote(str(choice))}`" for choice in choices)
            self._add("REC211", f"{quote(token)} is not among the tokens of `most_likely`", right, f"they are {known}")  # fmt: skip
            return None
        return _negated(operator, schema.MostLikely(tuple(map(str, choices)), token))

    def _rank(self, operator: Any, left: Call, right: Expression, value: Binary) -> Any:
        token = self.token_of(left)
        if self._two_tokens(left, right) or not self._order(operator, value, "rank"):
            return None
        bound = self.number(int, right, "`rank`", {"unit": "place"})
        if token is None or not isinstance(bound, int):
            return None
        if bound - (operator in ("<", ">=")) < 1:
            always = "always" if operator in (">", ">=") else "never"
            help = f"ranks begin with 1: `{_example('rank')}`"
            self._add("REC302", f"this {always} holds: a rank is at least 1", value, help)
            return None
        return schema.Rank(token, operator, bound)

    def _probability(self, operator: Any, left: Call, right: Expression, value: Binary) -> Any:
        token = self.token_of(left)
        if self._two_tokens(left, right) or not self._order(operator, value, "probability"):
            return None
        share = {"unit": "fraction", "above": 0, "at_most": 1}
        bound = self.number(float, right, "`probability`", share)
        if token is None or not isinstance(bound, float):
            return None
        if bound == 1:
            self._add("REC302", "`probability` must be below 100%", right, f"such as `{_example('probability')}`")  # fmt: skip
            return None
        return schema.Probability(token, operator, bound)

    def _two_tokens(self, left: Call, right: Expression) -> bool:
        """Report `probability("a") > probability("b")`, which compares two logits."""
        word = left.function.text
        if not isinstance(right, Call) or right.function.text != word:
            return False
        help = 'compare their logits: `logit(" {io}") > logit(" {s}")`'
        self._add("REC301", f"`{word}` is compared with a number", right, help)
        return True

    def _logits(self, value: Binary) -> Any:
        if value.operator in _SAMES:
            self._add(
                "REC301", "two sums of logits are compared by `<`, `<=`, `>` or `>=`", value,
                "such as `logit(\" {io}\") > logit(\" {s}\")`",
            )  # fmt: skip
            return None
        terms: list[schema.Term] = []
        bound, sound = Fraction(0), True
        for side, sign in ((value.left, 1), (value.right, -1)):
            if not all_numbers(side):
                sound = self.terms(side, Fraction(sign), terms) and sound
                continue
            number = fold(side, self.scope.report)
            if number and number.percent:
                message = "a logit is not a share, so it takes no `%`"
                self._add("REC303", message, side, without_percent(side))
            sound = sound and number is not None and not number.percent
            bound -= sign * number.value if number else 0
        operator: Any = value.operator
        return schema.LogitComparison(tuple(terms), operator, float(bound)) if sound else None


def is_word(value: Expression, name: str) -> bool:
    """Tell whether a value is one bare word."""
    return isinstance(value, Path) and value.name == name


def all_numbers(value: Expression) -> bool:
    """Tell whether a value is calculated from numbers alone."""
    if isinstance(value, Binary):
        return value.operator in "+-*/" and all_numbers(value.left) and all_numbers(value.right)
    if isinstance(value, Unary):
        return value.operator == "-" and all_numbers(value.operand)
    return isinstance(value, Number)


def _word_of(value: Expression) -> str:
    """Return the word that a value is, or the function that it calls; empty for another."""
    if isinstance(value, Call):
        return value.function.text
    return (value.name or "") if isinstance(value, Path) else ""


def _example(word: str) -> str:
    """Return how a word stands in a condition."""
    shown = {"logit": 'logit(" {io}") > logit(" {s}")', "logprob": 'logprob(" {io}") > -1'}
    return shown.get(word) or _READ[word].example


def _negated(operator: str, condition: Any) -> Any:
    return schema.Not(condition) if operator == "!=" else condition


def _has_logits(value: Expression) -> bool:
    if isinstance(value, Binary):
        return _has_logits(value.left) or _has_logits(value.right)
    if isinstance(value, Unary):
        return _has_logits(value.operand)
    return isinstance(value, Call) and value.function.text in ("logit", "logprob")


def _chain(value: Expression, operator: str) -> list[Expression]:
    if isinstance(value, Binary) and value.operator == operator:
        return [*_chain(value.left, operator), *_chain(value.right, operator)]
    return [value]
