"""The per-example table, `examples.parquet`: its columns, and how it is read and written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from attrs import frozen

from recoverdsl.language.schema import METRICS


@frozen
class Column:
    """One column of the table."""

    name: str
    type: Any
    """A pyarrow type."""
    doc: str
    nullable: bool = True


def _figure(metric: str) -> Column:
    return Column(metric, pa.float64(), METRICS[metric].doc)


COLUMNS: tuple[Column, ...] = (
    Column("example", pa.string(), "Which example.", nullable=False),
    Column("category", pa.string(), "Category of the example, where the data has one."),
    Column(
        "kind",
        pa.string(),
        "`attack`, `control`, `smallest_norm` or `smallest_norm_control` (a search), or `part` of a δ.",
        nullable=False,
    ),
    Column("name", pa.string(), "Name of the attack or control.", nullable=False),
    Column("part", pa.string(), "Which part of δ; null where δ is whole."),
    Column(
        "how", pa.string(), "`alone` or `without`: whether the part was replayed or taken away."
    ),
    Column("limit", pa.float64(), "Largest norm that δ might have; null if there was no limit."),
    Column("recovered", pa.bool_(), "Whether the behavior is back under the clamp."),
    Column("score_base", pa.float64(), "Score without the clamp; null if the behavior has none."),
    Column("score_defended", pa.float64(), "Score under the clamp."),
    Column("score_recovered", pa.float64(), "Score under the clamp with δ."),
    Column(
        "reached",
        pa.bool_(),
        "Whether the attack's own goal was reached: the behavior's score, or every token of the target the most likely one.",
    ),
    Column("steps", pa.int64(), "Optimization steps spent on the example."),
    _figure("forward_passes"),
    _figure("gradient_steps"),
    _figure("norm"),
    _figure("relative_norm"),
    _figure("activation_drift"),
    _figure("decode_drift"),
    _figure("drift"),
    _figure("clamp_floor_violation"),
    _figure("reactivated_fraction"),
    Column(
        "zero_reactivation",
        pa.bool_(),
        "Whether no protected feature is above zero that was not so when defended, on the target and in the generated text.",
    ),
    _figure("violation"),
    _figure("generated_drift"),
    _figure("generated_clamp_floor_violation"),
    Column("opening", pa.string(), "What the generated text opens with."),
    Column("refuses", pa.bool_(), "Whether the generated text declines the request."),
    Column("opens_with_safety_cue", pa.bool_(), "Whether it begins with an apology or a warning."),
    Column("base_like", pa.bool_(), "Whether it is close to the target answer."),
    Column("strict_base_like", pa.bool_(), "The same with tighter thresholds."),
    Column("degenerate", pa.bool_(), "Whether it is too short or repeats itself."),
    Column("jaccard", pa.float64(), "Words it shares with the target answer, as a share of all."),
    Column("sequence_similarity", pa.float64(), "Words that match in order, in [0, 1]."),
    Column("judge", pa.float64(), "Probability that the spec's classifier gives, in [0, 1]."),
    Column("answer_tokens", pa.int64(), "Tokens of the generated text."),
    Column("words", pa.int64(), "Words of the generated text."),
    Column("characters", pa.int64(), "Characters of the generated text."),
    Column("failed", pa.string(), "Why the example has no figures; null if it has."),
)

SCHEMA = pa.schema(
    [
        pa.field(c.name, c.type, nullable=c.nullable, metadata={"doc": c.doc.encode()})
        for c in COLUMNS
    ]
)
"""One row per valid flip, kind, name and limit. A control with several draws has a row for each.

In a `smallest_norm` row `norm` is the least norm that was found to reach the attack's own goal (see the
column `reached`), and `limit` the largest that was tried; `recovered` is false if none did.
"""

KINDS = ("attack", "control", "smallest_norm", "smallest_norm_control", "part")


def to_frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Make the table from one mapping per row; a column that a row lacks is null in it.

    Raises:
        ValueError: a column is unknown, one that must be filled is not, a kind is unknown, or a row
            that has not failed does not say whether it recovered.
    """
    rows = list(rows)
    for row in rows:
        if unknown := set(row) - set(SCHEMA.names):
            raise ValueError(f"unknown column {sorted(unknown)[0]!r}")
        for column in COLUMNS:
            if not column.nullable and row.get(column.name) is None:
                raise ValueError(f"a row has no {column.name!r}")
        if row["kind"] not in KINDS:
            raise ValueError(f"unknown kind {row['kind']!r}")
        if row.get("failed") is None and row.get("recovered") is None:
            raise ValueError(f"example {row['example']!r} neither failed nor has an outcome")
    return _to_pandas(pa.Table.from_pylist(rows, schema=SCHEMA))


def write(frame: pd.DataFrame, path: Path | IO[bytes]) -> None:
    """Write the table as Parquet, with the doc of each column in its metadata.

    Raises:
        OSError: the file cannot be written.
    """
    table = pa.Table.from_pandas(frame[SCHEMA.names], schema=SCHEMA, preserve_index=False)
    pq.write_table(table, path)


def read(path: Path) -> pd.DataFrame:
    """Read the table.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not Parquet, or lacks a column.
    """
    return _to_pandas(pq.read_table(path, columns=SCHEMA.names).select(SCHEMA.names).cast(SCHEMA))


def _to_pandas(table: Any) -> pd.DataFrame:
    # Plain NumPy columns would turn a flag with nulls into objects and a count into floats.
    nullable = {pa.bool_(): pd.BooleanDtype(), pa.int64(): pd.Int64Dtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    return frame
