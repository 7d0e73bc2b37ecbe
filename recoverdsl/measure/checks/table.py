"""Checks of the attacks that need the table of examples alone.

After Carlini et al., "On evaluating adversarial robustness" (arXiv 1902.06705).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import pandas as pd

from recoverdsl.measure.checks.registry import Evidence, Finding, check
from recoverdsl.measure.keys import limit_text
from recoverdsl.measure.summary import outcomes


@check("flag")
def beaten_by_control(evidence: Evidence) -> Iterator[Finding]:
    """Yield the attacks that a control with the same target matches: some draw of it recovers in at
    least as many of the examples that both tried, at least one, and the attack does not recover all of
    these.

    The figure is how many the control recovers, less how many the attack does.
    """
    for name, control in evidence.controls.items():
        # With another target, or without the clamp, it does not try the same thing.
        if control.method.startswith("another_"):
            continue
        for limit, own, other in _paired(evidence.rows, ("attack", control.of), ("control", name)):
            n, mine, its = len(own), int(own.sum()), int(other.sum())
            if mine < n and its >= max(mine, 1):
                yield Finding(
                    control.of,
                    its - mine,
                    f"{_at(limit)} some draw of the control {name} recovers {its} of {n} without a search, the "
                    f"attack {control.of} {mine}: a search that finds no more than that is weak.",
                    None if math.isinf(limit) else limit,
                )


@check("flag")
def recovery_falls(evidence: Evidence) -> Iterator[Finding]:
    """Yield the attacks that recover fewer examples at a larger limit: what was found at the smaller
    one would have done there as well.

    The figure is how many fewer.
    """
    for name in evidence.attacks:
        recovered = _recovered(evidence.rows, "attack", name)
        for smaller, larger in pairwise(sorted(recovered)):
            both = recovered[smaller].index.intersection(recovered[larger].index)
            before, after = (int(recovered[limit][both].sum()) for limit in (smaller, larger))
            if after < before:
                yield Finding(
                    name,
                    before - after,
                    f"The attack {name} recovers {before} of {len(both)} at norm "
                    f"{limit_text(smaller)} and {after} {_at(larger, begins=False)}, although what "
                    "recovers at the smaller norm is allowed at the larger one: the search misses "
                    "what is there.",
                    None if math.isinf(larger) else larger,
                )


def _recovered(rows: pd.DataFrame, kind: str, name: str) -> dict[float, pd.Series[bool]]:
    """Return whether each example recovered, in any draw of a random one, by limit; an infinite one
    where there is none."""
    done = outcomes(rows, kind, name)
    return {
        float(limit): done[done["limit"] == limit].set_index("example")["recovered"] > 0
        for limit in set(done["limit"])
    }


def _paired(
    rows: pd.DataFrame, first: tuple[str, str], second: tuple[str, str]
) -> Iterator[tuple[float, pd.Series[bool], pd.Series[bool]]]:
    """Yield each limit that two tables have, with whether the examples of both recovered in each."""
    one, other = (_recovered(rows, *key) for key in (first, second))
    for limit in sorted(one.keys() & other.keys()):
        both = one[limit].index.intersection(other[limit].index)
        yield limit, one[limit][both], other[limit][both]


def _at(limit: float, *, begins: bool = True) -> str:
    if math.isinf(limit):
        return "Without a limit" if begins else "without a limit"
    return f"{'At' if begins else 'at'} norm {limit_text(limit)}"
