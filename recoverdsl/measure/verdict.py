"""The verdict: what the outcomes of all expectations, and the checks of the attacks, add up to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
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
    against: Literal["little", "both"] = "little"
    """The conclusions that a flag speaks against: that little is recovered, or that much is as well."""


def decide(
    expectations: Iterable[ExpectationResult],
    *,
    largest: Mapping[str, float | None],
    flags: Iterable[Flag] = (),
    unspecific: Mapping[Budget, str] | None = None,
    covers: Mapping[Budget, Sequence[str]] | None = None,
) -> tuple[ExpectationResult, ...]:
    """Return the expectations with the outcomes that stand; `verdict_of` them is the verdict.

    A conclusion that little is recovered (a low rate, a large least norm) rests on the strength of
    the attack: with a flag up there it becomes undecided. A conclusion that much is recovered rests on a
    budget that does not write everything: where `unspecific` has a sentence it becomes undecided.

    Args:
        expectations: each as its figure decides it.
        largest: attack to its largest limit; None if it has none.
        flags: the findings of the checks.
        unspecific: the budgets at which unrelated targets are reached as well, each with a sentence
            that says so.
        covers: the attacks of which a row at a limit is the worst case: it is as strong as the strongest of
            them, and as specific as the most specific.
    """
    raised = [flag for flag in flags if flag.kind == "flag"]

    def standing(e: ExpectationResult) -> ExpectationResult:
        recovers = _recovers(e)
        if e.outcome == "undecided" or recovers is None or e.subject not in largest:
            return e
        limit = largest[e.subject] if e.norm is None else e.norm
        covered = (covers or {}).get(Budget(e.subject, limit), (e.subject,))
        budgets = [Budget(name, limit) for name in covered]
        if recovers == "much":
            said = [unspecific[at] for at in budgets if at in unspecific] if unspecific else []
            against = said[:1] if len(said) == len(budgets) else []
            both = [
                f.name
                for f in raised
                if f.against == "both" and any(_is_up(f, at) for at in budgets)
            ]
            against = [_flagged(e.subject, both), *against] if both else against
        else:
            names = [[flag.name for flag in raised if _is_up(flag, at)] for at in budgets]
            against = [_flagged(e.subject, [*chain.from_iterable(names)])] if all(names) else []
        return evolve(e, outcome="undecided", reason=against[0]) if against else e

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


def _flagged(attack: str, names: list[str]) -> str:
    flags = ", ".join(dict.fromkeys(names))
    return f"a check of the attack {attack} speaks against it: {flags}"


def _is_up(flag: Flag, at: Budget) -> bool:
    if flag.subject not in (None, at.attack):
        return False
    if flag.limit is None or at.limit is None:
        return flag.limit is None
    return math.isclose(flag.limit, at.limit)
