"""Tables as JSON lines, CSV or Parquet, read row by row. Nothing in them is run."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from recoverdsl.errors import SpecError, UnavailableError
from recoverdsl.sources.cache import size_text

TABLES = (".jsonl", ".csv", ".parquet")
"""Suffixes of the tables that can be read."""

MOST_ROWS = 1_000_000
"""The most rows that are loaded."""

LARGEST_FILE = 1 << 30
"""The largest table that is opened, in bytes."""

LONGEST_LINE = 16 << 20
"""The longest line of a table, in bytes."""

Row: TypeAlias = tuple[int, Mapping[str, Any]]
"""The line or row number of a row in its file, and its cells."""


def read_rows(file: Path) -> Iterator[Row]:
    """Yield the rows of a table one by one.

    Raises:
        SpecError: the suffix is not one of `TABLES`.
        UnavailableError: it is too large, or a line cannot be read.
    """
    readers = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise SpecError(f"is not a table: expected {', '.join(TABLES)}", where=file.name)
    size = file.stat().st_size
    if size > LARGEST_FILE:
        raise UnavailableError(
            "is too large",
            where=file.name,
            why=f"{size_text(size)}, over {size_text(LARGEST_FILE)}",
        )
    return reader(file)


def _lines(file: Path) -> Iterator[str]:
    """Yield the lines, ends included, decoded one by one so that an error can name its line."""
    with file.open("rb") as stream:
        for number, line in enumerate(
            iter(lambda: stream.readline(LONGEST_LINE + 1), b""), start=1
        ):
            if len(line) > LONGEST_LINE:
                raise _malformed(file, number, f"the line is longer than {size_text(LONGEST_LINE)}")
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise _malformed(file, number, f"it is not UTF-8: {error.reason}") from error


def _json_lines(file: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _malformed(file, number, f"it is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise _malformed(file, number, "it is JSON, but not an object with one key per column")
        yield number, row


def _csv(file: Path) -> Iterator[Row]:
    reader = csv.reader(_lines(file), strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            if not cells:
                continue
            if header is None:
                header = cells
                if len(set(header)) < len(header):
                    raise _malformed(file, reader.line_num, "two columns have the same name")
                continue
            if len(cells) != len(header):
                why = f"it has {len(cells)} cells, and the header has {len(header)}"
                raise _malformed(file, reader.line_num, why)
            yield reader.line_num, dict(zip(header, (cell or None for cell in cells), strict=True))
    except csv.Error as error:
        raise _malformed(file, reader.line_num, f"it is not CSV: {error}") from error


def _parquet(file: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            groups = (
                table.metadata.row_group(index) for index in range(table.metadata.num_row_groups)
            )
            if any(group.total_byte_size > LARGEST_FILE for group in groups):
                raise UnavailableError(
                    "is too large",
                    where=file.name,
                    why=f"a row group unpacks to over {size_text(LARGEST_FILE)}",
                )
            number = 0
            for batch in table.iter_batches(batch_size=1024, use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError) as error:
        raise UnavailableError("is not a Parquet file", where=file.name, why=str(error)) from error


def _malformed(file: Path, line: int, why: str) -> UnavailableError:
    return UnavailableError("this line cannot be read", where=f"{file.name}:{line}", why=why)
