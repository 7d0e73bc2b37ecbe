"""What the controls say about an attack's recovery: whether it is evidence at its budget."""

from __future__ import annotations

from attrs import frozen

from recoverdsl.measure.intervals import Estimate
from recoverdsl.measure.results import AttackResult, ControlResult, Result
from recoverdsl.report.words import clean_line, count, figure, norm, plural


@frozen
class Finding:
    """What one control found, in sentences."""

    found: str
    """The figures."""
    shows: str
    """What they say about the attack; empty if nothing."""
    caution: str = ""
    """Says so if recovery at the largest budget is weak evidence, wholly or for some examples."""

    def __str__(self) -> str:
        return f"{self.found} {self.shows}".strip()


def finding(control: ControlResult, attack: AttackResult | None) -> Finding | None:
    """What a control found beside its attack, at their largest limit; None if either has no figure."""
    own = _rate(control, control.limit)
    other = _rate(attack, control.limit) if attack else None
    if own is None or other is None or attack is None:
        return None
    match control.method:
        case "random_direction":
            return _random(control, own, other)
        case "another_example":
            return _another(control, attack, own, other)
        case "another_example_undefended":
            return _undefended(control, own)
    at = f"{_at(control)} it succeeds in {count(own)}, the attack in {count(other)}."
    return Finding(at, "")


def cautions(result: Result) -> list[str]:
    """What a reader should know before trusting the result: controls that make recovery weak evidence,
    and features that were chosen for nothing."""
    found = (finding(c, result.attacks.get(c.of)) for c in result.controls.values())
    return [
        *(one.caution for one in found if one is not None and one.caution),
        *_without_effect(result),
    ]


def _without_effect(result: Result) -> list[str]:
    """A sentence for each ranking that chose features which have nothing of what they were ranked by,
    or left examples out."""
    said = []
    for step, saes in result.environment.get("features", {}).items():
        effects = [effect for sae in saes.values() for effect in sae.get("effects", ())]
        idle = sum(effect <= 0 for effect in effects)
        if left_out := max((sae.get("left_out", 0) for sae in saes.values()), default=0):
            said.append(
                f"The ranking of {step.removeprefix('select features ')} left out "
                f"{plural(left_out, 'example')} whose effects were no finite numbers."
            )
        # A list of ids is no ranking: all its effects are 0.
        if idle and any(effects):
            said.append(
                f"The ranking of {step.removeprefix('select features ')} chose {idle} of "
                f"{len(effects)} features without any positive effect."
            )
    return said


def _random(control: ControlResult, own: Estimate, other: Estimate) -> Finding:
    found = (
        f"{_at(control)} random directions bring the behavior back in {count(own)} examples, the "
        f"attack in {count(other)}."
    )
    if not other.value:
        return Finding(found, "")
    if _clearly_fewer(own, other):
        shows = "So it is the direction of the change that counts, not its size."
        return Finding(found, shows)
    shows = (
        "That is not clearly fewer, so recovery at this budget is weak evidence: nearly any change of "
        "this size may do."
    )
    weak = f"{_recovery(control)} is weak evidence: "
    if not own.value:
        # So few came back that none would be no surprise either.
        return Finding(
            found,
            "That is not clearly fewer, so recovery at this budget is weak evidence.",
            f"{weak}it is so rare there that random directions, which bring the behavior back in "
            f"{count(own)} examples, do not clearly less.",
        )
    caution = f"{weak}random directions of that norm bring the behavior back in {count(own)} examples, too."
    return Finding(found, shows, caution)


def _another(
    control: ControlResult, attack: AttackResult, own: Estimate, other: Estimate
) -> Finding:
    found = (
        f"{_at(control)} the unrelated answer is bought in {count(own)} examples (reached, or nearly written), while the attack "
        f"brings the behavior back in {count(other)}."
    )
    ratio = control.metrics.get("budget_ratio")
    if ratio and ratio.value is not None:
        between = f", interval {figure(ratio.low)} to {figure(ratio.high)}" if ratio.n > 1 else ""
        found += (
            f" To reach every token of it took at least {figure(ratio.value)} times the norm that reaches "
            f"every token of the base answer (mean over the {plural(ratio.n, 'example')} whose base answer "
            f"was reached{between})."
        )
    elif "smallest_norm" in control.metrics and not control.metrics["smallest_norm"].n:
        found += " No norm that was tried reached every token of it."
    if not other.value:
        return Finding(found, "")
    if not own.value:
        shows = (
            "The budget that recovers does not buy an unrelated answer: what comes back is what the "
            "model would have said."
        )
        return Finding(found, shows)
    if _clearly_fewer(own, other):
        shows = (
            "That is clearly fewer, but in the examples whose unrelated answer is bought too, recovery "
            "at this budget is weak evidence."
        )
        where = f"is weak evidence in {count(own)} examples, where the same budget also buys"
    else:
        shows = (
            "So recovery at this budget is weak evidence: it can be had for an answer that the model "
            "would not have given."
        )
        where = f"is weak evidence: in {count(own)} examples the same budget also buys"
    smaller = _smaller(control, attack)
    caution = f"{_recovery(control)} {where} another example's answer.{smaller}"
    return Finding(found, f"{shows}{smaller}", caution)


def _smaller(control: ControlResult, attack: AttackResult) -> str:
    """The largest budget at which only the attack succeeds, in a sentence."""
    for budget in reversed(control.budgets):
        own = budget.metrics.get("recovery_rate")
        other = _rate(attack, budget.limit)
        if own and other and own.value == 0 and other.value and budget.limit is not None:
            return (
                f" At norm {norm(budget.limit)} it is bought in none, and the attack brings the "
                f"behavior back in {count(other)}: that is the stronger evidence."
            )
    return ""


def _undefended(control: ControlResult, own: Estimate) -> Finding:
    found = (
        f"{_at(control)} and with nothing clamped, the unrelated answer is bought in {count(own)} "
        "examples."
    )
    shows = (
        "That is how easily this model can be made to say another answer at all; of the clamp it says "
        "nothing."
    )
    return Finding(found, shows)


def _clearly_fewer(own: Estimate, other: Estimate) -> bool:
    """Whether the intervals of two rates do not meet."""
    return own.high is not None and other.low is not None and own.high < other.low


def _rate(outcome: AttackResult, limit: float | None) -> Estimate | None:
    rate = outcome.at(limit).get("recovery_rate")
    return rate if rate and rate.value is not None else None


def _recovery(control: ControlResult) -> str:
    limit = "" if control.limit is None else f" at norm {norm(control.limit)}"
    return f"Recovery by the attack {clean_line(control.of)}{limit}"


def _at(control: ControlResult) -> str:
    return "Without a limit" if control.limit is None else f"At norm {norm(control.limit)}"
