"""What each of several clamps does, and which of them a figure is of."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from recoverdsl.language.schema.strongest import STRONGEST
from recoverdsl.measure.results import AttackResult, Counts, Result, TargetBefore
from recoverdsl.report.words import NOTHING, clean_line, enumerated, figure, percent, plural

HEADINGS = {
    "shows": "show it",
    "removed": "valid flips",
    "rank": "median rank of the target",
    "probability": "its mean probability",
}
"""The heading of each figure of `Clamped`."""

CAPTION = (
    "The target token is that of the behavior, over all examples that show the behavior without a clamp: "
    "without a clamp, then under this one. An attack is over the valid flips of its own clamp."
)


@frozen
class Clamped:
    """What one clamp does to one behavior, formatted."""

    clamp: str
    behavior: str
    shows: str
    """The examples that show the behavior without a clamp."""
    removed: str
    """Those of them from which the clamp removes it."""
    rank: str
    """The target's rank without and under the clamp: `1 to 147`."""
    probability: str
    attacks: str
    """The attacks under the clamp."""


def several(result: Result) -> bool:
    """Tell whether a result is of more than one clamp, so that what is said has to name them."""
    return len(result.clamps) > 1


def clamp_named(result: Result, outcome: AttackResult | None, start: str = " ") -> str:
    """Return the name of an outcome's clamp after a word, where there are several; else nothing."""
    under = outcome.under if outcome and several(result) else None
    return f"{start}{clean_line(under)}" if under else ""


def flips_of_all(result: Result) -> int | None:
    """Return how many valid flips every attack is over; None if each clamp or behavior has its own."""
    return None if several(result) or result.behaviors else result.counts.valid_flips


def flips_named(result: Result) -> str:
    """Return how many valid flips there are: a number, or one for each of several clamps and behaviors, with
    their names."""
    found: dict[tuple[str, ...], Counts] = {
        (clean_line(clamp), clean_line(behavior)): one.counts
        for clamp, its in result.clamps.items()
        for behavior, one in its.behaviors.items()
    } if several(result) else {(clean_line(name),): counts for name, counts in result.behaviors.items()}  # fmt: skip
    if several(result) and not result.behaviors:
        found = {(clamp,): counts for (clamp, _), counts in found.items()}
    named = [f"{' '.join(names)} {counts.valid_flips}" for names, counts in found.items()]
    return ", ".join(named) or str(result.counts.valid_flips)


def any_flips(result: Result) -> bool:
    """Tell whether a clamp removes a behavior from any example."""
    counts = [
        one.counts for clamp in result.clamps.values() for one in clamp.behaviors.values()
    ] if several(result) else [*result.behaviors.values()] or [result.counts]  # fmt: skip
    return any(one.valid_flips for one in counts)


def clamped(result: Result) -> list[Clamped]:
    """Return a row for each of several clamps and each behavior."""
    if not several(result):
        return []
    return [
        Clamped(
            clean_line(name), clean_line(behavior), str(one.counts.base_holds), str(one.counts.valid_flips),
            _change(one.target, "rank"), _change(one.target, "probability"),
            enumerated(_attacks(result, name, behavior)) or "none",
        )
        for name, clamp in result.clamps.items()
        for behavior, one in clamp.behaviors.items()
    ]  # fmt: skip


def clamp_sentences(result: Result) -> list[str]:
    """List what each of several clamps does, in a sentence for each."""
    sentences = []
    for name, clamp in result.clamps.items() if several(result) else ():
        parts = []
        for behavior, one in clamp.behaviors.items():
            share = (
                one.counts.valid_flips / one.counts.base_holds if one.counts.base_holds else None
            )
            said = (
                f"removes {clean_line(behavior)} from {one.counts.valid_flips} of "
                f"{plural(one.counts.base_holds, 'example')} ({percent(share)})"
            )
            if one.target:
                said += (
                    f", whose target token it takes from a median rank of {one.target.rank_base:,.0f} "
                    f"(mean probability {figure(one.target.probability_base)}) to "
                    f"{one.target.rank_defended:,.0f} ({figure(one.target.probability_defended)})"
                )
            parts.append(said)
        tried = [
            attack for behavior in clamp.behaviors for attack in _attacks(result, name, behavior)
        ]
        said = f"The clamp {clean_line(name)} {enumerated(parts)}."
        if failed := max(one.counts.failed for one in clamp.behaviors.values()):
            said += f" {plural(failed, 'example')} failed in at least one step under it."
        sentences.append(said if tried else f"{said} No attack is under it.")
    return sentences


def clamps_named(names: Iterable[str | None]) -> str:
    """Return `The clamp a does not hold` of one clamp, `The clamps a and b do not hold` of several."""
    known = list(dict.fromkeys(clean_line(name) for name in names if name))
    if len(known) == 1:
        return f"The clamp {known[0]} does not hold"
    return f"The clamps {enumerated(known)} do not hold"


def _attacks(result: Result, clamp: str, behavior: str) -> list[str]:
    return [
        clean_line(name)
        for name, attack in result.attacks.items()
        if name != STRONGEST and (attack.under, attack.behavior) == (clamp, behavior)
    ]


def _change(target: TargetBefore | None, what: str) -> str:
    if target is None:
        return NOTHING
    if what == "rank":
        return f"{target.rank_base:,.0f} to {target.rank_defended:,.0f}"
    return f"{figure(target.probability_base)} to {figure(target.probability_defended)}"
