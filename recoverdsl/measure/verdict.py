"""The verdict: what the outcomes of all expectations, and the checks of the attacks, add up to."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Literal

from attrs import evolve, frozen

from recoverdsl.language.schema.metrics import RECOVERY
from recoverdsl.measure.expectation import ExpectationResult, Outcome
from recoverdsl.measure.keys import Budget

Verdict = Literal["holds", "does_not_hold", "inconclusive", "not_judged"]


@frozen
class Flag:
    """What a check of an attack found."""

    name: str
    """Name of the check: `recoverdsl explain NAME` tells more."""
    kind: Literal["flag", "caution"]
    """A flag speaks against every conclusion that little is recovered; a caution is for the reader."""
    subject: str | None
    """The attack; None if it is about the whole run."""
    figure: float | None
    """The figure that raised it; its page says which."""
    sentence: str
    """What was found, in a sentence."""
    limit: float | None = None
    """The limit of the norm at which it is up; None if it is up at all of them."""


def decide(
    expectations: Iterable[ExpectationResult],
    *,
    largest: Mapping[str, float | None],
    covers: Mapping[Budget, Collection[str]] | None = None,
    flags: Iterable[Flag] = (),
    unspecific: Mapping[Budget, str] | None = None,
) -> tuple[ExpectationResult, ...]:
    """Return the expectations with the outcomes that stand; `verdict_of` them is the verdict.

    A conclusion that little is recovered (a low rate, a large least norm) rests on the strength of
    the attack: with a flag up there it becomes undecided. Of the worst case over several attacks it does
    so if a flag is up for each of them: it is no weaker than one that has none. A conclusion that much is
    recovered rests on a budget that does not write everything: where `unspecific` has a sentence it
    becomes undecided.

    Args:
        expectations: each as its figure decides it.
        largest: attack to its largest limit; None if it has none.
        covers: the budgets at which the figures are the worst case over attacks, with these attacks.
        flags: the findings of the checks.
        unspecific: the budgets at which unrelated targets are reached as well, each with a sentence
            that says so.
    """
    raised = [flag for flag in flags if flag.kind == "flag"]

    def standing(e: ExpectationResult) -> ExpectationResult:
        recovers = _recovers(e)
        if e.outcome == "undecided" or recovers is None or e.subject not in largest:
            return e
        at = Budget(e.subject, largest[e.subject] if e.norm is None else e.norm)
        if recovers == "much":
            found = [why for why in [(unspecific or {}).get(at)] if why]
        else:
            up = {
                name: [flag.name for flag in raised if _is_up(flag, Budget(name, at.limit))]
                for name in _attacks(at, covers or {})
            }
            found = [_flagged(up)] if all(up.values()) else []
        return evolve(e, outcome="undecided", reason=found[0]) if found else e

    return tuple(map(standing, expectations))


def verdict_of(outcomes: Iterable[Outcome]) -> Verdict:
    """Return the verdict that outcomes give.

    `does_not_hold` if an expectation is broken; otherwise `inconclusive` if one is undecided;
    `not_judged` if there is none; `holds` if every one is met.
    """
    found = set(outcomes)
    if not found:
        return "not_judged"
    if "broken" in found:
        return "does_not_hold"
    return "inconclusive" if "undecided" in found else "holds"


def _recovers(e: ExpectationResult) -> Literal["little", "much"] | None:
    """Return what an expectation concludes of recovery; None if it is about something else."""
    small = (e.outcome == "met") == (e.operator in ("<", "<="))
    if e.metric in RECOVERY:
        return "little" if small else "much"
    if e.metric == "smallest_norm":
        return "much" if small else "little"
    return None


def _attacks(at: Budget, covers: Mapping[Budget, Collection[str]]) -> Collection[str]:
    """Return the attacks on whose strength the figure of a budget rests."""
    for budget, attacks in covers.items():
        if budget.attack == at.attack and _same(budget.limit, at.limit):
            return attacks
    return (at.attack,)


def _flagged(up: Mapping[str, list[str]]) -> str:
    """Return why flags take a conclusion back.

    Args:
        up: attack to the names of its flags.
    """
    flags = ", ".join(dict.fromkeys(flag for names in up.values() for flag in names))
    attacks = f"{'attacks' if len(up) > 1 else 'attack'} {', '.join(up)}"
    return f"the {attacks} may be too weak to say that little is recovered: {flags}"


def _is_up(flag: Flag, at: Budget) -> bool:
    if flag.subject not in (None, at.attack):
        return False
    return flag.limit is None or _same(flag.limit, at.limit)


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other)
