"""Checks of what a behavior reads off the model."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

from recoverdsl.measure.checks.registry import Evidence, Finding, check

NEXT_TO_NONE = 0.01
"""Probability below which the named tokens are not what the model would write."""

MOST = 0.5
"""Probability from which on it would write another spelling of them."""


@check("flag")
def other_spelling(evidence: Evidence) -> Iterator[Finding]:
    """Yield the attacks on a behavior whose tokens hold next to no probability without the clamp, while other
    spellings of them hold most.

    The figure is the mean probability of the named tokens together.
    """
    for name, attack in evidence.attacks.items():
        shares = evidence.spellings.get(attack.behavior or "", ())
        if not shares:
            continue
        named, other = fmean(one.named for one in shares), fmean(one.other for one in shares)
        if named < NEXT_TO_NONE and other > MOST:
            yield Finding(
                name,
                named,
                f"The tokens that the behavior {attack.behavior} names have a probability of {named:.2g} "
                f"together, and other spellings of them, such as without the space before, {other:.2g}: "
                "the behavior is read off tokens that the model does not write.",
                against="both",
            )
