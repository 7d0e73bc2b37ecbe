"""Expectations with an outcome, made for tests."""

from __future__ import annotations

from typing import Any

from recoverdsl.measure.expectation import ExpectationResult, Outcome

_VALUES = {
    "met": (0.0, 0.0, 0.04, 100),
    "broken": (1.0, 0.9, 1.0, 35),
    "undecided": (0.0, 0.0, 0.66, 2),
}


def judged(outcome: Outcome, **more: Any) -> ExpectationResult:
    """Return `recovery_rate(projected) <= 5%` with an outcome."""
    value, low, high, n = _VALUES[outcome]
    plain: dict[str, Any] = {
        "text": "recovery_rate(projected) <= 5%", "outcome": outcome, "by": "interval", "value": value,
        "low": low, "high": high, "n": n, "reason": "why" if outcome == "undecided" else None,
        "needed": 73 if outcome == "undecided" else None, "metric": "recovery_rate",
        "subject": "projected", "norm": None, "operator": "<=", "bound": 0.05,
    }  # fmt: skip
    return ExpectationResult(**{**plain, **more})
