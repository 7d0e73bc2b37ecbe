"""Checks of the attacks: was what was tried strong enough to say that little is recovered?

After Carlini et al., "On evaluating adversarial robustness" (arXiv 1902.06705), and Pintor et al.,
"Indicators of attack failure" (arXiv 2106.09947). A check is a function of the evidence with a line
in `@check`, and a page in `pages/`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Literal

import pandas as pd
from attrs import field, frozen

from recoverdsl.measure.keys import limit_text
from recoverdsl.measure.results import AttackResult, ControlResult
from recoverdsl.measure.summary import outcomes
from recoverdsl.measure.verdict import Flag

UNUSED = 0.9
"""Share of the limit below which the norm of δ says that the budget was not used."""


@frozen
class Evidence:
    """What the checks look at."""

    rows: pd.DataFrame
    """The table of `measure.table.SCHEMA`."""
    attacks: Mapping[str, AttackResult]
    controls: Mapping[str, ControlResult]
    figures: Mapping[str, Mapping[str, float]] = field(factory=dict)
    """Attack to figures that are not in the table, by the names that their checks give them."""


@frozen
class Finding:
    """What a check found of one attack."""

    subject: str | None
    """The attack; None for the whole run."""
    figure: float | None
    sentence: str
    limit: float | None = None
    """The limit that it is about; None if it is about all of them."""


@frozen
class Check:
    """One check, by its name."""

    name: str
    kind: Literal["flag", "caution"]
    """See `Flag.kind`."""
    find: Callable[[Evidence], Iterable[Finding]]


CHECKS: dict[str, Check] = {}
"""Every check by its name, in the order in which reports list what they find."""


def check(
    kind: Literal["flag", "caution"],
) -> Callable[[Callable[[Evidence], Iterable[Finding]]], Callable[[Evidence], Iterable[Finding]]]:
    """Register a function as the check of its name."""

    def register(
        find: Callable[[Evidence], Iterable[Finding]],
    ) -> Callable[[Evidence], Iterable[Finding]]:
        CHECKS[find.__name__] = Check(find.__name__, kind, find)
        return find

    return register


def flags(evidence: Evidence) -> tuple[Flag, ...]:
    """Return what the checks find, check by check."""
    return tuple(
        Flag(check.name, check.kind, found.subject, found.figure, found.sentence, found.limit)
        for check in CHECKS.values()
        for found in check.find(evidence)
    )


@check("flag")
def beaten_by_control(evidence: Evidence) -> Iterator[Finding]:
    """Yield the attacks that a control with the same target matches: it recovers at least as many of
    the examples that both tried, at least one, and the attack does not recover all of these.

    The figure is how many the control recovers, less how many the attack does.
    """
    for name, control in evidence.controls.items():
        # With another target, or without the clamp, it does not try the same thing.
        if control.method.startswith("another_example"):
            continue
        for limit, own, other in _paired(evidence.rows, ("attack", control.of), ("control", name)):
            n, mine, its = len(own), int(own.sum()), int(other.sum())
            if mine < n and its >= max(mine, 1):
                yield Finding(
                    control.of,
                    its - mine,
                    f"{_at(limit)} the control {name} recovers {its} of {n} without a search, the "
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


@check("flag")
def unused_budget(evidence: Evidence) -> Iterator[Finding]:
    """Yield the attacks that end far inside their limit where they recover nothing: the median norm of
    δ there is below `UNUSED` of the limit.

    The figure is that median as a share of the limit.
    """
    for name in evidence.attacks:
        done = outcomes(evidence.rows, "attack", name)
        missed = done[~done["recovered"] & done["norm"].notna()]
        for limit in sorted(set(missed["limit"])):
            norms = missed.loc[missed["limit"] == limit, "norm"]
            used = float(norms.median())
            if math.isfinite(limit) and used < UNUSED * limit:
                yield Finding(
                    name,
                    used / limit,
                    f"{_at(limit)} δ ends at a median norm of {used:.2g} in the {len(norms)} that the "
                    f"attack {name} does not recover: the search did not use its budget.",
                    limit,
                )


def _recovered(rows: pd.DataFrame, kind: str, name: str) -> dict[float, pd.Series[bool]]:
    """Return whether each example recovered, by limit; an infinite one where there is none."""
    done = outcomes(rows, kind, name)
    return {
        float(limit): done[done["limit"] == limit].set_index("example")["recovered"]
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
