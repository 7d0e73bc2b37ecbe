"""The findings of a result, in sentences for a reader who does not program."""

from __future__ import annotations

import math

from attrs import frozen

from recoverdsl.language.schema import METRICS, Attack
from recoverdsl.language.schema.budgets import suffix_of
from recoverdsl.language.schema.metrics import RECOVERY
from recoverdsl.measure.expectation import ExpectationResult
from recoverdsl.measure.intervals import Estimate
from recoverdsl.measure.paired_difference import TARGETS
from recoverdsl.measure.results import AttackResult, ControlResult, Counts, Result
from recoverdsl.report.cells import generates, is_suffix
from recoverdsl.report.clamps import (
    any_flips,
    clamp_named,
    clamp_sentences,
    clamps_named,
    several,
)
from recoverdsl.report.evidence import finding
from recoverdsl.report.specificity import claimed_limits
from recoverdsl.report.words import (
    clean_line,
    count,
    enumerated,
    figure,
    interval,
    norm,
    percent,
    plural,
)

_PRESERVES = {
    None: "an unconstrained perturbation",
    "orthogonal": "a perturbation orthogonal to the clamped features",
    "jacobian_sketch": "a perturbation that a random sketch keeps near the clamped features' values",
}
_KEPT = "a perturbation that leaves the clamped features in place"
_SUFFIX = "a suffix after the request"

_WORDS = {"met": "met", "broken": "not met", "undecided": "undecided"}
_BY = {"interval": "", "estimate": " by estimate", "value": " by value"}

LIMITS = (
    "This is a white-box test: it uses the model's weights, activations and gradients, so it shows "
    "what is left in the model under the clamp, not what an outsider could elicit. "
    "With a large enough budget almost any output can be elicited, so a recovery figure is "
    "meaningful only beside the controls at the same budget. A claim that holds was not refuted by "
    "these attacks, at these budgets, on these examples; others may still refute it."
)
"""The scope of a result: what it shows and what it does not."""


@frozen
class Headline:
    """The verdict in words."""

    verdict: str
    """`The clamp does not hold`"""
    because: str
    """The figure that supports it; a clause without a full stop."""

    def __str__(self) -> str:
        return f"{self.verdict}: {self.because}."


def headline(result: Result) -> Headline:
    """Return the verdict, and the one figure that a reader should remember."""
    verdict = _verdict(result)
    name, at = _focus(result) if result.attacks else ("", None)
    attack = result.attacks.get(name)
    counts = result.counts_of(attack)
    # Where several behaviors are tested, the figure is of one of them.
    named = attack.behavior if attack and result.behaviors else None
    which = f" {clean_line(named)}" if named else ""
    if counts.valid_flips == 0 and not (attack is None and any_flips(result)):
        return Headline(
            verdict,
            f"there is nothing to recover, because the clamp{clamp_named(result, attack)} removes the behavior"
            f"{which} from none of the {plural(counts.base_holds, 'example')} that show it",
        )
    if attack is None:
        return Headline(verdict, "no attack was run")
    rate = attack.at(at).get("recovery_rate")
    limit = attack.limit if at is None else at
    under = clamp_named(result, attack, "under the clamp ")
    if not under or verdict.startswith(clamps_named([attack.under])):
        under = ""
    clause = f"{under and under + ', '}{_at(limit)}{_subject(attack)} recovers the behavior{which} in {_examples(rate)}"
    own = [c for c in result.controls.values() if c.of in (name, *attack.covers)]
    # Random directions of that size do little whatever the clamp hides, so an unrelated target says more.
    targets = [control for control in own if control.method in TARGETS]
    controls = [_control(control, at) for control in targets or own]
    return Headline(verdict, "; ".join([clause, *filter(None, controls)]))


@frozen
class Expected:
    """An expectation with its outcome, in words."""

    mark: str
    """`✓` if the whole interval is as expected, `≈` if the figure alone is, `✗` or `?`."""
    word: str
    """`met`, `not met`, both also `by estimate` or `by value`, or `undecided`."""
    claim: str
    """As written in the spec."""
    found: str
    """The figure with its interval: `0% [0–65.8%]`."""
    why: str
    """Why it is undecided; empty if it is decided."""
    color: str
    """`good`, `bad` or `unsure`."""


def expected(judged: ExpectationResult) -> Expected:
    """Describe the outcome of an expectation."""
    met = ("✓", "good") if judged.by == "interval" else ("≈", "unsure")
    mark, color = {"met": met, "broken": ("✗", "bad"), "undecided": ("?", "unsure")}[judged.outcome]
    decided = judged.outcome != "undecided"
    return Expected(
        mark,
        _WORDS[judged.outcome] + (_BY[judged.by] if decided else ""),
        clean_line(judged.text),
        _found(judged),
        clean_line(judged.reason or ""),
        color,
    )


def undecided(result: Result) -> list[str]:
    """List a sentence for each undecided expectation of an inconclusive result, with its reason."""
    if result.verdict != "inconclusive":
        return []
    return [
        f"{clean_line(e.text)} is undecided: {clean_line(e.reason or '')}."
        for e in result.expectations
        if e.outcome == "undecided"
    ]


def funnel(result: Result) -> str:
    """Describe how the valid flips were found."""
    if several(result):
        return " ".join(
            [
                f"{plural(result.counts.examples, 'example')} went through the model.",
                *clamp_sentences(result),
                "An attack is tested on the valid flips of its own clamp alone.",
            ]
        )
    c = result.counts
    if len(result.behaviors) > 1:
        flips = "An attack is tested on the valid flips of its own behavior alone."
        found = [_flips(f"show {clean_line(name)}", one) for name, one in result.behaviors.items()]
        failed = max(one.failed for one in result.behaviors.values())
    else:
        flips = "Only these valid flips are tested."
        found, failed = [_flips("show the behavior", c)], c.failed
    text = " ".join([f"{plural(c.examples, 'example')} went through the model.", *found, flips])
    if failed:
        text += f" {plural(failed, 'example')} failed in at least one step."
    return text


def _flips(shows: str, counts: Counts) -> str:
    return (
        f"Without the clamp {counts.base_holds} of them {shows}; the clamp removes it from "
        f"{counts.valid_flips} of these."
    )


def method(result: Result) -> str:
    """Describe how generated texts were judged; empty if the behavior is judged by a score."""
    if not generates(result):
        return ""
    return (
        "The behavior is judged by the text that the model generates token by token, with the clamp "
        "on and the change in place throughout. Recovered means that this text shows the behavior; "
        "base-like, that it also resembles the text that the model generates without the clamp. Drift "
        "is given twice: on the target that the attack optimized, and on the generated text. The "
        "smallest norm is the least at which every token of the target is the most likely one, "
        "whatever text is then generated."
    )


def targets(result: Result) -> list[str]:
    """List a sentence for each attack whose behavior is about one token: its place without the clamp, under
    it, and with δ, at the limit of the claim or else the largest."""
    said = []
    for name, attack in result.attacks.items():
        before, limit = attack.target, next(claimed_limits(result, name), attack.limit)
        metrics = attack.at(limit)
        after, share = (metrics.get(key) for key in ("target_rank", "target_probability"))
        if before is None or after is None or after.value is None or share is None:
            continue
        said.append(
            f"The target token of {clean_line(attack.behavior or name)} has a median rank of "
            f"{_place(before.rank_base, before.probability_base)} without the clamp, "
            f"{_place(before.rank_defended, before.probability_defended)} under "
            f"{clamp_named(result, attack, 'the clamp ') or 'it'}, and "
            f"{_place(after.value, share.value)} with the δ of {clean_line(name)}"
            f"{'' if limit is None else f' at norm {norm(limit)}'}, over "
            f"{plural(before.n, 'valid flip')}."
        )
    return said


def _place(rank: float, probability: float | None) -> str:
    return f"{rank:,.0f} (mean probability {figure(probability)})"


def attack_sentence(attack: AttackResult, written: Attack | None = None, clamp: str = "") -> str:
    """Describe an attack, as a predicate to its name.

    Args:
        written: the attack of the spec, for what the result does not record: stages and suffixes.
        clamp: a space and the name of its clamp, where there are several.
    """
    if attack.covers:
        return worst_case(attack)
    if is_suffix(attack):
        return (
            f"appends {_suffix(written)} to each request to recover the behavior while the "
            f"clamp{clamp} stays on. It changes the model's input, not its residual stream, so it has no norm."
        )
    says = (
        "adds a small change to the model's residual stream, one for each example, to recover the "
        f"behavior while the clamp{clamp} stays on: {_subject(attack)}, {_stages(written) or _budgets(attack)}."
    )
    violation = attack.metrics.get("violation")
    if attack.preserve == "orthogonal" and violation and violation.value is not None:
        says += (
            " The largest cosine between δ at one position and the encoder of one clamped feature is "
            f"{figure(violation.value)}; 0 is exact."
        )
    return says


def worst_case(attack: AttackResult) -> str:
    """Describe the row `strongest`, as a predicate to its name: the attacks that it covers, and where
    only some of them do."""
    says = (
        f"is the worst case over {enumerated(map(clean_line, attack.covers))}, example by example: one "
        "counts as recovered at a limit if any of them recovered it there. Its other figures are of the "
        "change of least norm among those that recovered, else of the one with the highest score; its cost "
        "is that of all of them."
    )
    for budget in attack.budgets:
        if set(budget.covers) != set(attack.covers):
            names = enumerated(map(clean_line, budget.covers))
            says += f" At norm {norm(budget.limit)} it is over {names} alone."
    return says


def control_sentence(control: ControlResult, attack: AttackResult | None = None) -> str:
    """Describe a control, its finding and the meaning of that, as a predicate to its name."""
    of = f"the attack {clean_line(control.of)}" if control.of else "an attack"
    what = {
        "random_direction": f"spends the budget of {of} on random directions",
        "another_example": f"spends the budget of {of} on reaching another example's answer",
        "another_example_undefended": f"spends the budget of {of} on reaching another example's answer "
        "without the clamp",
        "another_row": f"spends the budget of {of} on reaching another example's target",
        "another_row_undefended": f"spends the budget of {of} on reaching another example's target without "
        "the clamp",
        "another_behavior": f"spends the budget of {of} on another behavior",
        "another_behavior_undefended": f"spends the budget of {of} on another behavior, without the clamp",
    }.get(control.method) or f"spends the budget of {of} on something that should not work"
    found = finding(control, attack)
    return f"{what}, {_budgets(control)}.{f' {found}' if found else ''}"


def _verdict(result: Result) -> str:
    about_clamp = [
        e
        for e in result.expectations
        if e.metric in RECOVERY and e.operator in ("<", "<=") and e.subject in result.attacks
    ]
    match result.verdict:
        case "holds":
            by = " by estimate" if any(e.by == "estimate" for e in result.expectations) else ""
            return f"The claim holds{by}{' against what was tried' if about_clamp else ''}"
        case "does_not_hold":
            broken = [e for e in about_clamp if e.outcome == "broken"]
            every = [e for e in result.expectations if e.outcome == "broken"]
            by = " by estimate" if all(e.by == "estimate" for e in broken or every) else ""
            if broken and several(result):
                return clamps_named(result.attacks[e.subject].under for e in broken) + by
            return f"The {'clamp' if broken else 'claim'} does not hold{by}"
        case "inconclusive":
            return "Inconclusive"
        case "not_judged":
            return "Not judged, since the spec expects nothing"


def _focus(result: Result) -> tuple[str, float | None]:
    """Return the attack that the headline is about, and its limit (None: its largest)."""
    # The verdict is about the worst outcome, and so is the figure beside it.
    for outcome in ("broken", "undecided", "met"):
        for e in result.expectations:
            if e.outcome == outcome and e.metric in RECOVERY and e.subject in result.attacks:
                return e.subject, e.norm

    # An attack that keeps the clamped features in place says most about the clamp, if it has flips.
    def weight(name: str) -> tuple[bool, int, float]:
        attack = result.attacks[name]
        rate = attack.metrics.get("recovery_rate")
        kept = {None: 0, "jacobian_sketch": 1}.get(attack.preserve, 2)
        if rate is None or rate.value is None:
            return False, kept, 0.0
        return True, kept, rate.value

    return max(result.attacks, key=weight), None


def _subject(attack: AttackResult) -> str:
    if is_suffix(attack):
        return _SUFFIX
    return _PRESERVES.get(attack.preserve, _KEPT)


def _at(limit: float | None) -> str:
    return "" if limit is None else f"at norm {norm(limit)} "


def _examples(rate: Estimate | None) -> str:
    if rate is None or rate.value is None:
        return "no example, since every one failed"
    return f"{count(rate)} examples"


def _control(control: ControlResult, at: float | None) -> str:
    rate = control.at(at).get("recovery_rate")
    if rate is None or rate.value is None:
        return ""
    match control.method:
        case "random_direction":
            return f"random directions of that norm do so in {count(rate)}"
        case "another_example":
            return f"the same search elicits another example's answer in {count(rate)}"
        case "another_row":
            return f"the same search reaches another example's target in {count(rate)}"
        case "another_behavior":
            return f"the same search elicits another behavior in {count(rate)}"
        case method if method.endswith("_undefended"):
            # This control says nothing about the clamp, and the headline is about the clamp.
            return ""
        case _:
            return f"the control does so in {count(rate)}"


def _found(judged: ExpectationResult) -> str:
    shares = METRICS[judged.metric].rate or judged.metric == "reactivated_fraction"
    value = percent(judged.value) if shares else figure(judged.value)
    if judged.low is not None and judged.high is None:
        return f"≥ {value} [≥ {figure(judged.low)}]"
    if judged.low is None or judged.high is None:
        return value
    if shares:
        return f"{value} [{interval(Estimate(judged.value, judged.low, judged.high, judged.n))}]"
    return f"{value} [{figure(judged.low)}–{figure(judged.high)}]"


def _suffix(written: Attack | None) -> str:
    kind = suffix_of(written) if written else None
    if written and kind == "soft_suffix":
        return plural(written.soft_suffix or 0, "trained embedding")
    if written and written.token_suffix is not None:
        return f"{plural(written.token_suffix.tokens, 'token')} found by search"
    return "a suffix"


def _stages(written: Attack | None) -> str:
    if written is None or not written.stages:
        return ""
    limits = [max(stage.limit.norms) for stage in written.stages]
    return (
        f"in {plural(len(limits), 'stage')} of norm at most {enumerated(map(norm, limits))}, each "
        f"added to the result of the earlier ones (together at most {norm(math.hypot(*limits))})"
    )


def _budgets(attack: AttackResult) -> str:
    limits = [norm(budget.limit) for budget in attack.budgets if budget.limit is not None]
    if not limits:
        return "without a limit on its norm"
    return f"with a norm of at most {enumerated(limits, 'or')}"
