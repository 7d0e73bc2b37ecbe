"""The fields of the schema's classes: their words, their types, and these in a person's words."""

from __future__ import annotations

import types
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs

from recoverdsl.language.schema.forms import DETECTORS, FORMS, POSITIONS, WORDS
from recoverdsl.language.schema.vocabulary import BLOCKS, FUNCTIONS, article

_NAMES = {cls: name for name, cls in FUNCTIONS.items()}
_KINDS = {cls: kind for kind, cls in BLOCKS.items()}


@cache
def hints(cls: type) -> dict[str, Any]:
    """Return the annotations of a class, resolved."""
    return get_type_hints(cls, include_extras=True)


@cache
def keys(cls: type) -> dict[str, attrs.Attribute[Any]]:
    """Return the words of a block or function, in order, each with its field."""
    return {a.metadata.get("key") or a.name: a for a in attrs.fields(cls)}


@cache
def alternatives(annotation: Any) -> list[Any]:
    """Return the members of a union without None, or the annotation alone; a form stays whole."""
    if annotation in FORMS or get_origin(annotation) not in (Union, types.UnionType):
        return [annotation]
    members = [member for member in get_args(annotation) if member is not type(None)]
    whole = [form for form in FORMS if set(get_args(form)) == set(members)]
    return whole or [a for member in members for a in alternatives(member)]


def flat(annotation: Any) -> tuple[Any, ...]:
    """Return the types of a value, and of the items where it may be a list."""
    found: list[Any] = []
    for one in alternatives(annotation):
        found += flat(get_args(one)[0]) if get_origin(one) is tuple else [one]
    return tuple(found)


def literals(annotation: Any) -> list[str]:
    """Return the bare words that a value of this type may be."""
    if get_origin(annotation) is Literal:
        return [word for word in get_args(annotation) if isinstance(word, str)]
    if annotation in FORMS or get_origin(annotation) is Annotated:
        return []
    return [word for part in get_args(annotation) for word in literals(part)]


@cache
def value_words() -> frozenset[str]:
    """Return every word that means something in a value, whatever is named like it."""
    classes = (*BLOCKS.values(), *FUNCTIONS.values())
    fields = [annotation for cls in classes for annotation in hints(cls).values()]
    written = [word for annotation in fields for word in literals(annotation)]
    return frozenset((*written, *POSITIONS, *DETECTORS, *WORDS))


def describe(annotation: Any) -> str:
    """Return what is asked for, in a person's words."""
    parts = []
    for one in alternatives(annotation):
        if one in FORMS:
            parts.append(FORMS[one])
        elif one in _NAMES:
            parts.append(f"`{_NAMES[one]}(…)`")
        elif get_origin(one) is Annotated:
            kinds = one.__metadata__[0].kinds
            parts.append("the name of " + " or ".join(f"{article(k)} `{k}` block" for k in kinds))
        elif get_origin(one) is Literal:
            parts += [f"`{word}`" for word in get_args(one)]
        elif get_origin(one) is tuple and get_args(one)[0] in _KINDS:
            parts.append(f"`{_KINDS[get_args(one)[0]]}` blocks")
        elif get_origin(one) is tuple:
            parts.append(f"{describe(get_args(one)[0])}, or a list")
        else:
            parts.append(
                {
                    int: "a whole number",
                    float: "a number",
                    str: "a text in quotes",
                    bool: "`true` or `false`",
                }[one]
            )
    *most, last = parts
    return f"{', '.join(most)} or {last}" if most else last
