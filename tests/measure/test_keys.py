"""Names of tables, as they stand in folders and on the screen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverdsl.measure.keys import TableKey, limit_text


@pytest.mark.parametrize(
    ("limit", "name"),
    [(20.0, "attack go 20"), (0.1, "attack go 0.1"), (None, "attack go none"), (1e16, "attack go 1e+16")],
)  # fmt: skip
def test_a_table_is_named_by_kind_name_and_limit(limit: float | None, name: str) -> None:
    assert str(TableKey("attack", "go", limit)) == name


@given(st.floats(allow_nan=False))
def test_a_limit_reads_back_as_the_same_number(limit: float) -> None:
    assert float(limit_text(limit)) == limit
    assert not limit_text(limit).endswith(".0")
