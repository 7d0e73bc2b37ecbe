"""The types that the schema expects at the cursor inside a value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_origin

from attrs import define, evolve, field, frozen
from lark import Token

from recoverdsl.language import schema
from recoverdsl.language.schema import descriptions as meanings
from recoverdsl.language.schema.descriptions import required
from recoverdsl.language.schema.fields import alternatives, flat, hints, keys
from recoverdsl.server.cursor import Cursor, Opened

FUNCTION_NAMES = {cls: name for name, cls in schema.FUNCTIONS.items()}
"""The word that calls each class."""

_ARITHMETIC = ("+", "-", "*", "/")
COMPARISONS = ("<", "<=", ">", ">=")
SAMES = ("==", "!=")


@frozen
class Parameter:
    """One parameter of a call."""

    key: str
    annotation: Any
    required: bool
    named: bool = True
    """Whether it may be given by its name."""


@frozen
class Call:
    """The call around the cursor."""

    function: str
    parameters: Sequence[Parameter]
    cls: type | None
    """The class that has the parameters as its fields."""
    given: tuple[str, ...] = ()
    """The parameters that have a value already."""
    unnamed: int = 0
    """The number of arguments given without a name."""
    key: str | None = None
    """The parameter whose name stands before the cursor."""

    @property
    def next(self) -> Parameter | None:
        """The parameter that a value at the cursor belongs to; None if there is none left."""
        if self.key:
            return next((p for p in self.parameters if p.key == self.key), None)
        first = self.parameters[0] if self.parameters else None
        if first and get_origin(first.annotation) is tuple:
            return first
        following = self.parameters[self.unnamed : self.unnamed + 1]
        return next((p for p in following if p.key not in self.given), None)


@define
class Expected:
    """The types expected at a place in a value."""

    types: tuple[Any, ...]
    """Annotations as in the schema, with unions split into their members."""
    before: list[str] = field(factory=list)
    """The words before it in the same item; a bracketed part is one `()` or `[]`."""
    call: Call | None = None
    layer: bool = False
    """Whether the number of a layer is expected."""
    in_perturbation: bool = False

    @property
    def perturbs(self) -> bool:
        """Whether positions here belong to a perturbation."""
        return self.in_perturbation or schema.Perturbation in self.items

    def narrowed(self) -> Iterator[tuple[Any, list[str]]]:
        """Yield the types of the part at the cursor, each with the words before it in that part."""
        for one in self.items:
            yield from _narrow(one, self.before)

    @property
    def items(self) -> tuple[Any, ...]:
        """The types, with a list replaced by the types of its items."""
        return tuple(item for one in self.types for item in flat(one))


def expected_for(annotation: Any) -> Expected:
    """Return the expectation at the beginning of a value of this type."""
    return Expected(tuple(alternatives(annotation)))


def parameters(function: str, types: Sequence[Any] = ()) -> tuple[Sequence[Parameter], type | None]:
    """Return the parameters of a function, an expression form or a metric, and its class if it has one."""
    if schema.Expectation in types and function in schema.METRICS:
        known = hints(schema.Expectation)
        return [Parameter("of", known["subject"], True, named=False),
                Parameter("norm", known["norm"], False)], None  # fmt: skip
    if cls := schema.FUNCTIONS.get(function):
        return _fields(cls), cls
    if function not in schema.CALLS:
        return [], None
    forms = schema.CALLS[function].forms
    if schema.LogProb in forms and schema.LogProb in types:
        first, *rest = _fields(schema.LogProb)
        return [evolve(first, named=False), *rest], schema.LogProb
    if function == "most_likely":
        tokens = hints(schema.MostLikely)["choices"]
        return [Parameter("tokens", tokens, True, named=False)], None
    if schema.ClampValue in forms:
        return [Parameter("data", hints(schema.MeanWhen)["data"], True, named=False)], None
    return [Parameter("token", hints(schema.Term)["token"], True, named=False)], None


def argument_doc(call: Call, key: str) -> str:
    """Return the documentation of an argument, as Markdown."""
    if call.cls:
        return meanings.field(call.function, call.cls, key)
    return f"**{key}** of `{call.function}`"


def _fields(cls: type) -> list[Parameter]:
    return [Parameter(key, hints(cls)[a.name], required(a)) for key, a in keys(cls).items()]


def expected_at(cursor: Cursor) -> Expected | None:
    """Return the expectation at the cursor; None where the cursor is in no value."""
    tokens = list(cursor.before)
    if not cursor.block and tokens[:1] == ["expect"]:
        return _descend(Expected((schema.Expectation,)), tokens[1:])
    if not cursor.block and tokens[:1] == ["param"] and "=" in tokens:
        return _descend(Expected((schema.Param,)), tokens[tokens.index("=") + 1 :])
    if not cursor.block or "=" not in tokens:
        return None
    equals = tokens.index("=")
    start = attribute(cursor, tokens[:equals])
    return _descend(start, tokens[equals + 1 :]) if start else None


def attribute(cursor: Cursor, path: Sequence[str]) -> Expected | None:
    """Return the expectation of an attribute's value; the path of an axis names another block's."""
    if cursor.block and cursor.block.kind == "sweep" and list(path) == ["zipped"]:
        return expected_for(hints(schema.Sweep)["zipped"])
    found = declared(cursor, path)
    if found is None:
        return None
    kind, key = found
    if kind == "measure":
        rate = schema.METRICS[key].rate
        return expected_for(schema.Interval if rate else schema.Bootstrap)
    cls = schema.BLOCKS[kind]
    return expected_for(hints(cls)[keys(cls)[key].name])


def declared(cursor: Cursor, path: Sequence[str]) -> tuple[str, str] | None:
    """Return the kind of block and the attribute that a path before `=` names; None if there is none."""
    if cursor.block is None or not path:
        return None
    blocks, key = [cursor.block], path[-1]
    if cursor.block.kind == "sweep":
        blocks = axis(cursor, [word for word in path if word != "."][:-1])
    for block in blocks:
        cls = schema.BLOCKS.get(block.kind)
        if key in (schema.METRICS if block.kind == "measure" else keys(cls) if cls else ()):
            return block.kind, str(key)
    return None


def axis(cursor: Cursor, route: Sequence[str]) -> list[Opened]:
    """Return the blocks that the path of an axis, without its last word, may lead to."""
    if not route:
        return []
    first, *rest = route
    found = [block for block in cursor.blocks if block.name == first]
    if not found:
        found = [block for block in cursor.blocks if block.kind == first]
        found = [block for block in found if block.name == (rest[0] if rest else None)]
        rest = rest[1:]
    for word in rest:
        found = [inner for block in found for inner in block.inner if inner.name == word]
    return found


# --- Into the brackets ------------------------------------------------------------------------


def _descend(expected: Expected, tokens: Sequence[Token]) -> Expected:
    """Return the expectation after these tokens, given that at the beginning of the value."""
    around: list[Expected] = []
    for token in tokens:
        if token == "(" or token == "[":
            around.append(expected)
            expected = _inside(expected, token)
        elif token in (")", "]") and around:
            expected = around.pop()
            expected.before.append("()" if token == ")" else "[]")
        elif token == ",":
            expected = _after_comma(expected)
        elif token == "=" and expected.call and len(expected.before) == 1:
            call = evolve(expected.call, key=expected.before[0])
            expected = _argument(call)
        else:
            expected.before.append(token)
    return expected


def _inside(expected: Expected, bracket: str) -> Expected:
    name = expected.before[-1] if expected.before else ""
    types = list(expected.narrowed())
    if bracket == "(" and getattr(name, "type", "") == "NAME":
        known, cls = parameters(name, [one for one, _ in types])
        return _argument(Call(name, known, cls))
    if bracket == "[" and name in schema.PLACES:
        return Expected((int,), layer=True)
    # A bracket at the beginning contains whole items; one after an operator, a part of this item.
    part = tuple(one for one, before in types if not before) if expected.before else expected.types
    lists = [one for one in part if get_origin(one) is tuple] if bracket == "[" else []
    return Expected(tuple(lists) or part, in_perturbation=expected.perturbs)


def _argument(call: Call) -> Expected:
    parameter = call.next
    if parameter is None:
        return Expected((), call=call)
    return evolve(expected_for(parameter.annotation), call=call)


def _after_comma(expected: Expected) -> Expected:
    call = expected.call
    if call is None:
        return Expected(expected.types, in_perturbation=expected.perturbs)
    parameter = call.next
    given = (*call.given, parameter.key) if parameter else call.given
    unnamed = call.unnamed + (call.key is None)
    return _argument(evolve(call, given=given, unnamed=unnamed, key=None))


# --- Along the operators ----------------------------------------------------------------------


def _narrow(one: Any, before: list[str]) -> Iterator[tuple[Any, list[str]]]:
    """Yield the types of the operand at the cursor, and a `Literal` of operators that may come next."""
    if one in (schema.Perturbation, schema.Score):
        yield from _placed(one, before)
    elif one is schema.Positions:
        words = _after(before, ("except",))
        yield one, words
        if len(words) == 1 and len(words) == len(before):
            yield Literal["except"], []
    elif one is schema.Predicate:
        words = _after(before, ("and", "or", "not"))
        compared = [word for word in words[:-1] if word in (*COMPARISONS, *SAMES)]
        if words and (words[-1] in schema.DETECTORS or compared):
            yield Literal["and", "or"], []
        if words[:1] in (["logit"], ["logprob"]) and words[-1] in (*COMPARISONS, *_ARITHMETIC):
            yield schema.Term, []
        yield one, words
    elif one is schema.Param:
        yield Literal["in"] if before else one, []
    elif one is schema.Limit and before[:2] == ["norm", "<="]:
        yield float, before[2:]
    elif one is schema.Expectation and any(word in COMPARISONS for word in before):
        value = _after(before, COMPARISONS)
        if value[-1:] == ["by"]:
            yield hints(one)["by"], []
        elif "by" not in value:
            yield float, value
            if value:
                yield Literal["by"], []
    elif (one is schema.AnswerOf and before[:2] == ["base_answer", "of"]) or (
        one is schema.BehaviorOf and before[1:2] == ["of"] and before[0] != "base_answer"
    ):
        yield hints(one)["of"], before[2:]
    elif one in (schema.ClampValue, schema.Term, int, float):
        yield one, _after(before, _ARITHMETIC)
    else:
        yield one, before


def _placed(one: Any, before: list[str]) -> Iterator[tuple[Any, list[str]]]:
    if "at" in before:
        yield from _narrow(schema.Positions, _after(before, ("at",)))
        return
    if before and before[-1] not in (*_ARITHMETIC, "."):
        yield Literal["at"], []
    for part in flat(hints(one)["place"]) if one is schema.Perturbation else [schema.Term]:
        yield from _narrow(part, before)


def _after(before: list[str], operators: Sequence[str]) -> list[str]:
    """Return the words after the last of these operators."""
    ends = [i + 1 for i, word in enumerate(before) if word in operators]
    return before[ends[-1] :] if ends else before
