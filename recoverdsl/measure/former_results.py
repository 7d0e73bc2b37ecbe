"""Results of the schema `recoverdsl/result/1`, as plain data, turned into those of the present one.

There an expectation was compared with the figure itself: `passed` was true, false, or null where the
figure was undefined.
"""

from __future__ import annotations

import math
from typing import Any

FORMER = "recoverdsl/result/1"

_OUTCOMES = {True: "met", False: "broken", None: "undecided"}


def from_former(read: dict[str, Any]) -> dict[str, Any]:
    """Return the plain data of a former result in the present form, without `schema`; it keeps its
    outcomes, which are by estimate, or by value.

    Raises:
        KeyError: it lacks a field.
    """
    judged = [_expectation(e, read) for e in read["expectations"]]
    return {key: value for key, value in read.items() if key != "schema"} | {"expectations": judged}


def _expectation(former: dict[str, Any], read: dict[str, Any]) -> dict[str, Any]:
    passed = former["passed"]
    figure = _figure(former, read)
    return {key: value for key, value in former.items() if key != "passed"} | {
        "outcome": _OUTCOMES[passed],
        # A maximum has no interval.
        "by": "value" if figure and figure["n"] and figure["low"] is None else "estimate",
        "low": figure.get("low"),
        "high": figure.get("high"),
        "n": figure.get("n", 0),
        "reason": "the figure is undefined" if passed is None else None,
        "needed": None,
    }


def _figure(former: dict[str, Any], read: dict[str, Any]) -> dict[str, Any]:
    """Return the estimate that an expectation is about; empty if there is none."""
    groups = (read["attacks"], read["controls"])
    outcome = next((g[former["subject"]] for g in groups if former["subject"] in g), None)
    if outcome is None:
        return {}
    at = former["norm"]
    metrics = outcome["metrics"] if at is None else next(
        (b["metrics"] for b in outcome["budgets"] if b["limit"] and math.isclose(b["limit"], at)), {}
    )  # fmt: skip
    found: dict[str, Any] = metrics.get(former["metric"], {})
    return found
