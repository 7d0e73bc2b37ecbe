"""How hard the attacks tried: the checks that they were put to, and what these found."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from recoverdsl.measure.results import Result
from recoverdsl.measure.strength import SEEN, Sample
from recoverdsl.measure.verdict import Flag
from recoverdsl.report.clamps import any_flips
from recoverdsl.report.words import clean_line, enumerated, norm, plural


@frozen
class Strength:
    """The findings of the checks, in words."""

    summary: str
    """Which checks were made, and how many flags are up."""
    findings: tuple[str, ...]
    """The findings: flags first, each with its name."""


def strength(result: Result) -> Strength:
    """Return how hard a result's attacks tried."""
    raised = sorted(_said(result.flags), key=lambda said: said[0].kind != "flag")
    findings = tuple(f"{flag.name}: {clean_line(flag.sentence)}{also}" for flag, also in raised)
    if not result.checks:
        return Strength("No check of the attacks' strength was made.", findings)
    # Where nothing was attacked, there was nothing to find.
    if not result.attacks or not any_flips(result):
        return Strength("Nothing was attacked.", findings)
    count = sum(flag.kind == "flag" for flag, _ in raised)
    up = f"{plural(count, 'flag')} {'is' if count == 1 else 'are'} up" if count else "no flag is up"
    checked = enumerated([*_samples(result), *_compared(result)])
    by = f"Checked by {checked}: {up}." if checked else f"No search was checked: {up}."
    return Strength(f"{by}{_power(result)}", findings)


def _samples(result: Result) -> Iterable[str]:
    """Yield the samples of failures that were searched again."""
    said = [
        f"{one.searched} of the {plural(one.failures, 'failure')} of {_whose(one)}"
        for one in result.searched or ()
    ]
    if said:
        yield f"other searches on {', '.join(said)}"


def _whose(one: Sample) -> str:
    if one.limit is None:
        return one.attack
    return f"{one.attack} {'to find a least norm within' if one.least else 'at norm'} {norm(one.limit)}"


def _compared(result: Result) -> Iterable[str]:
    """Yield in words the comparisons of a result's own figures that check its attacks."""
    if any(control.method == "random_direction" for control in result.controls.values()):
        yield "random directions"
    if any(len(attack.budgets) > 1 for attack in result.attacks.values()):
        yield "smaller limits against larger ones"
    if any("smallest_norm" in attack.metrics for attack in result.attacks.values()):
        yield "least norms against limits"


def _power(result: Result) -> str:
    """Return which searches the samples show; empty where every failure was searched again."""
    some = [one for one in result.searched or () if one.searched < one.failures]
    if not some:
        return ""
    shown = enumerated(dict.fromkeys(f"{one.shown} of {one.failures}" for one in some))
    return f" Such a sample shows, with a probability of {SEEN:.0%} or more, a search that recovers at least {shown}."


def _said(flags: Iterable[Flag]) -> Iterable[tuple[Flag, str]]:
    """Yield, of the flags of one check on one attack, that of the largest limit, with the other limits."""
    grouped: dict[tuple[str, str | None], list[Flag]] = {}
    for flag in flags:
        grouped.setdefault((flag.name, flag.subject), []).append(flag)
    for group in grouped.values():
        *others, last = sorted(group, key=lambda f: float("inf") if f.limit is None else f.limit)
        limits = list(dict.fromkeys(norm(f.limit) for f in others if f.limit != last.limit))
        yield last, f" The same at norm {enumerated(limits)}." if limits else ""
