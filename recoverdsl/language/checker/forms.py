"""The expression forms of the schema: what `mid at last_token` or `norm <= 20` is read as.

A form is what an annotation such as `Site` or `Limit` asks for, where no literal, word, reference
or function call would do.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import attrs
from attrs import frozen

from recoverdsl.language import schema
from recoverdsl.language.checker.arithmetic import fold, is_arithmetic
from recoverdsl.language.checker.conditions import Conditions, all_numbers, is_word
from recoverdsl.language.checker.conversions import (
    ascending,
    meant_by,
    meant_objective,
    without_percent,
)
from recoverdsl.language.diagnostics import Help, replace
from recoverdsl.language.diagnostics.suggestions import help_with_word, suggest
from recoverdsl.language.syntax.nodes import (
    Binary,
    Call,
    Expression,
    Index,
    List,
    Path,
    Unary,
    Word,
)  # fmt: skip

_COMPARISONS = ("<", "<=", ">", ">=")


@frozen
class Form:
    """How one expression form is recognized and read."""

    fits: Callable[[Expression], bool]
    read: Callable[[Forms, Expression], Any]


class Forms(Conditions):
    """The readers of the forms. Each returns None once it has reported what is wrong."""

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
        if (
            not isinstance(value, Binary)
            or value.operator != "<="
            or not is_word(value.left, "norm")
        ):
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

    # --- Clamp values, objectives, targets ----------------------------------------------------

    def clamp(self, value: Expression) -> Any:
        if all_numbers(value):
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
                (rest.left, rest.right) if all_numbers(rest.left) else (rest.right, rest.left)
            )
            if all_numbers(left):
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
            case Call(Word("logprob"), (first, *others)) if is_word(first.value, "base_answer"):
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
            case Binary("of", left, right) if is_word(left, "base_answer") and is_word(
                right, "another_example"
            ):
                return schema.AnswerOf("another_example")
        return self.wrong_type(value, "`target`", schema.FORMS[schema.AnswerOf]) and None

    def behavior_of(self, value: Expression) -> Any:
        match value:
            case Binary("of", Path((Word(name) as word,)), right):
                if not is_word(right, "another_example"):
                    help = replace(right.span, "another_example")
                    self._add("REC301", "a target is `of another_example`", right, help)
                    return None
                found = self.scope.find(name, word.span, ("behavior",))
                return schema.BehaviorOf(name, "another_example") if found else None
        return self.wrong_type(value, "`target`", schema.FORMS[schema.BehaviorOf]) and None


def _of_behavior(value: Expression) -> bool:
    return (
        isinstance(value, Binary)
        and value.operator == "of"
        and not is_word(value.left, "base_answer")
    )


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
    schema.BehaviorOf: Form(_of_behavior, Forms.behavior_of),
    schema.AnswerOf: Form(lambda v: _binary("of")(v) and not _of_behavior(v), Forms.answer_of),
}
"""How the annotations of `schema.FORMS` are read."""
