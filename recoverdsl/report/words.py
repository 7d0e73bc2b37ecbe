"""Numbers and names formatted for people, and safe to show: names and texts are untrusted."""

from __future__ import annotations

import re
from collections.abc import Iterable

from recoverdsl.measure.intervals import Estimate

NOTHING = "–"
"""The placeholder of a missing figure."""

# Control characters can drive a terminal, and bidirectional ones can disguise a text as another.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """Replace each control character by a visible �; newline and tab stay."""
    return _UNSAFE.sub("\ufffd", text.replace("\r\n", "\n"))


def clean_line(text: str) -> str:
    """Clean a text and put it on one line."""
    return " ".join(clean(text).split())


def shortened(text: str, most: int = 24) -> str:
    """Put a text on one line of at most `most` characters; `…` marks a cut."""
    line = clean_line(text)
    return line if len(line) <= most else line[: most - 1] + "…"


def figure(value: float | None) -> str:
    """Format a figure to three significant digits: `0.131`, `19.9`, `1.5e-6`, `–`."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def percent(share: float | None, decimals: int = 1) -> str:
    """Format a share in [0, 1] as a percentage that never rounds to 0 or 100%: `4.2%`, `< 0.1%`."""
    if share is None:
        return NOTHING
    return _percent(share, decimals) + "%"


def interval(estimate: Estimate, decimals: int = 1) -> str:
    """Format the interval of a rate, such as `94.8–100%`; empty if it has none."""
    if estimate.low is None or estimate.high is None:
        return ""
    low, high = (
        f"{100 * end:.0f}" if end in (0, 1) else f"{100 * end:.{decimals}f}"
        for end in (estimate.low, estimate.high)
    )
    return f"{low}–{high}%"


def norm(limit: float | None) -> str:
    """Format a limit of the norm: `20`, `no limit`."""
    return "no limit" if limit is None else figure(limit)


def count(estimate: Estimate | None) -> str:
    """Format the examples that a rate counts, or the random draws of them: `70 of 70`, `3 of 560 draws`."""
    if estimate is None or estimate.value is None:
        return "none"
    if estimate.draws is not None:
        return f"{round(estimate.value * estimate.draws)} of {plural(estimate.draws, 'draw')}"
    return f"{round(estimate.value * estimate.n)} of {estimate.n}"


def counted(estimate: Estimate) -> str:
    """Format the same with the noun: `70 of 70 examples`, `3 of 560 draws`."""
    return count(estimate) if estimate.draws is not None else f"{count(estimate)} examples"


def enumerated(parts: Iterable[str], last: str = "and") -> str:
    """Join parts as `a`, `a and b`, or `a, b and c`."""
    *head, tail = list(parts) or [""]
    return f"{', '.join(head)} {last} {tail}" if head else tail


def plural(n: int, noun: str) -> str:
    """Format a count with its noun: `1 example`, `3 examples`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _percent(share: float, decimals: int) -> str:
    least = 10**-decimals / 2
    if 0 < 100 * share < least:
        return f"< {_short(f'{2 * least:.{decimals}f}')}"
    if 0 < 100 * (1 - share) < least:
        return f"> {_short(f'{100 - 2 * least:.{decimals}f}')}"
    return _short(f"{100 * share:.{decimals}f}")


def _short(number: str) -> str:
    return number.rstrip("0").rstrip(".") if "." in number else number
