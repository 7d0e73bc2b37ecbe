"""The page of the documentation on the columns of the example table."""

from __future__ import annotations

import sys
from pathlib import Path

from recoverdsl.measure.table import COLUMNS

_HEAD = """# The example table

`examples.parquet` of a run folder, and `run.examples` in Python: one row for each valid flip, attack, control or search, and limit. In a `smallest_norm` row `norm` is the least norm that was found to reach the attack's own goal (see `reached`), and `limit` the largest that was tried; `recovered` is false if none did.

A figure that is undefined is null. The Parquet file holds the meaning and the unit of each column in the column's metadata, as `doc` and `unit`.

| column | type | unit | meaning |
|:--|:--|:--|:--|
"""


def page() -> str:
    """Return the page as Markdown."""
    rows = (
        f"| `{c.name}` | {c.type.__name__} | {c.unit or ''} | {c.doc.replace('|', '&#124;')} |\n"
        for c in COLUMNS
    )
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
