"""The per-example table, `examples.parquet`: built from rows, written and read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recoverdsl.measure.columns import Column, cells, columns_of
from recoverdsl.measure.rows import ExampleRow

COLUMNS = columns_of(ExampleRow)

_TYPES = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}


def _field(column: Column) -> Any:
    metadata = {"doc": column.doc} | ({"unit": column.unit} if column.unit else {})
    # Pandas does not tell a figure that is NaN from one that is missing.
    nullable = column.nullable or column.type is float
    return pa.field(column.name, _TYPES[column.type], nullable=nullable, metadata=metadata)


SCHEMA = pa.schema([_field(column) for column in COLUMNS])


def to_frame(rows: Iterable[ExampleRow]) -> pd.DataFrame:
    """Return the table of some rows.

    Raises:
        ValueError: a row lacks a value that every row has.
    """
    table = pa.Table.from_pylist([cells(row) for row in rows], schema=SCHEMA)
    for column in COLUMNS:
        if not column.nullable and column.type is not float and table[column.name].null_count:
            raise ValueError(f"a row has no {column.name!r}")
    return _to_pandas(table)


def write(frame: pd.DataFrame, path: Path | IO[bytes]) -> None:
    """Write the table as Parquet, with the doc and unit of each column in its metadata.

    Raises:
        OSError: the file cannot be written.
    """
    table = pa.Table.from_pandas(frame[SCHEMA.names], schema=SCHEMA, preserve_index=False)
    pq.write_table(table, path)


def read(path: Path) -> pd.DataFrame:
    """Read and return the table. A column that an earlier version did not write is null.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not Parquet, or lacks a column that every row has.
    """
    found = pq.read_table(path)
    for field in SCHEMA:
        if field.name not in found.column_names:
            if not field.nullable:
                raise ValueError(f"expected a column {field.name!r}, found none")
            found = found.append_column(field, pa.nulls(len(found), field.type))
    return _to_pandas(found.select(SCHEMA.names).cast(SCHEMA))


def _to_pandas(table: Any) -> pd.DataFrame:
    # Plain NumPy columns would turn a flag with nulls into objects and a count into floats.
    nullable = {pa.bool_(): pd.BooleanDtype(), pa.int64(): pd.Int64Dtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    return frame
