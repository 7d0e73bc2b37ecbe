"""The table of examples as a file, of this version and of earlier ones."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from recoverdsl.measure import table
from tests.rows import example_row

NEWER = ["rank_base", "rank_recovered", "probability_recovered", "active_drift"]


def without(columns: list[str], path: Path) -> None:
    table.write(
        table.to_frame([example_row(example=str(i), kind="attack", name="a") for i in range(3)]),
        path,
    )
    pq.write_table(pq.read_table(path).drop_columns(columns), path)


def test_a_column_that_an_earlier_version_lacks_is_null(tmp_path: Path) -> None:
    path = tmp_path / "examples.parquet"
    without([], path)
    whole = table.read(path)
    without(NEWER, path)
    found = table.read(path)
    assert list(found.columns) == list(whole.columns)
    assert (found.dtypes == whole.dtypes).all()
    assert found[NEWER].isna().all().all()
    rest = [name for name in whole.columns if name not in NEWER]
    pd.testing.assert_frame_equal(found[rest], whole[rest])


def test_a_file_without_the_name_of_the_attack_is_no_such_table(tmp_path: Path) -> None:
    path = tmp_path / "examples.parquet"
    without(["name"], path)
    with pytest.raises(ValueError, match="expected a column 'name', found none"):
        table.read(path)
