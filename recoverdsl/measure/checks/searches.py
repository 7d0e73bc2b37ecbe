"""Checks of the attacks by other searches where an attack did not recover.

After Pintor et al., "Indicators of attack failure" (arXiv 2106.09947), and Carlini et al., "On
evaluating adversarial robustness" (arXiv 1902.06705). Each is over the examples that were searched again,
and says how many these were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median
from typing import TypeVar

from recoverdsl.measure.checks.registry import Evidence, Finding, check
from recoverdsl.measure.keys import Budget, limit_text
from recoverdsl.measure.strength import (
    SearchedAgain,
    StrengthRow,
    SuffixStrengthRow,
    Tried,
)

R = TypeVar("R", bound=SearchedAgain)

USED = 0.9
"""Share of the limit from which on δ has used its budget."""

BETTER = 1.1
"""Factor by which a search raises the score more if it does better."""

TINY = 1e-12
"""The least rise of a score that is divided by."""

GROWS = 1.05
"""Factor by which δ is longer after twice the steps if it still grows."""


@check("flag")
def starved(evidence: Evidence) -> Iterator[Finding]:
    """Yield the attacks whose δ stops well inside the limit while twice the steps take it further or
    raise the score: most of the examples that were searched again are so.

    The figure is the median ‖δ‖ as a share of the limit. A suffix has no limit; one whose score twice
    the steps raise by more has ended too early, and its figure is by what factor in the median.
    """
    yield from _starved_suffixes(evidence)
    for budget, rows in _failed(evidence):
        limit = _limit(budget)
        hungry = [row for row in rows if row.attack.norm < USED * limit and _rises(row)]
        if 2 * len(hungry) > len(rows):
            used = median(row.attack.norm for row in hungry)
            yield Finding(
                budget.attack,
                used / limit,
                f"{_at(budget)} δ stops at a median norm of {used:.2g} in {_of(hungry, rows)} that the "
                f"attack {budget.attack} does not recover, and twice the steps take it further: the "
                "steps end before the budget does.",
                budget.limit,
            )


@check("flag")
def more_steps_recover(evidence: Evidence) -> Iterator[Finding]:
    """Yield the attacks that recover with twice the steps what they do not with their own.

    The figure is how many of the examples that were searched again.
    """
    yield from _recovers(
        _all_failed(evidence), lambda row: row.longer, "the same search with twice the steps"
    )


@check("flag")
def least_norm_missed(evidence: Evidence) -> Iterator[Finding]:
    """Yield the attacks that recover within a norm where their search of the least norm finds no such norm.

    The figure is how many of the examples that were searched again.
    """
    for budget, rows in evidence.searches.items():
        back = [row for row in rows if row.attack.recovered]
        if back:
            yield Finding(
                budget.attack,
                len(back),
                f"{_at(budget)} the attack {budget.attack} recovers {_of(back, rows)}, for which its search of the "
                "least norm finds no norm that small.",
                budget.limit,
                missed=True,
            )


@check("flag")
def beaten_by_apgd(evidence: Evidence) -> Iterator[Finding]:
    """Yield the attacks that momentum ascent, which sets its own step, beats under the same limit and
    constraint.

    The figure is how many of the examples that were searched again it recovers.
    """
    yield from _recovers(_failed(evidence), lambda row: row.apgd, "another optimizer, apgd(),")


@check("flag")
def beaten_by_random_search(evidence: Evidence) -> Iterator[Finding]:
    """Yield the attacks that a search without gradients beats with as many forward passes: it recovers
    an example, or raises the score by more in most of them.

    The figure is in how many examples it does better.
    """
    for budget, rows in _all_failed(evidence):
        back = [row for row in rows if row.unguided and row.unguided.recovered]
        higher = [
            row
            for row in rows
            if row.unguided and _gain(row.unguided, row) > BETTER * _gain(row.attack, row)
        ]
        if back or 2 * len(higher) > len(rows):
            better = [row for row in rows if row in back or row in higher]
            yield Finding(
                budget.attack,
                len(better),
                f"{_begin(budget, 'a random search without gradients')} does better than the attack "
                f"{budget.attack} in {_of(better, rows)}, and recovers {len(back)}: following "
                "gradients should do better than that.",
                budget.limit,
                missed=bool(back),
            )


@check("flag")
def masked_gradient(evidence: Evidence) -> Iterator[Finding]:
    """Yield the attacks whose gradient at δ = 0 is zero or not finite for an example, along all that the
    constraint allows.

    The figure is for how many of the examples that were searched again.
    """
    for budget, rows in _all_failed(evidence):
        masked = [row for row in rows if not row.gradient > 0 or math.isinf(row.gradient)]
        if masked:
            yield Finding(
                budget.attack,
                len(masked),
                f"The gradient that the attack {budget.attack} starts from is zero or not finite in "
                f"{_of(masked, rows)}: it has nothing to follow there.",
                budget.limit,
            )


@check("flag")
def budget_below_clamp(evidence: Evidence) -> Iterator[Finding]:
    """Yield the attacks whose limit does not allow to undo what the clamp changed where δ acts last, in
    most of the examples that were searched again.

    Where δ acts below the clamp there is nothing to undo: what the clamp changes at the first clamped site
    is compared with what the δ that were found change there, unless one of them recovers.

    The figure is the median norm of that change, as a multiple of the limit, or of the change by δ.
    """
    yield from _below(evidence)
    for budget, rows in _failed(evidence):
        limit = _limit(budget)
        beyond = [row for row in rows if row.undo.norm > limit]
        if 2 * len(beyond) > len(rows):
            moved = median(row.undo.norm for row in rows)
            yield Finding(
                budget.attack,
                moved / limit,
                f"{_at(budget)} δ may not even undo the clamp in {_of(beyond, rows)}: where δ acts the clamp moves "
                f"the state by a median of {moved:.3g}. That little is recovered with less than that says nothing of this clamp.",
                budget.limit,
            )


@check("flag")
def search_fails_without_constraint(evidence: Evidence) -> Iterator[Finding]:
    """Yield the attacks at whose limit undoing the clamp recovers, and no search finds it even without
    the constraint.

    The figure is in how many of the examples that were searched again.
    """
    for budget, rows in _failed(evidence):
        limit = _limit(budget)
        missed = [
            row
            for row in rows
            if row.undo.recovered and row.undo.norm <= limit and not row.unconstrained.recovered
        ]
        if missed:
            yield Finding(
                budget.attack,
                len(missed),
                f"{_at(budget)} to undo the clamp recovers {_of(missed, rows)}, and the search does "
                "not find that even without the constraint: the search is broken.",
                budget.limit,
            )


@check("flag")
def unreachable(evidence: Evidence) -> Iterator[Finding]:
    """Yield the attacks that recover none of the examples that were searched again even without a limit.

    The figure is how many these are.
    """
    for budget, rows in _failed(evidence):
        if not any(row.unlimited.recovered for row in rows):
            yield Finding(
                budget.attack,
                len(rows),
                f"Even without a limit none of the {len(rows)} searched again recovers: from where the attack "
                f"{budget.attack} acts, the behavior is out of its reach, whatever the clamp.",
                budget.limit,
            )


@check("flag")
def unchecked(evidence: Evidence) -> Iterator[Finding]:
    """Yield the attacks whose strength the spec asks not to check. There is no figure."""
    for budget in sorted(evidence.unchecked, key=lambda at: (at.attack, _limit(at))):
        yield Finding(
            budget.attack,
            None,
            f"{_begin(budget, 'no other search')} checks how strong the attack {budget.attack} is: the spec "
            "sets its checks to 0.",
            budget.limit,
        )


def _starved_suffixes(evidence: Evidence) -> Iterator[Finding]:
    for budget, rows in _suffixes(evidence):
        rising = [row for row in rows if _gain(row.longer, row) > BETTER * _gain(row.attack, row)]
        if 2 * len(rising) > len(rows):
            yield Finding(
                budget.attack,
                median(
                    _gain(row.longer, row) / max(_gain(row.attack, row), TINY) for row in rising
                ),
                f"In {_of(rising, rows)} that the suffix {budget.attack} does not recover, twice the steps raise the "
                "score by more than a tenth more: the steps end before the search does.",
            )


def _below(evidence: Evidence) -> Iterator[Finding]:
    for budget, rows in _failed(evidence):
        moved = [row.below_clamp for row in rows if row.below_clamp]
        less = [
            row
            for row in rows
            if (at := row.below_clamp)
            and at.by_delta < at.by_clamp
            and not (row.apgd.recovered or row.unconstrained.recovered)
        ]
        if 2 * len(less) > len(rows):
            by_clamp, by_delta = (
                median(getattr(at, by) for at in moved) for by in ("by_clamp", "by_delta")
            )
            yield Finding(
                budget.attack,
                by_clamp / max(by_delta, TINY),
                f"{_at(budget)} δ, which acts below the clamp, changes the state there by a median of "
                f"{by_delta:.3g}, and the clamp by {by_clamp:.3g}, by more in {_of(less, rows)}: that little is recovered with less than that "
                "says nothing of this clamp.",
                budget.limit,
            )


def _recovers(
    searched: Iterable[tuple[Budget, Sequence[R]]], of: Callable[[R], Tried], who: str
) -> Iterator[Finding]:
    for budget, rows in searched:
        back = [row for row in rows if of(row).recovered]
        if back:
            yield Finding(
                budget.attack,
                len(back),
                f"{_begin(budget, who)} recovers {_of(back, rows)}, which the attack {budget.attack} does "
                "not.",
                budget.limit,
                missed=True,
            )


def _failed(evidence: Evidence) -> Iterator[tuple[Budget, Sequence[StrengthRow]]]:
    """Yield, for each budget, the examples that were searched again and that the attack did not recover,
    if there are any."""
    for budget, rows in evidence.searches.items():
        missed = [row for row in rows if not row.attack.recovered]
        if missed:
            yield budget, missed


def _suffixes(evidence: Evidence) -> Iterator[tuple[Budget, Sequence[SuffixStrengthRow]]]:
    """Yield the same for suffixes."""
    yield from ((budget, rows) for budget, rows in evidence.suffixes.items() if rows)


def _all_failed(evidence: Evidence) -> Iterator[tuple[Budget, Sequence[SearchedAgain]]]:
    yield from _failed(evidence)
    yield from _suffixes(evidence)


def _gain(tried: Tried, row: SearchedAgain) -> float:
    """Return by how much a search raised the score."""
    return tried.score - row.start


def _rises(row: StrengthRow) -> bool:
    return row.longer.score > row.attack.score or row.longer.norm > GROWS * row.attack.norm


def _limit(budget: Budget) -> float:
    return math.inf if budget.limit is None else budget.limit


def _at(budget: Budget) -> str:
    return "Without a limit" if budget.limit is None else f"At norm {limit_text(budget.limit)}"


def _begin(budget: Budget, who: str) -> str:
    """Return the first words of a sentence; a suffix has no norm to say."""
    return f"{who[0].upper()}{who[1:]}" if budget.limit is None else f"{_at(budget)} {who}"


def _of(some: Sequence[SearchedAgain], rows: Sequence[SearchedAgain]) -> str:
    return f"{len(some)} of the {len(rows)} searched again"
