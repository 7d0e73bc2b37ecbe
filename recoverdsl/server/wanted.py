"""What may stand at the cursor inside a value: its types, by the schema."""

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


@frozen
class Parameter:
    """What a call takes."""

    key: str
    annotation: Any
    required: bool
    named: bool = True
    """Whether it may be given by its name."""


@frozen
class Calling:
    """The call around the cursor."""

    function: str
    parameters: Sequence[Parameter]
    cls: type | None
    """The class that has the parameters as its fields."""
    given: tuple[str, ...] = ()
    """The parameters that have a value already."""
    unnamed: int = 0
    """How many values without a name there are."""
    key: str | None = None
    """The parameter whose name stands before the cursor."""

    @property
    def next(self) -> Parameter | None:
        """The parameter that a value without a name is for."""
        if self.key:
            return next((p for p in self.parameters if p.key == self.key), None)
        first = self.parameters[0] if self.parameters else None
        if first and get_origin(first.annotation) is tuple:
            return first
        following = self.parameters[self.unnamed : self.unnamed + 1]
        return next((p for p in following if p.key not in self.given), None)


@define
class Wanted:
    """What may stand at a place in a value."""

    types: tuple[Any, ...]
    """Annotations, as the schema writes them, unions apart."""
    before: list[str] = field(factory=list)
    """What stands before it in the same item; something in brackets is one `()` or `[]`."""
    calling: Calling | None = None
    layer: bool = False
    """Whether this is the number of a layer."""
    perturbing: bool = False

    @property
    def perturbs(self) -> bool:
        """Whether positions here are those of a perturbation."""
        return self.perturbing or schema.Perturbation in self.items

    def narrowed(self) -> Iterator[tuple[Any, list[str]]]:
        """The types of the part at the cursor, each with what stands before it in that part."""
        for one in self.items:
            yield from _narrow(one, self.before)

    @property
    def items(self) -> tuple[Any, ...]:
        """The types, of a list those of its items."""
        return tuple(item for one in self.types for item in flat(one))


def wanted_of(annotation: Any) -> Wanted:
    """What a value of this type may begin with."""
    return Wanted(tuple(alternatives(annotation)))


def parameters(function: str, types: Sequence[Any] = ()) -> tuple[Sequence[Parameter], type | None]:
    """What a function, a call of the forms, or a metric takes, and the class that declares it."""
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
    if schema.ClampValue in forms:
        return [Parameter("data", hints(schema.MeanWhen)["data"], True, named=False)], None
    return [Parameter("token", hints(schema.Term)["token"], True, named=False)], None


def argument(calling: Calling, key: str) -> str:
    """An argument of a call, by the class that declares it, as Markdown."""
    if calling.cls:
        return meanings.field(calling.function, calling.cls, key)
    return f"**{key}** of `{calling.function}`"


def _fields(cls: type) -> list[Parameter]:
    return [Parameter(key, hints(cls)[a.name], required(a)) for key, a in keys(cls).items()]


def wanted(cursor: Cursor) -> Wanted | None:
    """What may stand at the cursor; None where the cursor is in no value."""
    tokens = list(cursor.before)
    if not cursor.block and tokens[:1] == ["expect"]:
        return _descend(Wanted((schema.Expectation,)), tokens[1:])
    if not cursor.block and tokens[:1] == ["param"] and "=" in tokens:
        return _descend(Wanted((schema.Param,)), tokens[tokens.index("=") + 1 :])
    if not cursor.block or "=" not in tokens:
        return None
    equals = tokens.index("=")
    start = attribute(cursor, tokens[:equals])
    return _descend(start, tokens[equals + 1 :]) if start else None


def attribute(cursor: Cursor, path: Sequence[str]) -> Wanted | None:
    """What the value of an attribute may be; the path of an axis names one of another block."""
    if cursor.block and cursor.block.kind == "sweep" and list(path) == ["zipped"]:
        return wanted_of(hints(schema.Sweep)["zipped"])
    found = declared(cursor, path)
    if found is None:
        return None
    kind, key = found
    if kind == "measure":
        rate = schema.METRICS[key].rate
        return wanted_of(schema.Interval if rate else schema.Bootstrap)
    cls = schema.BLOCKS[kind]
    return wanted_of(hints(cls)[keys(cls)[key].name])


def declared(cursor: Cursor, path: Sequence[str]) -> tuple[str, str] | None:
    """The kind of block and the attribute that a path before `=` names; None if there is none."""
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
    """The blocks that the path of an axis may lead to, without its last word."""
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


def _descend(wanted: Wanted, tokens: Sequence[Token]) -> Wanted:
    """Go from the type of a value to that of the part behind these tokens."""
    around: list[Wanted] = []
    for token in tokens:
        if token == "(" or token == "[":
            around.append(wanted)
            wanted = _inside(wanted, token)
        elif token in (")", "]") and around:
            wanted = around.pop()
            wanted.before.append("()" if token == ")" else "[]")
        elif token == ",":
            wanted = _behind_comma(wanted)
        elif token == "=" and wanted.calling and len(wanted.before) == 1:
            calling = evolve(wanted.calling, key=wanted.before[0])
            wanted = _argument(calling)
        else:
            wanted.before.append(token)
    return wanted


def _inside(wanted: Wanted, bracket: str) -> Wanted:
    name = wanted.before[-1] if wanted.before else ""
    types = list(wanted.narrowed())
    if bracket == "(" and getattr(name, "type", "") == "NAME":
        known, cls = parameters(name, [one for one, _ in types])
        return _argument(Calling(name, known, cls))
    if bracket == "[" and name in schema.PLACES:
        return Wanted((int,), layer=True)
    # A bracket at the beginning holds whole items, one behind an operator a part of this one.
    part = tuple(one for one, before in types if not before) if wanted.before else wanted.types
    lists = [one for one in part if get_origin(one) is tuple] if bracket == "[" else []
    return Wanted(tuple(lists) or part, perturbing=wanted.perturbs)


def _argument(calling: Calling) -> Wanted:
    parameter = calling.next
    if parameter is None:
        return Wanted((), calling=calling)
    return evolve(wanted_of(parameter.annotation), calling=calling)


def _behind_comma(wanted: Wanted) -> Wanted:
    calling = wanted.calling
    if calling is None:
        return Wanted(wanted.types, perturbing=wanted.perturbs)
    parameter = calling.next
    given = (*calling.given, parameter.key) if parameter else calling.given
    unnamed = calling.unnamed + (calling.key is None)
    return _argument(evolve(calling, given=given, unnamed=unnamed, key=None))


# --- Along the operators ----------------------------------------------------------------------


def _narrow(one: Any, before: list[str]) -> Iterator[tuple[Any, list[str]]]:
    """The types of the operand at the cursor; a `Literal` of an operator that may come next."""
    if one in (schema.Perturbation, schema.Score):
        yield from _placed(one, before)
    elif one is schema.Positions:
        words = _behind(before, ("except",))
        yield one, words
        if len(words) == 1 and len(words) == len(before):
            yield Literal["except"], []
    elif one is schema.Predicate:
        words = _behind(before, ("and", "or", "not"))
        if words and (words[-1] in schema.DETECTORS or (words[1:2] and words[1] in COMPARISONS)):
            yield Literal["and", "or"], []
        yield one, words
    elif one is schema.Param:
        yield Literal["in"] if before else one, []
    elif one is schema.Limit and before[:2] == ["norm", "<="]:
        yield float, before[2:]
    elif one is schema.Expectation and any(word in COMPARISONS for word in before):
        yield float, _behind(before, COMPARISONS)
    elif one is schema.AnswerOf and before[1:2] == ["of"]:
        yield hints(one)["of"], before[2:]
    elif one in (schema.ClampValue, schema.Term, int, float):
        yield one, _behind(before, _ARITHMETIC)
    else:
        yield one, before


def _placed(one: Any, before: list[str]) -> Iterator[tuple[Any, list[str]]]:
    if "at" in before:
        yield from _narrow(schema.Positions, _behind(before, ("at",)))
        return
    if before and before[-1] not in (*_ARITHMETIC, "."):
        yield Literal["at"], []
    for part in flat(hints(one)["place"]) if one is schema.Perturbation else [schema.Term]:
        yield from _narrow(part, before)


def _behind(before: list[str], operators: Sequence[str]) -> list[str]:
    """What stands behind the last of these operators."""
    ends = [i + 1 for i, word in enumerate(before) if word in operators]
    return before[ends[-1] :] if ends else before
