"""Columns of tables, each declared once as a field of a record.

The parquet schema, the documentation of the columns and the columns of pandas all follow from the
declarations. A record within a record contributes its own columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs
from attrs import frozen

from recoverdsl.language.schema import METRICS

_KEY = "column"
"""The key of a declaration in the metadata of a field."""


@frozen
class Column:
    """One column of a table."""

    name: str
    type: type
    """`str`, `bool`, `int` or `float`."""
    doc: str
    unit: str | None = None
    nullable: bool = True


@frozen
class _Declaration:
    """The doc and unit of a column, as its field declares them."""

    doc: str
    unit: str | None


def column(doc: str, *, unit: str | None = None, default: Any = attrs.NOTHING) -> Any:
    """Declare a field of a record as a column."""
    return attrs.field(default=default, metadata={_KEY: _Declaration(doc, unit)})


def figure() -> Any:
    """Declare a field as the column that the metric of its name aggregates, with that metric's doc and
    unit."""
    return attrs.field(metadata={_KEY: None})


def columns_of(record: type) -> tuple[Column, ...]:
    """Return the columns that a record declares, those of records within it included."""
    return tuple(_columns(record, nullable=False))


def cells(record: Any) -> dict[str, Any]:
    """Return the value of each column of a record by its name, without the columns of an inner record
    that is None."""
    row: dict[str, Any] = {}
    for field in attrs.fields(type(record)):
        value = getattr(record, field.name)
        if _KEY in field.metadata:
            row[field.name] = value
        elif attrs.has(type(value)):
            row |= cells(value)
    return row


def _columns(record: type, *, nullable: bool) -> Iterator[Column]:
    hints = get_type_hints(record)
    for field in attrs.fields(record):
        kind, optional = _type_of(hints[field.name])
        if _KEY in field.metadata:
            declared = field.metadata[_KEY]
            if declared is None:
                metric = METRICS[field.name]
                declared = _Declaration(metric.doc, metric.unit)
            yield Column(field.name, kind, declared.doc, declared.unit, nullable or optional)
        elif attrs.has(kind):
            yield from _columns(kind, nullable=nullable or optional)


def _type_of(hint: Any) -> tuple[type, bool]:
    """Return the type of a field without None, and whether it may be None."""
    if get_origin(hint) in (Union, UnionType):
        optional = NoneType in get_args(hint)
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
        return _type_of(hint)[0], optional
    if get_origin(hint) is Literal:
        return type(get_args(hint)[0]), False
    return hint, False
