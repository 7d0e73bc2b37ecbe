"""The meaning of the language's words, for editors and for the reference. Everything is read from the schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
from attrs import frozen

from recoverdsl.language import schema
from recoverdsl.language.schema.fields import describe, hints, keys, literals
from recoverdsl.language.schema.vocabulary import function_name
from recoverdsl.language.syntax.printer import quote

_RANGE = {"at_least": "at least", "above": "above", "at_most": "at most"}


@frozen
class Option:
    """The schema's entry of an attribute of a block, or of an argument of a function."""

    key: str
    doc: str
    type: str
    """The type of its value, in words."""
    unit: str | None
    range: str | None
    """The bounds of a number, in words."""
    default: str | None
    """As a spec would write it; None if there is none, or it has no meaning."""
    required: bool
    source: str | None
    """The section of the paper."""


def options(cls: type) -> list[Option]:
    """Return everything that a block or function takes, in the order of the schema."""
    return [option(cls, key) for key in keys(cls)]


def option(cls: type, key: str) -> Option:
    """Return what a block or function takes under a word."""
    a = keys(cls)[key]
    bounds = [f"{phrase} {a.metadata[n]:g}" for n, phrase in _RANGE.items() if a.metadata.get(n) is not None]  # fmt: skip
    return Option(
        key=key,
        doc=a.metadata["doc"],
        type=describe(hints(cls)[a.name]),
        unit=a.metadata.get("unit"),
        range=", ".join(bounds) or None,
        default=written(a.default, literals(hints(cls)[a.name]), a.metadata) or None,
        required=required(a),
        source=a.metadata.get("source"),
    )


def required(a: attrs.Attribute[Any]) -> bool:
    """Tell whether a field has to be given."""
    return a.default is attrs.NOTHING


def statement(word: str) -> str:
    """Return a block by its keyword, or another statement by its first word."""
    if word not in schema.BLOCKS:
        return f"**{word}**\n\n{schema.STATEMENTS[word]}"
    cls = schema.BLOCKS[word]
    return f"**{word}** block\n\n{cls.__doc__}\n\n{_fields(cls)}"


def function(name: str) -> str:
    """Return a function by its name."""
    cls = schema.FUNCTIONS[name]
    return f"`{signature(name)}`\n\n{cls.__doc__}\n\n{_fields(cls)}"


def field(owner: str, cls: type, key: str) -> str:
    """Return an attribute of a block, or an argument of a function: meaning, type, unit, range, default, source."""
    said = option(cls, key)
    lines = [f"Type: {said.type}."]
    lines += [_unit(said.unit)] if said.unit else []
    lines += [f"Range: {said.range}."] if said.range else []
    if said.required:
        lines.append("Required.")
    else:
        lines.append(f"Default: `{said.default}`." if said.default else "Optional.")
    lines += [f"In the paper: {said.source}."] if said.source else []
    items = "\n".join(f"- {line}" for line in lines)
    return f"**{key}** of `{owner}`\n\n{said.doc}\n\n{items}"


def metric(name: str) -> str:
    """Return a metric by its name."""
    known = schema.METRICS[name]
    lines = [_unit(known.unit)] if known.unit else []
    aggregate = "largest" if known.aggregate == "max" else known.aggregate
    lines.append(f"The {aggregate} over {known.over}.")
    interval = describe(schema.Interval if known.rate else schema.Bootstrap)
    lines.append(f"Interval: {'none' if known.aggregate == 'max' else interval}.")
    lines += ["Only of generated text."] if known.generated else []
    lines += ["Only of the next token."] if known.next_token else []
    lines += [f"In the paper: {known.source}."] if known.source else []
    return f"**{name}**, a metric\n\n{known.doc}\n\n" + "\n".join(f"- {line}" for line in lines)


def detector(name: str) -> str:
    """Return a detector of a generated text by its name."""
    return f"**{name}**, a detector\n\n{schema.DETECTORS[name]}"


def position(word: str) -> str:
    """Return a word for token positions."""
    meaning = schema.POSITIONS[word]
    places = {"a clamp": meaning.clamped, "a perturbation": meaning.perturbed}
    lines = [f"- In {place}: {said or 'not allowed'}." for place, said in places.items()]
    return f"**{word}**, token positions\n\n" + "\n".join(lines)


def form_word(known: Mapping[str, schema.Word], word: str) -> str:
    """Return a word of the expression forms, by the table that has it."""
    return f"**{word}**\n\n{known[word].doc}\n\n`{known[word].example}`"


def signature(name: str) -> str:
    """Return a function with its arguments: `adam(lr = 0.1)`."""
    cls = schema.FUNCTIONS[name]
    parts = []
    for key, a in keys(cls).items():
        default = written(a.default, literals(hints(cls)[a.name]), a.metadata)
        parts.append(key if required(a) else f"{key} = {default or '…'}")
    return f"{name}({', '.join(parts)})"


def written(value: Any, words: Iterable[str] = (), meta: Mapping[str, Any] | None = None) -> str:
    """Return a value of the schema as a spec would say it; empty if it has no meaning."""
    if value in (None, ()) or value is attrs.NOTHING:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        percent = (meta or {}).get("unit") == "fraction"
        return f"{100 * value:g}%" if percent else f"{value:g}"
    if isinstance(value, str):
        return value if value in words else quote(value)
    if isinstance(value, schema.Positions):
        most = _list(value.include)
        return f"{most} except {_list(value.exclude)}" if value.exclude else most
    cls: Any = type(value)
    given = [
        f"{key} = {written(getattr(value, a.name), literals(hints(cls)[a.name]), a.metadata)}"
        for key, a in keys(cls).items()
    ]
    return f"{function_name(value)}({', '.join(given)})"


def _unit(unit: str) -> str:
    share = "a share, which may be written with `%`"
    return f"Unit: {share if unit == 'fraction' else unit}."


def _list(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"[{', '.join(words)}]"


def _fields(cls: type) -> str:
    return "\n".join(
        f"- `{said.key}`{' (required)' if said.required else ''}: {said.doc}"
        for said in options(cls)
    )
