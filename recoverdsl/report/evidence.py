"""The evidence of the controls: whether an attack's recovery is evidence at its budget."""

from __future__ import annotations

from attrs import frozen

from recoverdsl.measure.intervals import Estimate
from recoverdsl.measure.results import AttackResult, ControlResult, Result
from recoverdsl.report.words import clean_line, count, counted, figure, norm, plural


@frozen
class Finding:
    """The finding of one control, in sentences."""

    found: str
    """The figures."""
    shows: str
    """Their meaning for the attack; empty if there is none."""
    caution: str = ""
    """A warning if recovery at the largest budget is weak evidence, in all or some examples."""

    def __str__(self) -> str:
        return f"{self.found} {self.shows}".strip()


def finding(control: ControlResult, attack: AttackResult | None) -> Finding | None:
    """Compare a control with its attack at the largest limit; None if either has no figure."""
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
    found = f"{_at(control)} it succeeds in {count(own)}, the attack in {count(other)}."
    return Finding(found, "")


def cautions(result: Result) -> list[str]:
    """List the reasons for caution: the side effects of the clamp, controls that make recovery weak
    evidence, selected features without a positive effect, and features ranked on tested prompts."""
    found = (finding(c, result.attacks.get(c.of)) for c in result.controls.values())
    return [
        *(f"{one.name}: {clean_line(one.sentence)}" for one in result.cautions),
        *(one.caution for one in found if one is not None and one.caution),
        *_without_effect(result),
        *_not_held_out(result),
    ]


def _not_held_out(result: Result) -> list[str]:
    """List a sentence for each data block that ranks features and holds prompts that are tested."""
    return [
        f"{counted['seen']} of the {plural(counted['tested'], 'tested prompt')} were also used to rank the "
        f"clamped features (data {clean_line(name)}): on these the clamp may do more than on unseen prompts."
        for name, counted in result.environment.get("ranking_prompts", {}).items()
        if counted["seen"]
    ]


def _without_effect(result: Result) -> list[str]:
    """List a sentence for each ranking that selected features without a positive effect, or left
    examples out."""
    sentences = []
    for step, saes in result.environment.get("features", {}).items():
        effects = [effect for sae in saes.values() for effect in sae.get("effects", ())]
        idle = sum(effect <= 0 for effect in effects)
        if left_out := max((sae.get("left_out", 0) for sae in saes.values()), default=0):
            sentences.append(
                f"The ranking of {step.removeprefix('select features ')} left out "
                f"{plural(left_out, 'example')} whose effects were not finite."
            )
        # A list of ids is no ranking: all its effects are 0.
        if idle and any(effects):
            sentences.append(
                f"The ranking of {step.removeprefix('select features ')} selected {idle} of "
                f"{len(effects)} features without a positive effect."
            )
    return sentences


def _random(control: ControlResult, own: Estimate, other: Estimate) -> Finding:
    found = (
        f"{_at(control)} random directions recover the behavior in {counted(own)}, the "
        f"attack in {counted(other)}.{_unconstrained(control)}"
    )
    if not other.value:
        return Finding(found, "")
    if clearly_fewer(own, other):
        shows = "So the direction of the change matters, not its size alone."
        return Finding(found, shows)
    shows = (
        "That is not clearly fewer, so recovery at this budget is weak evidence: nearly any change of "
        "this size may recover the behavior."
    )
    weak = f"{_recovery(control)} is weak evidence: "
    if not own.value:
        # The attack recovers so few that none for the control is no clear difference.
        return Finding(
            found,
            "That is not clearly fewer, so recovery at this budget is weak evidence.",
            f"{weak}it is so rare there that random directions, which recover the behavior in "
            f"{counted(own)}, do not clearly recover fewer.",
        )
    caution = f"{weak}random directions of that norm also recover the behavior in {counted(own)}."
    return Finding(found, shows, caution)


def _unconstrained(control: ControlResult) -> str:
    """Return a sentence about the draws without the constraint; empty if there are none."""
    free = control.metrics.get("unconstrained_recovery_rate")
    if free is None or free.value is None:
        return ""
    return f" Without the constraint on the clamped features they do so in {counted(free)}."


def _another(
    control: ControlResult, attack: AttackResult, own: Estimate, other: Estimate
) -> Finding:
    found = (
        f"{_at(control)} the unrelated answer is elicited in {count(own)} examples (reached, or nearly written), while the attack "
        f"recovers the behavior in {count(other)}."
    )
    ratio = control.metrics.get("budget_ratio")
    if ratio and ratio.value is not None:
        between = f", interval {figure(ratio.low)} to {figure(ratio.high)}" if ratio.n > 1 else ""
        found += (
            f" Reaching every token of it took at least {figure(ratio.value)} times the norm that reaches "
            f"every token of the base answer (mean over the {plural(ratio.n, 'example')} whose base answer "
            f"was reached{between})."
        )
    elif "smallest_norm" in control.metrics and not control.metrics["smallest_norm"].n:
        found += " No norm that was tried reached every token of it."
    if not other.value:
        return Finding(found, "")
    if not own.value:
        shows = (
            "The budget that recovers the behavior does not also elicit an unrelated answer: what is "
            "recovered is what the model would have said."
        )
        return Finding(found, shows)
    if clearly_fewer(own, other):
        shows = (
            "That is clearly fewer, but in the examples whose unrelated answer is also elicited, "
            "recovery at this budget is weak evidence."
        )
        where = f"is weak evidence in {count(own)} examples, where the same budget also elicits"
    else:
        shows = (
            "So recovery at this budget is weak evidence: the same budget elicits an answer that the "
            "model would not have given."
        )
        where = f"is weak evidence: in {count(own)} examples the same budget also elicits"
    smaller = _smaller(control, attack)
    caution = f"{_recovery(control)} {where} another example's answer.{smaller}"
    return Finding(found, f"{shows}{smaller}", caution)


def _smaller(control: ControlResult, attack: AttackResult) -> str:
    """Return a sentence about the largest budget at which only the attack succeeds; empty if none."""
    for budget in reversed(control.budgets):
        own = budget.metrics.get("recovery_rate")
        other = _rate(attack, budget.limit)
        if own and other and own.value == 0 and other.value and budget.limit is not None:
            return (
                f" At norm {norm(budget.limit)} it is elicited in none, and the attack recovers the "
                f"behavior in {count(other)}: that is the stronger evidence."
            )
    return ""


def _undefended(control: ControlResult, own: Estimate) -> Finding:
    found = (
        f"{_at(control)} and with nothing clamped, the unrelated answer is elicited in {count(own)} "
        "examples."
    )
    shows = (
        "This shows how easily this model can be made to give another answer at all; it says nothing "
        "about the clamp."
    )
    return Finding(found, shows)


def clearly_fewer(own: Estimate, other: Estimate) -> bool:
    """Tell whether a rate's interval lies wholly below another's."""
    return own.high is not None and other.low is not None and own.high < other.low


def _rate(outcome: AttackResult, limit: float | None) -> Estimate | None:
    rate = outcome.at(limit).get("recovery_rate")
    return rate if rate and rate.value is not None else None


def _recovery(control: ControlResult) -> str:
    limit = "" if control.limit is None else f" at norm {norm(control.limit)}"
    return f"Recovery by the attack {clean_line(control.of)}{limit}"


def _at(control: ControlResult) -> str:
    return "Without a limit" if control.limit is None else f"At norm {norm(control.limit)}"
