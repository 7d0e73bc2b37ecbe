"""Expressions → values, as the annotations and metadata of the schema's fields ask."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal, get_args, get_origin

import attrs

from recoverdsl.language import schema
from recoverdsl.language.checker.arithmetic import fold, is_arithmetic
from recoverdsl.language.checker.conversions import meant_by, meant_name, without_percent, written
from recoverdsl.language.checker.forms import FORMS, Forms
from recoverdsl.language.checker.scope import Scope
from recoverdsl.language.diagnostics import Collector, Help, replace
from recoverdsl.language.diagnostics.suggestions import help_with_word
from recoverdsl.language.schema.fields import alternatives, describe, hints, keys
from recoverdsl.language.schema.vocabulary import article
from recoverdsl.language.syntax.nodes import (
    Argument,
    Binary,
    Boolean,
    Call,
    Expression,
    List,
    Number,
    Path,
    Span,
    String,
    Unary,
    Word,
)  # fmt: skip

INVALID: Any = object()
"""The value of what could not be read; its mistake is already reported."""

_EXAMPLES = {int: "such as `100`", float: "such as `0.5`", str: 'such as `"a text"`'}
_NAMES = {cls: name for name, cls in schema.FUNCTIONS.items()}


def out_of_range(number: Fraction, meta: Mapping[str, Any]) -> str | None:
    """Return the bound that a number does not keep, in words; None if it keeps all."""
    for name, holds, phrase in (
        ("at_least", number >= (meta.get("at_least") or 0), "at least"),
        ("above", number > (meta.get("above") or 0), "above"),
        ("at_most", number <= (meta.get("at_most") or 0), "at most"),
    ):
        if meta.get(name) is not None and not holds:
            return f"{phrase} {meta[name]:g}"
    return None


class Values(Forms):
    """Reads values for the checker. Every method reports what is wrong and then returns INVALID."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.report: Collector = scope.report

    def read(self, annotation: Any, value: Expression, what: str, meta: Mapping[str, Any]) -> Any:
        """Return a value of the annotated type. `what` names it in messages, `meta` has unit and range."""
        choices = alternatives(annotation)
        if len(choices) == 1:
            return self._one(choices[0], value, what, meta)
        fitting = [one for one in choices if self._fits(one, value)]
        if fitting:
            return self._one(fitting[0], value, what, meta)
        return self._none_fits(choices, annotation, value, what)

    def _fits(self, one: Any, value: Expression) -> bool:
        if one in FORMS:
            return FORMS[one].fits(value)
        if one in _NAMES:
            return isinstance(value, Call) and value.function.text == _NAMES[one]
        if get_origin(one) is Annotated:
            return isinstance(value, Path) and value.name is not None
        if get_origin(one) is Literal:
            return isinstance(value, Path) and value.name in get_args(one)
        if get_origin(one) is tuple:
            return isinstance(value, List) or self._fits(get_args(one)[0], value)
        if one is str:
            return isinstance(value, String)
        return is_arithmetic(value) if one in (int, float) else isinstance(value, Boolean)

    def _none_fits(self, choices: list[Any], annotation: Any, value: Expression, what: str) -> Any:
        items = [get_args(one)[0] if get_origin(one) is tuple else one for one in choices]
        functions = [_NAMES[one] for one in items if one in _NAMES]
        words = [w for one in choices if get_origin(one) is Literal for w in get_args(one)]
        if isinstance(value, Call) and functions:
            known = value.function.text in schema.FUNCTIONS
            return self._wrong(
                "REC203",
                f"`{value.function.text}` is not for {what}"
                if known
                else f"there is no function `{value.function.text}`",
                value.function.span,
                help_with_word(value.function.span, value.function.text, functions, "known here"),
            )
        if isinstance(value, Path) and value.name and words:
            return self._wrong(
                "REC211",
                f"{what} cannot be `{value.name}`",
                value.span,
                help_with_word(value.span, value.name, words, "possible words"),
            )
        return self.wrong_type(value, what, describe(annotation), *choices)

    def _one(self, one: Any, value: Expression, what: str, meta: Mapping[str, Any]) -> Any:
        if one in FORMS:
            result = FORMS[one].read(self, value)
            return INVALID if result is None else result
        if one in _NAMES:
            return self._call(one, value, what)
        if get_origin(one) is Annotated:
            return self._reference(one.__metadata__[0].kinds, value, what)
        if get_origin(one) is Literal:
            return self._word(get_args(one), value, what)
        if get_origin(one) is tuple:
            return self._items(get_args(one)[0], value, what, meta)
        if one in (int, float):
            return self.number(one, value, what, meta)
        kind: Any = String if one is str else Boolean
        if isinstance(value, kind):
            return value.value
        return self.wrong_type(value, what, describe(one), one)

    def _wrong(self, code: str, message: str, span: Span, help: Help | str | None) -> Any:
        self.report.add(code, message, span, help=help)
        return INVALID

    def wrong_type(self, value: Expression, what: str, wanted: str, *annotations: Any) -> Any:
        """Report that something else is needed here: a value of one of the annotated types."""
        helps = [help for one in annotations if (help := meant_by(one, value, self.scope))]
        helps_with_fix = [help for help in helps if isinstance(help, Help)]
        examples = [_EXAMPLES[one] for one in annotations[:1] if one in _EXAMPLES]
        help = next(iter([*helps_with_fix, *helps, *examples]), None)
        return self._wrong("REC301", f"{what} needs {wanted}", value.span, help)

    def number(self, kind: type, value: Expression, what: str, meta: Mapping[str, Any]) -> Any:
        """Return a number, with its unit and range checked."""
        if not is_arithmetic(value):
            return self.wrong_type(value, what, describe(kind), kind)
        quantity = fold(value, self.report)
        if quantity is None:
            return INVALID
        if quantity.percent and meta.get("unit") != "fraction":
            message = f"{what} is not a share, so it takes no `%`"
            return self._wrong("REC303", message, value.span, without_percent(value))
        exact = quantity.plain
        if kind is int and exact.denominator != 1:
            help = f"such as `{round(exact)}`" if abs(exact) < 10**6 else None
            return self._wrong("REC301", f"{what} needs a whole number", value.span, help)
        if bound := out_of_range(exact, meta):
            return self._out_of_range(f"{what} must be {bound}", value, exact, meta, bound)
        return kind(exact)

    def _out_of_range(
        self, message: str, value: Expression, exact: Fraction, meta: Mapping[str, Any], bound: str
    ) -> Any:
        help: Help | str = f"write a number that is {bound}"
        text = written(value, self.scope)
        share = meta.get("unit") == "fraction" and isinstance(value, Number) and "%" not in text
        if share and not out_of_range(exact / 100, meta):
            help = replace(value.span, f"{text}%", f"did you mean `{text}%`?")
        elif isinstance(value, Unary) and not out_of_range(-exact, meta):
            help = replace(value.span, written(value.operand, self.scope))
        self.report.add("REC302", message, value.span, why=meta.get("doc"), help=help)
        return INVALID

    def _reference(self, kinds: tuple[str, ...], value: Expression, what: str) -> Any:
        if not isinstance(value, Path) or value.name is None:
            named = " or ".join(f"{article(kind)} `{kind}` block" for kind in kinds)
            help = meant_name(kinds, value, self.scope)
            return self._wrong("REC301", f"{what} needs the name of {named}", value.span, help)
        return value.name if self.scope.find(value.name, value.parts[0].span, kinds) else INVALID

    def _word(self, words: tuple[str, ...], value: Expression, what: str) -> Any:
        written = (
            value.value
            if isinstance(value, String)
            else value.name
            if isinstance(value, Path)
            else None
        )
        if isinstance(value, Path) and written in words:
            return written
        if written is None:
            return self.wrong_type(
                value, what, " or ".join(f"`{w}`" for w in words), Literal[words]
            )
        help = (
            replace(value.span, written, f"write it without quotes: `{written}`")
            if written in words
            else help_with_word(value.span, written, words, "possible words")
        )
        return self._wrong(
            "REC211",
            f"{what} cannot be {'this text' if isinstance(value, String) else f'`{written}`'}",
            value.span,
            help,
        )

    def _items(self, one: Any, value: Expression, what: str, meta: Mapping[str, Any]) -> Any:
        items = value.items if isinstance(value, List) else (value,)
        if not items:
            help = "leave the line out if nothing is meant"
            return self._wrong("REC301", f"{what} needs at least one value", value.span, help)
        read = [self.read(one, item, what, meta) for item in items]
        return INVALID if any(item is INVALID for item in read) else tuple(read)

    def _call(self, cls: type, value: Expression, what: str) -> Any:
        name = _NAMES[cls]
        if not isinstance(value, Call):
            return self.wrong_type(value, what, f"`{name}(…)`", cls)
        if value.function.text != name:
            return self._none_fits([cls], cls, value, what)
        given = self._arguments(cls, value)
        values: dict[str, Any] = {}
        for key, argument in given.items():
            a = keys(cls)[key]
            values[a.alias or a.name] = self.read(
                hints(cls)[a.name], argument, f"`{key}` of `{name}`", a.metadata
            )
        bad = len(given) < len(value.arguments) and not isinstance(
            next(iter(given.values()), None), List
        )
        for key, a in keys(cls).items():
            if a.default is attrs.NOTHING and key not in given and not bad:
                self.report.add(
                    "REC305",
                    f"`{name}` needs `{key}`",
                    value.span,
                    why=a.metadata["doc"],
                    help=f"add `{key} = …`",
                )
                bad = True
        return INVALID if bad or any(v is INVALID for v in values.values()) else cls(**values)

    def _arguments(self, cls: type, call: Call) -> dict[str, Expression]:
        """Return the arguments by key. A first field that takes a list takes all that have no name."""
        known = keys(cls)
        given: dict[str, Expression] = {}
        arguments = [self._equated(a, known) for a in call.arguments]
        unnamed = [a for a in arguments if a.name is None]
        first = next(iter(known), None)
        if first and len(unnamed) > 1 and get_origin(hints(cls)[known[first].name]) is tuple:
            span = unnamed[0].span.to(unnamed[-1].span)
            given[first] = List(tuple(a.value for a in unnamed), span=span)
            unnamed = []
        for argument, key in zip(unnamed, known, strict=False):
            given[key] = argument.value
        for argument in unnamed[len(known) :]:
            self.report.add(
                "REC204",
                f"`{call.function.text}` takes no more than {len(known)} argument{'s' * (len(known) != 1)}",
                argument.span,
            )
        for argument in arguments:
            if argument.name is None:
                continue
            key = argument.name.text
            if key not in known:
                help = help_with_word(argument.name.span, key, known, "known arguments")
                self.report.add(
                    "REC204",
                    f"`{call.function.text}` has no argument `{key}`",
                    argument.name.span,
                    help=help,
                )
            elif key in given:
                self.report.add(
                    "REC208",
                    f"`{key}` is given twice",
                    argument.span,
                    help=self._one_number(argument.value, given[key]) or "remove one of them",
                    related=[(given[key].span, "first given here")],
                )
            else:
                given[key] = argument.value
        return given

    def _equated(self, argument: Argument, known: Mapping[str, Any]) -> Argument:
        """Read `lr == 0.1` as `lr = 0.1`, and report it."""
        match argument:
            case Argument(None, Binary("==", Path((Word(key) as word,)), value)) if key in known:
                between = word.span.after.to(value.span.before)
                self.report.add(
                    "REC114", "a name and its value are joined by `=`, not by `==`", between,
                    help=replace(between, " = ", "write `=`"),
                )  # fmt: skip
                return Argument(word, value, span=argument.span)
        return argument

    def _one_number(self, first: Expression, second: Expression) -> Help | None:
        """`prompts = 1,280`, which is one number to some and two arguments here."""
        both = first.span.to(second.span)
        text = self.report.text_of(both)
        if re.fullmatch(r"[0-9]{1,3}(,[0-9]{3})+", text):
            return replace(both, text.replace(",", ""), "a number has no separators")
        return None
