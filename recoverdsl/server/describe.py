"""What the words of the language mean, as Markdown. Everything is read from the schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from recoverdsl.language import schema
from recoverdsl.language.printer import quote
from recoverdsl.language.values import describe, hints, keys, literals
from recoverdsl.language.vocabulary import function_name
from recoverdsl.server.wanted import Calling, required

_RANGE = {"at_least": "at least", "above": "above", "at_most": "at most"}


def statement(word: str) -> str:
    """A block by its keyword, or another statement by its first word."""
    if word not in schema.BLOCKS:
        return f"**{word}**\n\n{schema.STATEMENTS[word]}"
    cls = schema.BLOCKS[word]
    return f"**{word}** block\n\n{cls.__doc__}\n\n{_fields(cls)}"


def function(name: str) -> str:
    """A function by its name."""
    cls = schema.FUNCTIONS[name]
    return f"`{signature(name)}`\n\n{cls.__doc__}\n\n{_fields(cls)}"


def field(owner: str, cls: type, key: str) -> str:
    """An attribute of a block, or an argument of a function: meaning, type, unit, range, default, source."""
    a = keys(cls)[key]
    lines = [f"Type: {describe(hints(cls)[a.name])}."]
    if unit := a.metadata.get("unit"):
        lines.append(
            "Unit: a share, which may be written with `%`."
            if unit == "fraction"
            else f"Unit: {unit}."
        )
    bounds = [f"{phrase} {a.metadata[n]:g}" for n, phrase in _RANGE.items() if a.metadata.get(n) is not None]  # fmt: skip
    lines += [f"Range: {', '.join(bounds)}."] if bounds else []
    lines.append(_presence(cls, a))
    lines += [f"In the paper: {a.metadata['source']}."] if a.metadata.get("source") else []
    items = "\n".join(f"- {line}" for line in lines)
    return f"**{key}** of `{owner}`\n\n{a.metadata['doc']}\n\n{items}"


def argument(calling: Calling, key: str) -> str:
    """An argument of a call, by the class that declares it."""
    if calling.cls:
        return field(calling.function, calling.cls, key)
    return f"**{key}** of `{calling.function}`"


def metric(name: str) -> str:
    """A metric by its name."""
    known = schema.METRICS[name]
    lines = [f"Unit: {known.unit}."] if known.unit else []
    lines.append(f"Over all examples: the {'largest' if known.aggregate == 'max' else 'mean'}.")
    lines.append(f"Interval: {describe(schema.Interval if known.rate else schema.Bootstrap)}.")
    lines += ["Only of generated text."] if known.generated else []
    lines += [f"In the paper: {known.source}."] if known.source else []
    return f"**{name}**, a metric\n\n{known.doc}\n\n" + "\n".join(f"- {line}" for line in lines)


def detector(name: str) -> str:
    """A detector of a generated text by its name."""
    return f"**{name}**, a detector\n\n{schema.DETECTORS[name]}"


def position(word: str) -> str:
    """A word for token positions."""
    meaning = schema.POSITIONS[word]
    places = {"a clamp": meaning.clamped, "a perturbation": meaning.perturbed}
    lines = [f"- In {place}: {said or 'not allowed'}." for place, said in places.items()]
    return f"**{word}**, token positions\n\n" + "\n".join(lines)


def form_word(known: Mapping[str, schema.Word], word: str) -> str:
    """A word of the expression forms, by the table that has it."""
    return f"**{word}**\n\n{known[word].doc}\n\n`{known[word].example}`"


def signature(name: str) -> str:
    """A function with its arguments: `adam(lr = 0.1)`."""
    cls = schema.FUNCTIONS[name]
    parts = []
    for key, a in keys(cls).items():
        default = written(a.default, literals(hints(cls)[a.name]), a.metadata)
        parts.append(key if required(a) else f"{key} = {default or '…'}")
    return f"{name}({', '.join(parts)})"


def written(value: Any, words: Iterable[str] = (), meta: Mapping[str, Any] | None = None) -> str:
    """A value of the schema as a spec would say it; empty if it stands for nothing."""
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


def _list(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"[{', '.join(words)}]"


def _presence(cls: type, a: attrs.Attribute[Any]) -> str:
    if required(a):
        return "Required."
    default = written(a.default, literals(hints(cls)[a.name]), a.metadata)
    return f"Default: `{default}`." if default else "Optional."


def _fields(cls: type) -> str:
    lines = []
    for key, a in keys(cls).items():
        lines.append(f"- `{key}`{' (required)' if required(a) else ''}: {a.metadata['doc']}")
    return "\n".join(lines)
