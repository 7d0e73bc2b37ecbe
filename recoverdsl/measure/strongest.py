"""The worst case over several attacks, example by example, as one more attack of the table.

AutoAttack's rule (Croce & Hein 2020): an example counts as recovered at a limit if any of the attacks
recovered it there.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import pandas as pd

from recoverdsl.language.schema.strongest import STRONGEST

_COSTS = ("forward_passes", "gradient_steps")

_COUNTED = ("zero_reactivation", "base_like", "strict_base_like")
"""Flags that make a recovery count for a stricter rate."""


def with_strongest(rows: pd.DataFrame, covers: Collection[str]) -> pd.DataFrame:
    """Return the table with the rows of `strongest` after the others; unchanged if it covers nothing.

    At each limit it has the row of one attack for each example: of those that recovered it, the one
    with the smallest norm, else the one with the highest score. A stricter rate counts an example that any
    of them recovers as strictly, so that no rate is below that of an attack. A failed row counts only where
    every attack failed that has the limit. What the search cost is the sum over these attacks. Of the
    searches for the least norm it has the one that found the least.

    Args:
        rows: the table of `measure.table.SCHEMA`.
        covers: names of attacks.
    """
    theirs = rows[rows["name"].isin(list(covers))]
    attacks = theirs[theirs["kind"] == "attack"]
    limit = attacks["limit"].fillna(math.inf)
    chosen = _best(attacks, [attacks["example"], limit])
    at = pd.MultiIndex.from_arrays([chosen["example"], chosen["limit"].fillna(math.inf)])
    for cost in _COSTS:
        total = attacks[cost].groupby([attacks["example"], limit]).sum(min_count=1)
        chosen[cost] = total.reindex(at).to_numpy()
    back = attacks[attacks["recovered"].astype(bool) & attacks["failed"].isna()]
    for flag in _COUNTED:
        strictly = back.loc[back[flag].fillna(False).astype(bool), ["example", "limit"]]
        found = pd.MultiIndex.from_arrays([strictly["example"], strictly["limit"].fillna(math.inf)])
        chosen[flag] = chosen[flag].mask(at.isin(found), True)
    searches = theirs[theirs["kind"] == "smallest_norm"]
    least = _best(searches, [searches["example"]])
    # One row for each example at one limit: the largest that any of them tried.
    least["limit"] = searches["limit"].max()
    added = [frame for frame in (chosen, least) if len(frame)]
    return pd.concat([rows, *added], ignore_index=True) if added else rows


def _best(rows: pd.DataFrame, groups: list[pd.Series]) -> pd.DataFrame:
    """Return the best row of each group, under the name `strongest`, in the order of the table."""
    recovered = rows["recovered"].astype(bool)
    size = rows["norm"].astype(float).fillna(math.inf)
    order = pd.DataFrame(
        {
            "failed": rows["failed"].notna(),
            "lost": ~recovered,
            "rest": np.where(recovered, size, -rows["score_recovered"].astype(float).fillna(-math.inf)),
        }
    )  # fmt: skip
    first = order.sort_values(["failed", "lost", "rest"], kind="stable").index
    best = rows.loc[first].groupby([group.loc[first] for group in groups], sort=False).head(1)
    return best.sort_index().assign(name=STRONGEST)
