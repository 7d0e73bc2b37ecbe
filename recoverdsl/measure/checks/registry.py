"""The registry of checks: was what was tried strong enough to say that little is recovered?

A check is a function of the evidence under `@check`, with a page in `measure/pages/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import pandas as pd
from attrs import field, frozen

from recoverdsl.measure.keys import Budget
from recoverdsl.measure.results import AttackResult, ControlResult
from recoverdsl.measure.rows import SpellingShares
from recoverdsl.measure.strength import StrengthRow, SuffixStrengthRow
from recoverdsl.measure.verdict import Flag


@frozen
class Evidence:
    """What the checks look at."""

    rows: pd.DataFrame
    """The table of `measure.table.SCHEMA`."""
    attacks: Mapping[str, AttackResult]
    controls: Mapping[str, ControlResult]
    searches: Mapping[Budget, tuple[StrengthRow, ...]] = field(factory=dict)
    """Other searches at a budget, where the attack did not recover."""
    suffixes: Mapping[Budget, tuple[SuffixStrengthRow, ...]] = field(factory=dict)
    """The same where a suffix did not; there is one budget for each, without a limit."""
    spellings: Mapping[str, tuple[SpellingShares, ...]] = field(factory=dict)
    """Behavior that is tested to the shares of the tokens that it names, without the clamp."""
    unchecked: frozenset[Budget] = frozenset()
    """Budgets that an expectation is about and that were not searched again."""


@frozen
class Finding:
    """What a check found of one attack."""

    subject: str | None
    """The attack; None for the whole run."""
    figure: float | None
    sentence: str
    limit: float | None = None
    """The limit that it is about; None if it is about all of them."""
    against: Literal["little", "both"] = "little"
    """See `Flag.against`."""
    missed: bool = False
    """See `Flag.missed`."""


@frozen
class Check:
    """One check, by its name."""

    name: str
    kind: Literal["flag", "caution"]
    """See `Flag.kind`."""
    find: Callable[[Evidence], Iterable[Finding]]


CHECKS: dict[str, Check] = {}
"""Every check by its name, in the order in which reports list what they find."""


def check(
    kind: Literal["flag", "caution"],
) -> Callable[[Callable[[Evidence], Iterable[Finding]]], Callable[[Evidence], Iterable[Finding]]]:
    """Register a function as the check of its name."""

    def register(
        find: Callable[[Evidence], Iterable[Finding]],
    ) -> Callable[[Evidence], Iterable[Finding]]:
        CHECKS[find.__name__] = Check(find.__name__, kind, find)
        return find

    return register


def flags(evidence: Evidence) -> tuple[Flag, ...]:
    """Return what the checks find, check by check."""
    return tuple(
        Flag(
            check.name,
            check.kind,
            found.subject,
            found.figure,
            found.sentence,
            found.limit,
            found.against,
            found.missed,
        )
        for check in CHECKS.values()
        for found in check.find(evidence)
    )
