"""Checks of the attacks that need the table of examples alone.

After Carlini et al., "On evaluating adversarial robustness" (arXiv 1902.06705).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from recoverdsl.measure.checks.registry import Evidence, Finding, check
from recoverdsl.measure.keys import limit_text
from recoverdsl.measure.summary import outcomes


@check("flag")
def beaten_by_control(evidence: Evidence) -> Iterator[Finding]:
    """Yield the attacks that a control with the same target beats: some draw of it recovers an example that
    the attack does not, or as many examples in all, at least one, while the attack does not recover all.

    The figure is in how many examples the control recovers and the attack does not.
    """
    for name, control in evidence.controls.items():
        # With another target, or without the clamp, it does not try the same thing.
        if control.method.startswith("another_"):
            continue
        for limit, own, other in _paired(evidence.rows, ("attack", control.of), ("control", name)):
            n, mine, its = len(own), int(own.sum()), int(other.sum())
            missed = int((other & ~own).sum())
            if missed or (mine < n and its >= max(mine, 1)):
                what = (
                    f"{missed} of them examples that the attack {control.of} ({mine} of {n}) does not recover"
                    if missed
                    else f"as many as the attack {control.of}"
                )
                yield Finding(
                    control.of,
                    missed,
                    f"{_at(limit)} some draw of the control {name} recovers {its} of {n} without a search, {what}: "
                    "the search finds no more than luck, or misses what luck finds.",
                    None if math.isinf(limit) else limit,
                    missed=missed > 0,
                )


@check("flag")
def recovery_falls(evidence: Evidence) -> Iterator[Finding]:
    """Yield the attacks that do not recover, at a larger limit, examples that they recover at a smaller one:
    what was found there would have done as well.

    The figure is how many.
    """
    for name in evidence.attacks:
        recovered = _recovered(evidence.rows, "attack", name)
        limits = sorted(recovered)
        for number, larger in enumerate(limits):
            at = recovered[larger]
            before = {
                smaller: set(done[done].index) & set(at[~at].index)
                for smaller in limits[:number]
                if len(done := recovered[smaller])
            }
            missed = set().union(*before.values())
            if missed:
                found = ", ".join(limit_text(limit) for limit, some in before.items() if some)
                yield Finding(
                    name,
                    len(missed),
                    f"The attack {name} recovers {len(missed)} of {len(at)} at norm {found} and not "
                    f"{_at(larger, begins=False)}, although what recovers at a smaller norm is allowed at a larger "
                    "one: the search misses what is there.",
                    None if math.isinf(larger) else larger,
                    missed=True,
                )


@check("flag")
def smaller_norm_recovers(evidence: Evidence) -> Iterator[Finding]:
    """Yield the attacks that do not recover, within a limit, examples for which their own search of the
    least norm found a δ that does, within that limit.

    The figure is how many.
    """
    for name in evidence.attacks:
        searched = outcomes(evidence.rows, "smallest_norm", name)
        # Where a text is judged, the search has another goal than the behavior.
        if not len(searched) or "base_like_rate" in evidence.attacks[name].metrics:
            continue
        least = searched.set_index("example")
        for limit, at in sorted(_recovered(evidence.rows, "attack", name).items()):
            both = at.index.intersection(least.index)
            within = least.loc[both, "recovered"] & (least.loc[both, "norm"] <= limit)
            missed = int((within & ~at[both]).sum())
            if missed:
                yield Finding(
                    name,
                    missed,
                    f"{_at(limit)} the attack {name} recovers {int(at[both].sum())} of {len(both)}, and the search of "
                    f"the least norm finds a δ within that norm for {missed} of the others: the attack ends too soon.",
                    None if math.isinf(limit) else limit,
                    missed=True,
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
