"""The expression forms of the schema: what `mid at last_token` or `norm <= 20` is read as.

A form is what an annotation such as `Site` or `Limit` asks for, where no literal, word, reference
or function call would do.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import attrs
from attrs import frozen

from recoverdsl.language import schema
from recoverdsl.language.checker.arithmetic import fold, is_arithmetic
from recoverdsl.language.checker.conversions import (
    ascending,
    meant_by,
    meant_objective,
    without_percent,
)
from recoverdsl.language.checker.scope import Scope
from recoverdsl.language.diagnostics import Help
from recoverdsl.language.diagnostics.suggestions import help_with_word, suggest
from recoverdsl.language.syntax.nodes import (
    Argument,
    Binary,
    Call,
    Expression,
    Index,
    List,
    Number,
    Path,
    String,
    Unary,
    Word,
)  # fmt: skip

_COMPARISONS = ("<", "<=", ">", ">=")
_COMPARED = {"score": "compare it: `score > 0`", "judge": "compare it: `judge > 0.5`"}


@frozen
class Form:
    """How one expression form is recognized and read."""

    fits: Callable[[Expression], bool]
    read: Callable[[Forms, Expression], Any]


class Forms:
    """The readers of the forms. Each returns None once it has reported what is wrong."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def wrong_type(self, value: Expression, what: str, wanted: str, *annotations: Any) -> Any:
        """Report that something else is needed here."""
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

    def site(self, value: Expression) -> schema.Site | None:
        parts = value.parts if isinstance(value, Path) else ()
        match parts:
            case (Word(model), Word("layers"), Index(layer), Word("output" | "input" as side)):
                if not is_arithmetic(layer) or not (number := fold(layer, self.scope.report)):
                    if not is_arithmetic(layer):
                        self._add("REC307", "a layer is a whole number", layer, "such as `14`")
                    return None
                if number.percent or number.value.denominator != 1 or number.value < 0:
                    self._add("REC307", "a layer is a whole number from 0", layer, "such as `14`")
                    return None
                if not self.scope.find(model, parts[0].span, ("model",)):
                    return None
                return schema.Site(model, int(number.value), side)
        models = self.scope.names("model") or ["model"]
        help = meant_by(schema.Site, value, self.scope)
        edits = help.fix if isinstance(help, Help) else ()
        at = edits[0].span if len(edits) == 1 else value.span
        self.scope.report.add(
            "REC307", "expected a point of a residual stream", at,
            help=help or f"write it like `{models[0]}.layers[14].output`",
        )  # fmt: skip
        return None

    def positions(self, value: Expression) -> schema.Positions | None:
        if isinstance(value, Binary) and value.operator == "except":
            include, exclude = self._words(value.left), self._words(value.right)
            if include is None or exclude is None:
                return None
            return schema.Positions(include, exclude)
        words = self._words(value)
        return None if words is None else schema.Positions(words)

    def _words(self, value: Expression) -> tuple[Any, ...] | None:
        known = schema.POSITIONS
        found: list[str] | None = []
        for item in value.items if isinstance(value, List) else (value,):
            name = item.name if isinstance(item, Path) else None
            if name and name in known:
                if found is not None and name not in found:
                    found.append(name)
                continue
            found = None
            if name:
                self._add(
                    "REC211",
                    f"there is no position `{name}`",
                    item,
                    help_with_word(item.span, name, known, "positions"),
                )
            elif isinstance(item, Binary) and item.operator == "except":
                self._add(
                    "REC301",
                    "`except` takes away from the whole list",
                    item,
                    "write `[a, b] except c`",
                )
            else:
                self._add(
                    "REC301", "expected a token position", item, suggest("", known, "positions")
                )
        return tuple(found) if found else None

    def perturbation(self, value: Expression) -> schema.Perturbation | None:
        if not isinstance(value, Binary) or value.operator != "at":
            self.wrong_type(value, "`perturb`", schema.FORMS[schema.Perturbation])
            return None
        positions = self.positions(value.right)
        place: Any
        if isinstance(value.left, Path) and value.left.name:
            name = value.left.name
            place = name if self.scope.find(name, value.left.parts[0].span, ("sae",)) else None
        else:
            place = self.site(value.left)
        return schema.Perturbation(place, positions) if place and positions else None

    def limit(self, value: Expression) -> schema.Limit | None:
        if not isinstance(value, Binary) or value.operator != "<=" or not _is(value.left, "norm"):
            self.wrong_type(value, "`limit`", schema.FORMS[schema.Limit], schema.Limit)
            return None
        items = value.right.items if isinstance(value.right, List) else (value.right,)
        norms = [fold(item, self.scope.report) for item in items]
        if not norms or any(norm is None for norm in norms):
            return None
        for norm, item in zip(norms, items, strict=True):
            if norm and norm.percent:
                message = "a norm is not a share, so it takes no `%`"
                self._add("REC303", message, item, without_percent(item))
                return None
        exact = [norm.value for norm in norms if norm]
        for low, high, item in zip([Fraction(0), *exact], exact, items, strict=False):
            if high <= low:
                above = "above 0" if item is items[0] else "above the one before it"
                self._add(
                    "REC308", f"this budget must be {above}", item, ascending(value.right, norms)
                )
                return None
        return schema.Limit(tuple(float(norm) for norm in exact))

    def rows(self, value: Expression) -> schema.Rows | None:
        if not isinstance(value, Binary) or value.operator != "..":
            self.wrong_type(value, "`rows`", schema.FORMS[schema.Rows], schema.Rows)
            return None
        whole = {"at_least": 0, "doc": "Rows count from 0."}
        first, last = (self.number(int, end, "a row", whole) for end in (value.left, value.right))
        if not isinstance(first, int) or not isinstance(last, int):
            return None
        if first > last:
            self._add("REC302", "this range is empty", value, "the lower end comes first")
            return None
        return schema.Rows(first, last)

    # --- Scores and predicates ----------------------------------------------------------------

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
        sound = self._terms(value.left, Fraction(1), terms)
        positions = self.positions(value.right)
        return schema.Score(tuple(terms), positions) if sound and positions else None

    def _terms(self, value: Expression, weight: Fraction, into: list[schema.Term]) -> bool:
        match value:
            case Binary("+" | "-" as sign, left, right):
                one = self._terms(left, weight, into)
                return self._terms(right, weight if sign == "+" else -weight, into) and one
            case Unary("-", operand):
                return self._terms(operand, -weight, into)
            case Binary("*", left, right) if is_arithmetic(left) != is_arithmetic(
                right
            ) or _all_numbers(left):
                factor, rest = (left, right) if _all_numbers(left) else (right, left)
                number = fold(factor, self.scope.report)
                return number is not None and self._terms(rest, weight * number.plain, into)
            case Binary("/", left, right):
                number = fold(value.right, self.scope.report)
                if number is not None and not number.value:
                    self._add("REC309", "this divides by zero", right, "divide by another number")
                    return False
                return number is not None and self._terms(left, weight / number.plain, into)
            case Call(Word("logit" | "logprob" as quantity), arguments):
                return self._term(value, quantity, [a.value for a in arguments], weight, into)
        self._add(
            "REC301", "a score is a sum of `logit(\"…\")` and `logprob(\"…\")`", value,
            help_with_word(value.function.span, value.function.text, ("logit", "logprob")) if isinstance(value, Call) else None,
        )  # fmt: skip
        return False

    def _term(
        self,
        call: Call,
        quantity: Any,
        given: list[Expression],
        weight: Fraction,
        into: list[schema.Term],
    ) -> bool:
        if len(given) != 1 or call.arguments[0].name or not isinstance(given[0], String):
            help: Help | str | None = f'such as `{quantity}(" {{io}}")`'
            if len(given) == 1 and not call.arguments[0].name:
                help = meant_by(str, given[0], self.scope) or help
            self._add("REC301", f"`{quantity}` needs one token, as a text in quotes", call, help)
            return False
        text = given[0].value
        try:
            columns = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
        except ValueError:
            columns = [""]
        if not text or not all(name.isidentifier() for name in columns):
            self._add(
                "REC310", "expected a token with columns of the data in braces", given[0],
                "write `{io}` for a column, and `{{` for a brace",
            )  # fmt: skip
            return False
        into.append(schema.Term(float(weight), quantity, text))
        return True

    def predicate(self, value: Expression) -> Any:
        match value:
            case Unary("not", operand):
                inner = self.predicate(operand)
                return inner and schema.Not(inner)
            case Binary("and" | "or" as operator):
                parts = [self.predicate(part) for part in _chain(value, operator)]
                cls = schema.And if operator == "and" else schema.Or
                return cls(tuple(parts)) if all(parts) else None
            case Binary("<" | "<=" | ">" | ">=" as operator, left, right):
                return self._comparison(operator, left, right)
            case Path() if value.name:
                if value.name in schema.DETECTORS:
                    return schema.Detector(value.name)
                help = _COMPARED.get(value.name) or help_with_word(
                    value.span, value.name, schema.DETECTORS, "known here"
                )
                self._add("REC211", f"there is no detector `{value.name}`", value, help)
                return None
        help = "such as `score > 0` or `not refuses`"
        if isinstance(value, Binary) and value.operator == "==":
            help = "numbers are compared with `<`, `<=`, `>` or `>=`"
        self._add("REC301", "expected a condition", value, help)
        return None

    def _comparison(self, operator: Any, left: Expression, right: Expression) -> Any:
        name = left.name if isinstance(left, Path) else None
        if name == "judge":
            share = {"unit": "fraction", "at_least": 0, "at_most": 1}
            read = self.number(float, right, "`judge`", share)
            return schema.Comparison(name, operator, read) if isinstance(read, float) else None
        if name != "score" and name not in schema.DETECTORS:
            self._add(
                "REC301", "only `score` and `judge` can be compared", left, "such as `score > 0`"
            )
            return None
        number = fold(right, self.scope.report)
        if number and number.percent:
            message = "a score is not a share, so it takes no `%`"
            self._add("REC303", message, right, without_percent(right))
            return None
        return number and schema.Comparison(name, operator, float(number.value))

    # --- Clamp values, objectives, targets ----------------------------------------------------

    def clamp(self, value: Expression) -> Any:
        if _all_numbers(value):
            number = fold(value, self.scope.report)
            if number and number.percent:
                message = "an activation is not a share, so it takes no `%`"
                self._add("REC303", message, value, without_percent(value))
                return None
            return number and schema.SetTo(float(number.value))
        factor, rest = Fraction(1), value
        if isinstance(value, Unary) and value.operator == "-":
            factor, rest = Fraction(-1), value.operand
        if isinstance(rest, Binary) and rest.operator == "*":
            left, right = (
                (rest.left, rest.right) if _all_numbers(rest.left) else (rest.right, rest.left)
            )
            if _all_numbers(left):
                number = fold(left, self.scope.report)
                if number is None:
                    return None
                factor, rest = factor * number.plain, right
        match rest:
            case Path() if rest.name == "activation":
                return schema.ScaleBy(float(factor))
            case Call(Word("mean_when"), arguments):
                data = arguments[0].value if len(arguments) == 1 else None
                if not isinstance(data, Path) or not data.name:
                    self._add("REC301", "`mean_when` needs the name of one `data` block", rest)
                    return None
                found = self.scope.find(data.name, data.parts[0].span, ("data",))
                return schema.MeanWhen(float(factor), data.name) if found else None
        self.wrong_type(rest, "`to`", schema.FORMS[schema.ClampValue], schema.ClampValue)
        return None

    def logprob(self, value: Expression) -> Any:
        match value:
            case Call(Word("logprob"), (first, *others)) if _is(first.value, "base_answer"):
                wrong = [
                    a for i, a in enumerate(others) if i or (a.name and a.name.text != "tokens")
                ]
                for argument in wrong:
                    help = "write `logprob(base_answer, tokens = 8)`"
                    self._add("REC204", "`logprob` takes no such argument here", argument, help)
                if wrong or not others:
                    return None if wrong else schema.LogProb("base_answer")
                meta = attrs.fields(schema.LogProb).tokens.metadata
                tokens = self.number(int, others[0].value, "`tokens` of `logprob`", meta)
                return schema.LogProb("base_answer", tokens) if isinstance(tokens, int) else None
        self._add(
            "REC301", "an attack maximizes a behavior's score or `logprob(base_answer)`", value,
            meant_objective(value, self.scope),
        )  # fmt: skip
        return None

    def answer_of(self, value: Expression) -> Any:
        match value:
            case Binary("of", left, right) if _is(left, "base_answer") and _is(
                right, "another_example"
            ):
                return schema.AnswerOf("another_example")
        return self.wrong_type(value, "`target`", schema.FORMS[schema.AnswerOf]) and None


def _is(value: Expression, name: str) -> bool:
    return isinstance(value, Path) and value.name == name


def _all_numbers(value: Expression) -> bool:
    if isinstance(value, Binary):
        return value.operator in "+-*/" and _all_numbers(value.left) and _all_numbers(value.right)
    if isinstance(value, Unary):
        return value.operator == "-" and _all_numbers(value.operand)
    return isinstance(value, Number)


def _chain(value: Expression, operator: str) -> list[Expression]:
    if isinstance(value, Binary) and value.operator == operator:
        return [*_chain(value.left, operator), *_chain(value.right, operator)]
    return [value]


def _binary(*operators: str) -> Callable[[Expression], bool]:
    return lambda value: isinstance(value, Binary) and value.operator in operators


FORMS: dict[Any, Form] = {
    schema.Site: Form(lambda v: isinstance(v, Path) and len(v.parts) > 1, Forms.site),
    schema.Positions: Form(lambda v: True, Forms.positions),
    schema.Perturbation: Form(_binary("at"), Forms.perturbation),
    schema.Limit: Form(_binary(*_COMPARISONS), Forms.limit),
    schema.Rows: Form(_binary(".."), Forms.rows),
    schema.Score: Form(_binary("at"), Forms.score),
    schema.Predicate: Form(lambda v: True, Forms.predicate),
    schema.ClampValue: Form(lambda v: True, Forms.clamp),
    schema.LogProb: Form(lambda v: isinstance(v, Call), Forms.logprob),
    schema.AnswerOf: Form(_binary("of"), Forms.answer_of),
}
"""How the annotations of `schema.FORMS` are read."""
