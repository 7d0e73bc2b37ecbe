"""The specificity of a budget: whether it recovers the behavior in more examples than it writes an unrelated
target in, and than random draws do.

Own and unrelated target are searched alike, in the same examples, so they are compared pair by pair.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from recoverdsl.language.schema import Expectation, Interval
from recoverdsl.measure.expectation import ExpectationResult
from recoverdsl.measure.intervals import wilson, wilson_of_shares
from recoverdsl.measure.keys import Budget, limit_text, same_limit
from recoverdsl.measure.paired_difference import (
    CONFIDENCE,
    TARGETS,
    PairedDifference,
    Specificity,
    most_different,
    paired_difference,
)
from recoverdsl.measure.summary import Planned, judge, outcomes, summarize


def specificities(rows: pd.DataFrame, controls: Mapping[str, Planned]) -> tuple[Specificity, ...]:
    """Return the comparison of each control that has another target under the clamp with its attack.

    Args:
        rows: the table of `measure.table.SCHEMA`.
        controls: what was planned.
    """
    return tuple(
        Specificity(
            plan.of, name, plan.method,
            tuple(_at_limits(rows, plan.of, name, plan.method)), _most_specific(rows, plan.of, name),
        )
        for name, plan in controls.items()
        if plan.method in TARGETS
    )  # fmt: skip


def compared_with(found: Iterable[Specificity], attack: str) -> list[Specificity]:
    """Return the comparisons that say whether an attack's budget is specific: those with the targets that
    are least related to its own, of those that some example has."""
    every = [one for one in found if one.attack == attack]
    own = [one for one in every if any(pair.n for pair in one.budgets)] or every
    least = min((TARGETS.index(one.method) for one in own), default=None)
    return [one for one in own if TARGETS.index(one.method) == least]


def unspecific(
    rows: pd.DataFrame,
    found: Iterable[Specificity],
    budgets: Iterable[Budget],
    controls: Mapping[str, Planned],
) -> dict[Budget, str]:
    """Return the budgets at which recovery is not shown to exceed every unrelated target and the random
    draws under the same constraint, if there are any, each with a sentence that says why.

    Args:
        rows: the table of `measure.table.SCHEMA`.
        found: the comparisons of its attacks with their controls.
        controls: what was planned.
    """
    random = [(n, plan) for n, plan in controls.items() if plan.method == "random_direction"]
    found = tuple(found)
    said = {}
    for budget in budgets:
        compared = compared_with(found, budget.attack)
        if not compared:
            said[budget] = (
                f"no unrelated target was tried with the budget of {budget.attack}, so nothing shows that it "
                "would not write anything else: add a control with a `target`"
            )
        for one in compared:
            at = _compared_at(rows, one, budget)
            if budget not in said and (at is None or not at.own_exceeds):
                said[budget] = f"{_at(budget.limit)}{_too_close(at, one)}"
        for name, plan in random:
            if (
                plan.of == budget.attack
                and budget not in said
                and (why := _by_chance(rows, name, budget))
            ):
                said[budget] = f"{_at(budget.limit)}{why}"
    return said


def by_specific(
    rows: pd.DataFrame,
    expectations: Iterable[Expectation],
    rests_on: Iterable[Sequence[Budget]],
    measures: Mapping[str, Interval],
    unspecific: Collection[Budget],
) -> list[ExpectationResult | None]:
    """Return each expectation that rests on several attacks, of which some have a budget that is not
    specific, by the worst case over the others alone; None for any other expectation.

    Args:
        rows: the table of `measure.table.SCHEMA`.
        rests_on: for each expectation the attacks that it is about, at a limit.
        measures: intervals that the spec asks for.
    """
    found: list[ExpectationResult | None] = []
    for e, budgets in zip(expectations, rests_on, strict=True):
        left = [at.attack for at in budgets if at not in unspecific]
        if left and len(left) < len(budgets):
            theirs = rows[rows["name"].isin(left)]
            planned = {name: Planned() for name in left}
            summary = summarize(theirs, measures, attacks=planned, strongest=left)
            found += judge([e], summary)
        else:
            found.append(None)
    return found


def _too_close(pair: PairedDifference | None, one: Specificity) -> str:
    if pair is None or pair.difference is None:
        return f"the unrelated target ({one.control}) has no figure to compare with"
    assert pair.low is not None and pair.high is not None
    return (
        f"the same search also reaches an unrelated target ({one.control}) in {pair.other} of {pair.n}, "
        f"and {'the base answer' if one.method == 'another_example' else 'its own'} in {pair.own}: a difference of {100 * pair.difference:.0f} points, "
        f"interval {100 * pair.low:.0f} to {100 * pair.high:.0f}, p = {pair.p:.2g}"
    )


def _by_chance(rows: pd.DataFrame, control: str, at: Budget) -> str | None:
    """Return that random draws do not recover clearly fewer than an attack; None if they do, their interval
    lying wholly below its own, or if none were drawn at its limit."""
    limit = math.inf if at.limit is None else at.limit
    own = outcomes(rows, "smallest_norm" if at.least else "attack", at.attack)
    back = own["recovered"] & (own["norm"] <= limit) if at.least else own["recovered"]
    if not at.least:
        back = back[np.isclose(own["limit"], limit)]
    drawn = outcomes(rows, "control", control)
    drawn = drawn[np.isclose(drawn["limit"], limit)]
    if not len(back) or not len(drawn):
        return None
    draws = int(drawn["draw"].sum()) if drawn["draw"].notna().any() else len(drawn)
    found = wilson(int(back.sum()), len(back), CONFIDENCE)
    chance = wilson_of_shares(drawn["recovered"].to_numpy(dtype=float), draws, CONFIDENCE)
    assert found.low is not None and chance.high is not None and chance.value is not None
    if chance.high < found.low:
        return None
    return (
        f"random draws under the same constraint ({control}) recover {round(chance.value * draws)} of {draws}, "
        f"not clearly fewer than the attack with {int(back.sum())} of {len(back)}: nearly any change of this size "
        "may recover"
    )


def _at_limits(
    rows: pd.DataFrame, attack: str, control: str, method: str
) -> Iterator[PairedDifference]:
    own, other = (outcomes(rows, *key) for key in (("attack", attack), ("control", control)))
    if method == "another_example":
        # The control has to elicit an answer, not only any text in which the behavior is present.
        answered = own["base_like"].fillna(False).astype(bool) | own["reached"].astype(bool)
        own = own.assign(recovered=own["recovered"] & answered)
    for limit in sorted(set(own["limit"]) & set(other["limit"])):
        one, two = (
            done[done["limit"] == limit].set_index("example")["recovered"] > 0
            for done in (own, other)
        )
        both = one.index.intersection(two.index)
        yield paired_difference(one[both], two[both], None if math.isinf(limit) else limit)


def _least_norms(
    rows: pd.DataFrame, attack: str, control: str
) -> tuple[pd.Series[float], pd.Series[float]]:
    """Return the least norms that reach an attack's target and its control's, of the examples in which
    both were searched; infinite where none does."""
    searched = (("smallest_norm", attack), ("smallest_norm_control", control))
    own, other = (outcomes(rows, *key).set_index("example") for key in searched)
    both = own.index.intersection(other.index)
    least, rival = (
        done.loc[both, "norm"].where(done.loc[both, "recovered"].astype(bool), math.inf)
        for done in (own, other)
    )
    return least, rival


def _compared_at(rows: pd.DataFrame, one: Specificity, at: Budget) -> PairedDifference | None:
    """Return the difference at a budget, of the least norms if it is about these; None if it was not
    tried for both."""
    if not at.least:
        return next((pair for pair in one.budgets if same_limit(pair.norm, at.limit)), None)
    least, rival = _least_norms(rows, one.attack, one.control)
    within = math.inf if at.limit is None else at.limit
    return paired_difference(least <= within, rival <= within, at.limit) if len(least) else None


def _most_specific(rows: pd.DataFrame, attack: str, control: str) -> PairedDifference | None:
    """Return the difference at the norm at which it is largest; of several the smallest."""
    least, rival = _least_norms(rows, attack, control)
    return most_different(least, rival)


def _at(limit: float | None) -> str:
    return "" if limit is None else f"at norm {limit_text(limit)} "
