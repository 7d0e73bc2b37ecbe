"""What else the budget of an attack writes: its recovery beside that of unrelated targets, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from recoverdsl.language.schema.metrics import says_of_recovery
from recoverdsl.language.schema.unrelated import UNCLAMPED
from recoverdsl.measure.intervals import Estimate
from recoverdsl.measure.keys import same_limit
from recoverdsl.measure.paired_difference import PairedDifference, Specificity
from recoverdsl.measure.results import ControlResult, Result
from recoverdsl.measure.specificity import stronger_searches
from recoverdsl.report.evidence import clearly_fewer
from recoverdsl.report.words import clean_line, count, norm

_TARGETS = {
    "another_row": "another example's target",
    "another_example": "another example's answer",
    "another_behavior": "another behavior",
}


def specificity(result: Result) -> list[str]:
    """List a sentence for each attack and control of another target that were compared: at the limits of
    the claim, at the largest limit if that is another, and where the two differ most."""
    sentences = []
    for one in result.specificities:
        pairs = [pair for pair in one.budgets if pair.n]
        if not pairs:
            continue
        claimed = [
            pair
            for pair in pairs
            if any(same_limit(pair.norm, limit) for limit in claimed_limits(result, one.attack))
        ]
        shown = claimed + [pair for pair in pairs[-1:] if pair not in claimed]
        text = " ".join(
            _compared(result, one, pair, claimed=pair in claimed, whole=pair is shown[0])
            for pair in shown
        )
        if one.best is not None and one.best.difference:
            text += (
                f" By the least norms of each, the two differ most {_at(one.best)}: {one.best.own} "
                f"against {one.best.other} of {one.best.n}, {_points(one.best)}; p = {one.best.p:.2g} for the "
                "largest difference at any norm, if both were as easy to reach."
            )
        sentences.append(text)
    return sentences


def _compared(
    result: Result, one: Specificity, pair: PairedDifference, *, claimed: bool, whole: bool
) -> str:
    """Return the sentences about one limit.

    Args:
        whole: whether they also name the target; else an earlier sentence did.
    """
    which = ""
    if pair.norm is not None:
        which = ", the limit of the claim," if claimed else ", the largest limit,"
    reaches = (
        f"the same search reaches {_TARGETS[one.method]} ({clean_line(one.control)})"
        if whole
        else "the same search reaches the other target"
    )
    does = "recovers the base answer in" if one.method == "another_example" else "recovers"
    own = f"{clean_line(one.attack)} {does}" if whole else f"it {does}"
    text = (
        f"{_at(pair, begins=True)}{which} {own} {pair.own} of {pair.n}, and {reaches} in {pair.other}: "
        f"{_points(pair)}."
    )
    return text + _searched_harder(one, pair) + _without_clamp(result, one, pair)


def _searched_harder(one: Specificity, pair: PairedDifference) -> str:
    """Return a sentence about the stronger searches of the target; empty if none was needed or made there."""
    again = next(
        (a for a in one.harder if same_limit(a.norm, pair.norm) and not a.least and a.searched),
        None,
    )
    if again is None:
        return ""
    reached = "none" if not again.reached else "all" if again.reached == again.searched else str(again.reached)  # fmt: skip
    text = (
        f" Searched again {stronger_searches(pair)}, it is reached in {reached} of the {again.searched} in which only "
        "the attack's own was"
    )
    return f"{text}: {_points(again.pair)}." if again.reached else f"{text}."


def _without_clamp(result: Result, one: Specificity, pair: PairedDifference) -> str:
    """Return a sentence about the same target without the clamp; empty if that was not tried there."""
    found = _unclamped(result, one)
    if found is None:
        return ""
    name, control = found
    rate = control.at(pair.norm).get("recovery_rate")
    if rate is None or rate.value is None:
        return ""
    text = f" Without the clamp it reaches the other target in {count(rate)} ({clean_line(name)})"
    under = result.controls[one.control].at(pair.norm).get("recovery_rate")
    return f"{text}{_made_easier(under, rate)}."


def _made_easier(under: Estimate | None, rate: Estimate) -> str:
    if under is not None and clearly_fewer(rate, under):
        return ", clearly fewer: the clamp makes even an unrelated target easier to reach"
    if under is not None and clearly_fewer(under, rate):
        return ", clearly more: the clamp makes even an unrelated target harder to reach"
    return ""


def _unclamped(result: Result, one: Specificity) -> tuple[str, ControlResult] | None:
    """Return the control with the same target without the clamp: the one that the audit tries by itself,
    or the only one of its kind."""
    same = {
        name: control
        for name, control in result.controls.items()
        if control.of == one.attack and control.method == f"{one.method}_undefended"
    }
    name = f"{one.control} {UNCLAMPED}"
    if name in same:
        return name, same[name]
    return next(iter(same.items())) if len(same) == 1 else None


def claimed_limits(result: Result, attack: str) -> Iterator[float | None]:
    """Yield the limits of an attack that an expectation of its recovery is about, in the order of the
    spec."""
    for e in result.expectations:
        subject = result.attacks.get(e.subject)
        if (
            subject
            and says_of_recovery(e.metric, e.operator, e.bound)
            and attack in (e.subject, *subject.covers)
        ):
            yield subject.limit if e.norm is None else e.norm


def _points(pair: PairedDifference) -> str:
    assert pair.difference is not None and pair.low is not None and pair.high is not None
    size, low, high = (round(100 * share) for share in (pair.difference, pair.low, pair.high))
    more = f"{size} points more" if size > 0 else f"{-size} points fewer" if size else "no more"
    return f"{more} [{low} to {high}]".replace("-", "−")


def _at(pair: PairedDifference, *, begins: bool = False) -> str:
    if pair.norm is None:
        return "Without a limit" if begins else "without a limit"
    return f"{'At' if begins else 'at'} norm {norm(pair.norm)}"
