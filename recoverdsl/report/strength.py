"""How hard the attacks tried: the checks that they were put to, and what these found."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from recoverdsl.measure.results import Result
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
    count = sum(flag.kind == "flag" for flag, _ in raised)
    up = f"{plural(count, 'flag')} {'is' if count == 1 else 'are'} up" if count else "no flag is up"
    # Where nothing was attacked, there was nothing to find.
    if not result.attacks or not any_flips(result):
        up = "nothing was attacked"
    return Strength(f"Checks of the attacks ({', '.join(result.checks)}): {up}.", findings)


def _said(flags: Iterable[Flag]) -> Iterable[tuple[Flag, str]]:
    """Yield, of the flags of one check on one attack, that of the largest limit, with the other limits."""
    grouped: dict[tuple[str, str | None], list[Flag]] = {}
    for flag in flags:
        grouped.setdefault((flag.name, flag.subject), []).append(flag)
    for group in grouped.values():
        *others, last = sorted(group, key=lambda f: float("inf") if f.limit is None else f.limit)
        limits = list(dict.fromkeys(norm(f.limit) for f in others if f.limit != last.limit))
        yield last, f" The same at norm {enumerated(limits)}." if limits else ""
