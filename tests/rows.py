"""Rows of the example table from the values of their columns."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import attrs

from recoverdsl.measure.columns import columns_of
from recoverdsl.measure.rows import ExampleRow

_PLAIN: dict[str, Any] = {
    "recovered": False, "reached": False, "score_recovered": 0.0, "steps": 0, "zero_reactivation": False,
    "activation_drift": float("nan"), "decode_drift": float("nan"), "drift": float("nan"),
    "active_drift": float("nan"), "clamp_floor_violation": float("nan"), "reactivated_fraction": float("nan"), "reactivated_count": 0,
}  # fmt: skip
"""Values of columns that cannot be null, as those of an example that failed."""


def example_row(**values: Any) -> ExampleRow:
    """Make a row from values by the names of its columns; the others are null where they can be."""
    unknown = set(values) - {column.name for column in columns_of(ExampleRow)}
    assert not unknown, unknown
    row = _build(ExampleRow, {**_PLAIN, **values}, values.keys())
    assert isinstance(row, ExampleRow)
    return row


def _build(record: type, values: dict[str, Any], given: Any) -> Any:
    """Return a record of the values for its columns, including records within it."""
    hints, made = get_type_hints(record), {}
    for field in attrs.fields(record):
        kinds = [k for k in get_args(hints[field.name]) or (hints[field.name],) if attrs.has(k)]
        if not kinds:
            if field.name in values or field.default is attrs.NOTHING:
                made[field.name] = values.get(
                    field.name, False if hints[field.name] is bool else None
                )
            continue
        (kind,) = kinds
        optional = type(None) in get_args(hints[field.name])
        named = {column.name for column in columns_of(kind)}
        made[field.name] = None if optional and not named & given else _build(kind, values, given)
    return record(**made)
