"""The meaning of a checked value as plain data, and its digest.

Comments, spacing, the order of blocks, `like` and params leave no trace in it: two specs that mean
the same have the same digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import attrs

from recoverdsl.language.schema import Spec

_NOT_MEANT = frozenset({"spans", "params"})
"""Fields of a spec that say how it is written."""


def canonical(value: Any) -> Any:
    """Return a value of the schema as JSON would hold it: an object for a class, with its name.

    Raises:
        TypeError: the value is of no kind that a spec can hold.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): canonical(value[key]) for key in sorted(value)}
    if isinstance(value, (tuple, list)):
        return [canonical(item) for item in value]
    if isinstance(value, Spec):
        return {"class": "Spec", **_fields(value, _NOT_MEANT), "expects": _unordered(value.expects)}
    if attrs.has(type(value)):
        return {"class": type(value).__name__, **_fields(value, frozenset())}
    raise TypeError(f"a spec holds no {type(value).__name__}")


def _fields(value: Any, without: frozenset[str]) -> dict[str, Any]:
    fields = sorted(attrs.fields(type(value)), key=lambda a: a.name)
    return {a.name: _field(a, value) for a in fields if a.name not in without | _unused(value)}


def _unused(value: Any) -> set[str]:
    """Return the fields that the language gained later and that are not used, so that old digests hold."""
    fields = attrs.fields(type(value))
    return {
        a.name for a in fields if a.metadata.get("later") and getattr(value, a.name) == a.default
    }


def _field(a: attrs.Attribute[Any], value: Any) -> Any:
    content = getattr(value, a.name)
    return canonical(a.metadata.get("unwritten") if content is None else content)


def _unordered(values: tuple[Any, ...]) -> list[Any]:
    return sorted((canonical(value) for value in values), key=_json)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """Return the sha256 of a value's canonical form, as 64 hexadecimal digits."""
    return hashlib.sha256(_json(canonical(value)).encode("ascii")).hexdigest()
