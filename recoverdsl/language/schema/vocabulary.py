"""How the schema is declared: marks for blocks and functions, and the metadata of their fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attrs import frozen

T = TypeVar("T", bound=type)


@frozen
class Ref:
    """Marks a string annotation as the name of a block of one of these kinds."""

    kinds: tuple[str, ...]

    def __init__(self, *kinds: str) -> None:
        self.__attrs_init__(kinds)  # type: ignore[attr-defined]


def says(
    doc: str,
    *,
    key: str | None = None,
    unit: str | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    source: str | None = None,
    later: bool = False,
    unwritten: str | None = None,
    replaces_delta: bool = False,
) -> Mapping[str, Any]:
    """Return the metadata of one field: a sentence for people, its unit, its range, where it is defined.

    `key` is the word in the spec where it is not the field's name (`from`, `in` and `with` are
    reserved in Python). `source` names a section of the paper.

    Two marks keep the digest of a spec that was written before the language grew. A field that is
    `later` leaves no trace in the digest while it has its default; one that is None because it is
    not written counts as `unwritten`.

    An option of an attack that `replaces_delta` makes it search something else than a δ, which has no
    norm.
    """
    return {
        "doc": doc, "key": key, "unit": unit, "at_least": at_least, "above": above,
        "at_most": at_most, "source": source, "later": later, "unwritten": unwritten,
        "replaces_delta": replaces_delta,
    }  # fmt: skip


BLOCKS: dict[str, type] = {}
"""Keyword of a block to its class."""

FUNCTIONS: dict[str, type] = {}
"""Name of a function to its class."""

EXAMPLES: dict[str, str] = {}
"""Name of a function that `examples.rec` does not use to an attribute that calls it."""


def block(keyword: str) -> Callable[[T], T]:
    def register(cls: T) -> T:
        BLOCKS[keyword] = cls
        return cls

    return register


def function(name: str, *, example: str | None = None) -> Callable[[T], T]:
    """Register a class as a function of the language.

    Args:
        example: an attribute that calls it, for the reference; not needed if `examples.rec` has one.
    """

    def register(cls: T) -> T:
        FUNCTIONS[name] = cls
        if example is not None:
            EXAMPLES[name] = example
        return cls

    return register


def function_name(value: object) -> str:
    """Return the word with which a spec writes a value that is a function's call."""
    return next(name for name, cls in FUNCTIONS.items() if cls is type(value))


def article(word: str) -> str:
    """Return `a` or `an`."""
    return "an" if word[0] in "aeiou" or word == "sae" else "a"
