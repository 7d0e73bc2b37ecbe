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
    SearchedHarder,
    Specificity,
    most_different,
    paired_difference,
)
from recoverdsl.measure.strength import UnrelatedRow
from recoverdsl.measure.summary import Planned, judge, outcomes, summarize

CLEARLY = 1.1
"""Factor by which a least norm is too large if a search that is not for the least norm finds a smaller one."""

Harder = Mapping[Budget, Mapping[str, Sequence[UnrelatedRow]]]
"""Budget of an attack to each control whose target was searched harder there, and the rows of these searches."""


def specificities(
    rows: pd.DataFrame, controls: Mapping[str, Planned], harder: Harder
) -> tuple[Specificity, ...]:
    """Return the comparison of each control that has another target under the clamp with its attack.

    Args:
        rows: the table of `measure.table.SCHEMA`.
        controls: what was planned.
        harder: the stronger searches, by the examples' ids in the table.
    """
    return tuple(
        Specificity(
            plan.of, name, plan.method,
            tuple(_at_limits(rows, plan.of, name, plan.method)), _most_specific(rows, plan.of, name),
            tuple(_searched_harder(rows, plan.of, name, plan.method, harder)),
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

    A target that a stronger search reaches counts as reached. Where none was made nothing is shown: the
    difference may be that of a weak search.

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
            first, again = _compared_at(rows, one, budget), _harder_at(one, budget)
            at = again.pair if again else first
            if budget in said:
                continue
            if first is None or at is None or not at.own_exceeds:
                said[budget] = f"{_at(budget.limit)}{_too_close(at, one, again)}"
            elif again is None:
                said[budget] = (
                    f"{_at(budget.limit)}no stronger search was made for the unrelated target ({one.control}), "
                    f"which the same search reaches in {at.other} of {at.n}, and its own in {at.own}: the difference "
                    f"may be that of a weak search; leave out `checks = 0` of {budget.attack}"
                )
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


def _too_close(
    pair: PairedDifference | None, one: Specificity, again: SearchedHarder | None
) -> str:
    """Return why a difference is not shown.

    Args:
        pair: the comparison, with what stronger searches reach counted as reached.
    """
    if pair is None or pair.difference is None:
        return f"the unrelated target ({one.control}) has no figure to compare with"
    assert pair.low is not None and pair.high is not None
    own = "the base answer" if one.method == "another_example" else "its own"
    reached = again.reached if again else 0
    more = f", in {reached} more when searched {stronger_searches(pair)}," if reached else ","
    return (
        f"the same search also reaches an unrelated target ({one.control}) in {pair.other - reached} of {pair.n}"
        f"{more} and {own} in {pair.own}: a difference of {100 * pair.difference:.0f} points, "
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


def overestimated(found: Iterable[Specificity]) -> dict[str, str]:
    """Return the attacks whose specificity is too large as far as stronger searches of the unrelated target
    show, each with a sentence that says so."""
    found = tuple(found)
    said = {}
    for one in found:
        for again in one.harder:
            if again.overestimated and one in compared_with(found, one.attack):
                said[one.attack] = (
                    f"{_at(again.norm)}stronger searches reach the unrelated target ({one.control}) in "
                    f"{again.overestimated} of {again.searched} whose least norm was found to be larger"
                )
    return said


def stronger_searches(pair: PairedDifference) -> str:
    """Return in words which searches are made again; of a suffix, which has no norm, one."""
    return "with twice the steps" + ("" if pair.norm is None else " or by apgd()")


def _searched_harder(
    rows: pd.DataFrame, attack: str, control: str, method: str, harder: Harder
) -> Iterator[SearchedHarder]:
    for budget, made in harder.items():
        both = _reached_at(rows, attack, control, method, budget)
        if budget.attack != attack or control not in made or both is None:
            continue
        own, other = both
        reached = {row.example: row.norm for row in made[control] if row.reached}
        least = _least_norms_tried(rows, control)
        yield SearchedHarder(
            budget.limit, budget.least, len(made[control]), len(reached),
            paired_difference(own, other | other.index.isin(list(reached)), budget.limit),
            sum(bool(least.get(example, 0.0) > CLEARLY * norm) for example, norm in reached.items()),
        )  # fmt: skip


def _least_norms_tried(rows: pd.DataFrame, control: str) -> pd.Series[float]:
    """Return the least norm that reaches a control's target, by example, as `specificity` counts it: the
    largest that was tried where none does. None without such a search."""
    done = outcomes(rows, "smallest_norm_control", control).set_index("example")
    return done["norm"].where(done["recovered"].astype(bool), done["limit"])


def _harder_at(one: Specificity, at: Budget) -> SearchedHarder | None:
    return next(
        (a for a in one.harder if same_limit(a.norm, at.limit) and a.least == at.least), None
    )


def _at_limits(
    rows: pd.DataFrame, attack: str, control: str, method: str
) -> Iterator[PairedDifference]:
    for limit, (own, other) in _reached(rows, attack, control, method).items():
        yield paired_difference(own, other, limit)


def _reached(
    rows: pd.DataFrame, attack: str, control: str, method: str
) -> dict[float | None, tuple[pd.Series[bool], pd.Series[bool]]]:
    """Return whether each example reached an attack's target and its control's, of those in which both were
    tried, by each limit that both have, ascending."""
    own, other = (outcomes(rows, *key) for key in (("attack", attack), ("control", control)))
    if method == "another_example":
        # The control has to elicit an answer, not only any text in which the behavior is present.
        answered = own["base_like"].fillna(False).astype(bool) | own["reached"].astype(bool)
        own = own.assign(recovered=own["recovered"] & answered)
    found = {}
    for limit in sorted(set(own["limit"]) & set(other["limit"])):
        one, two = (
            done[done["limit"] == limit].set_index("example")["recovered"] > 0
            for done in (own, other)
        )
        both = one.index.intersection(two.index)
        found[None if math.isinf(limit) else limit] = (one[both], two[both])
    return found


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
    both = _reached_at(rows, one.attack, one.control, one.method, at)
    return None if both is None else paired_difference(*both, at.limit)


def _reached_at(
    rows: pd.DataFrame, attack: str, control: str, method: str, at: Budget
) -> tuple[pd.Series[bool], pd.Series[bool]] | None:
    """Return whether each example reached both targets at a budget; None if it was not tried for both."""
    if not at.least:
        tried = _reached(rows, attack, control, method).items()
        return next((both for limit, both in tried if same_limit(limit, at.limit)), None)
    least, rival = _least_norms(rows, attack, control)
    within = math.inf if at.limit is None else at.limit
    return (least <= within, rival <= within) if len(least) else None


def _most_specific(rows: pd.DataFrame, attack: str, control: str) -> PairedDifference | None:
    """Return the difference at the norm at which it is largest; of several the smallest."""
    least, rival = _least_norms(rows, attack, control)
    return most_different(least, rival)


def _at(limit: float | None) -> str:
    return "" if limit is None else f"at norm {limit_text(limit)} "
