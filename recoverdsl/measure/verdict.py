"""The verdict: what the outcomes of all expectations, and the checks of the attacks, add up to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from attrs import evolve, frozen

from recoverdsl.language.schema.metrics import says_of_recovery
from recoverdsl.measure.expectation import ExpectationResult, Outcome
from recoverdsl.measure.keys import Budget, same_limit

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
    missed: bool = False
    """Whether a recovery was found that the attack missed. That speaks against the worst case over several
    attacks too, however strong the others are."""


def decide(
    expectations: Iterable[ExpectationResult],
    rests_on: Iterable[Sequence[Budget]],
    *,
    flags: Iterable[Flag] = (),
    unspecific: Mapping[Budget, str] | None = None,
    specific: Iterable[ExpectationResult | None] | None = None,
    overestimated: Mapping[str, str] | None = None,
) -> tuple[ExpectationResult, ...]:
    """Return the expectations with the outcomes that stand; `verdict_of` them is the verdict.

    A conclusion that little is recovered (a low rate, a large least norm) rests on the strength of
    the attack: with a flag up there it becomes undecided. A conclusion that much is recovered rests on a
    budget that does not write everything: where `unspecific` has a sentence it becomes undecided. A
    worst case over several attacks is as strong as the strongest of them, unless a recovery was found that
    one of them missed; and that much is recovered stands only if the attacks whose budgets are specific
    show it by themselves.

    Args:
        expectations: each as its figure decides it.
        rests_on: for each of them the attacks that it is about, at a limit; none if it is about
            something else than recovery.
        flags: the findings of the checks.
        unspecific: the budgets at which unrelated targets are reached as well, each with a sentence
            that says so.
        specific: for each expectation that rests on several budgets of which some are unspecific, the same
            by the figure over the others alone, see `specificity.by_specific`; None for any other.
        overestimated: the attacks whose specificity was found too large, each with a sentence that says so:
            that it is large becomes undecided.
    """
    raised, said = [flag for flag in flags if flag.kind == "flag"], unspecific or {}

    def standing(
        e: ExpectationResult, budgets: Sequence[Budget], alone: ExpectationResult | None
    ) -> ExpectationResult:
        recovers = _recovers(e)
        if e.metric == "specificity" and e.outcome == "met" and overestimated:
            why = overestimated.get(e.subject)
            return evolve(e, outcome="undecided", reason=why) if why else e
        if e.outcome == "undecided" or recovers is None or not budgets:
            return e
        up = {at.attack: [flag for flag in raised if _is_up(flag, at)] for at in budgets}
        if recovers == "little":
            against = [_weak(up)] if all(up.values()) else []
            missed = {name: [f for f in found if f.missed] for name, found in up.items()}
            against += [_missed(missed)] if any(missed.values()) else []
        else:
            void = {name: [f for f in found if f.against == "both"] for name, found in up.items()}
            against = [_void(void)] if any(void.values()) else []
            if all(at in said for at in budgets):
                against.append(said[budgets[0]])
            elif any(at in said for at in budgets) and (
                alone is None or alone.outcome != e.outcome
            ):
                against.append(_by_unspecific(budgets, said, alone))
        return evolve(e, outcome="undecided", reason=against[0]) if against else e

    judged = tuple(expectations)
    again = [None] * len(judged) if specific is None else specific
    return tuple(standing(*each) for each in zip(judged, rests_on, again, strict=True))


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
    if not says_of_recovery(e.metric, e.operator, e.bound):
        return None
    small = (e.outcome == "met") == (e.operator in ("<", "<="))
    # Where a small norm recovers, much does.
    return "little" if small != (e.metric == "smallest_norm") else "much"


def _weak(up: Mapping[str, list[Flag]]) -> str:
    """Return why flags take back that little is recovered.

    Args:
        up: attack to its flags.
    """
    attacks = f"{'attacks' if len(up) > 1 else 'attack'} {', '.join(up)}"
    return f"the {attacks} may be too weak to say that little is recovered: {_names(up)}"


def _missed(up: Mapping[str, list[Flag]]) -> str:
    """Return why recoveries that attacks missed take back that little is recovered."""
    missing = {name: flags for name, flags in up.items() if flags}
    attacks = f"{'attacks' if len(missing) > 1 else 'attack'} {', '.join(missing)}"
    return f"a recovery was found that the {attacks} missed: {_names(missing)}"


def _by_unspecific(
    budgets: Sequence[Budget], said: Mapping[Budget, str], alone: ExpectationResult | None
) -> str:
    """Return why it is not shown that much is recovered where only some budgets are specific."""
    left = ", ".join(at.attack for at in budgets if at not in said)
    why = next(said[at] for at in budgets if at in said)
    found = f" ({alone.value:.3g} over {alone.n})" if alone and alone.value is not None else ""
    return f"only by budgets that are not specific: {left} alone does not show it{found}, and {why}"


def _void(up: Mapping[str, list[Flag]]) -> str:
    """Return why flags take back any conclusion about recovery."""
    return f"what the behavior is read off says nothing of what the model writes: {_names(up)}"


def _names(up: Mapping[str, list[Flag]]) -> str:
    return ", ".join(dict.fromkeys(flag.name for flags in up.values() for flag in flags))


def _is_up(flag: Flag, at: Budget) -> bool:
    if flag.subject not in (None, at.attack):
        return False
    return flag.limit is None or same_limit(flag.limit, at.limit)
