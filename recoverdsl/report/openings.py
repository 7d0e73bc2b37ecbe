"""Openings of the generated texts, and recovery by category: counts from the table of examples."""

from __future__ import annotations

import math
from typing import get_args

import pandas as pd
from attrs import frozen

from recoverdsl.measure.results import AttackResult, Result
from recoverdsl.measure.summary import trials
from recoverdsl.measure.texts import Opening
from recoverdsl.report.cells import limit_of, outcomes_of
from recoverdsl.report.words import clean_line

OPENINGS: tuple[str, ...] = get_args(Opening)

OPENING_HEADINGS: dict[str, str] = {
    "answer": "an answer",
    "refusal": "a refusal",
    "safety_cue": "a safety cue",
    "empty": "nothing",
    "degenerate": "degenerate text",
    "thinking": "only thinking",
}


@frozen
class Counted:
    """Counts of one attack or control at its largest limit."""

    name: str
    kind: str
    limit: str
    counts: dict[str, str]
    """By opening, such as `12`, or by category, such as `3 of 5` or `3 of 40 draws`."""


def openings(result: Result, rows: pd.DataFrame) -> tuple[Counted, ...]:
    """Count the texts by their opening, for each attack and control whose texts were judged."""
    counted = []
    for kind, name, outcome in outcomes_of(result):
        chosen = rows[(rows["kind"] == kind) & (rows["name"] == name) & rows["failed"].isna()]
        at_largest = chosen["limit"].fillna(math.inf) == _largest(outcome)
        found = chosen.loc[at_largest, "opening"].value_counts()
        if len(found):
            counts = {opening: str(int(found.get(opening, 0))) for opening in OPENINGS}
            counted.append(_counted(kind, name, outcome, counts))
    return tuple(counted)


def categories(result: Result, rows: pd.DataFrame) -> tuple[Counted, ...]:
    """Count the recovered examples, or draws, of each category; empty if the data has no categories."""
    known = rows.dropna(subset="category").drop_duplicates("example")
    of_example = known.set_index("example")["category"].astype(str)
    names = sorted(of_example.unique())
    counted = []
    for kind, name, outcome in outcomes_of(result) if names else ():
        done = trials(rows, kind, name)
        done = done[done["limit"] == _largest(outcome)]
        unit = " draws" if done["draw"].notna().any() else ""
        recovered = done.groupby(done["example"].map(of_example))["recovered"]
        back, tried = recovered.sum(), recovered.count()
        counts = {
            category: f"{int(back.get(category, 0))} of {int(tried.get(category, 0))}{unit}"
            for category in names
        }
        counted.append(_counted(kind, name, outcome, counts))
    return tuple(counted)


def _largest(outcome: AttackResult) -> float:
    return math.inf if outcome.limit is None else outcome.limit


def _counted(kind: str, name: str, outcome: AttackResult, counts: dict[str, str]) -> Counted:
    return Counted(clean_line(name), kind, limit_of(outcome, outcome.limit), counts)
