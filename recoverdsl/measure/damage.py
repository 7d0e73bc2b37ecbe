"""The side effects of a clamp: on ordinary text, and on the length of the states that it edits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from attrs import frozen
from numpy.typing import ArrayLike

from recoverdsl.measure.intervals import Estimate, bootstrap_of_ratio


@frozen
class TextRow:
    """The next tokens of one ordinary text, without and under a clamp; sums over its tokens."""

    tokens: int
    """How many next tokens are predicted at or after the first position at which the clamp acts."""
    kl: float
    """Σ KL(defended‖base) of the next-token distributions, in nats, ≥ 0."""
    loss_base: float
    """Σ −log p of the tokens of the text without the clamp, in nats."""
    loss_defended: float
    """The same under the clamp."""

    @property
    def is_finite(self) -> bool:
        """Whether every figure is a finite number."""
        return all(map(math.isfinite, (self.kl, self.loss_base, self.loss_defended)))


@frozen
class Moved:
    """How far a clamp moves the states that it edits: ‖h_defended − h‖ / ‖h‖, over the positions at
    which it moves them; a position counts once for each site."""

    median: float | None
    """None if the clamp moves no state."""
    largest: float | None
    positions: int
    """How many states it moves."""
    of: int
    """How many states are at the positions that its `at` names."""


@frozen
class Damage:
    """What a clamp does to ordinary text, and how far it moves the states that it edits."""

    kl: Estimate
    """Mean over tokens of KL(defended‖base), in nats; the interval is a bootstrap over texts."""
    perplexity_base: float | None
    """Of the texts without the clamp; None if no token is predicted where it acts."""
    perplexity_defended: float | None
    """Of the same tokens under the clamp."""
    texts: int
    """How many texts the figures are over."""
    tokens: int
    """How many tokens they are over."""
    not_finite: int
    """How many further texts are left out, with a figure that is not a finite number."""
    moved_examples: Moved
    """The states of the tested examples."""
    moved_text: Moved
    """The states of the ordinary texts."""
    texts_digest: str
    """Digest of the texts."""

    @property
    def perplexity_ratio(self) -> float | None:
        """The perplexity under the clamp divided by that without it; None if there is none."""
        if self.perplexity_base is None or self.perplexity_defended is None:
            return None
        return self.perplexity_defended / self.perplexity_base


def damage(
    rows: Sequence[TextRow],
    *,
    moved_examples: ArrayLike,
    moved_text: ArrayLike,
    texts_digest: str,
) -> Damage:
    """Return the side effects of a clamp.

    Args:
        rows: one for each ordinary text.
        moved_examples: ‖h_defended − h‖ / ‖h‖ at each position that the clamp's `at` names, in the
            tested examples.
        moved_text: the same in the ordinary texts.
    """
    used = [row for row in rows if row.is_finite and row.tokens]
    tokens = sum(row.tokens for row in used)
    return Damage(
        kl=bootstrap_of_ratio([row.kl for row in used], [row.tokens for row in used]),
        perplexity_base=_perplexity([row.loss_base for row in used], tokens),
        perplexity_defended=_perplexity([row.loss_defended for row in used], tokens),
        texts=len(used),
        tokens=tokens,
        not_finite=sum(not row.is_finite for row in rows),
        moved_examples=moved(moved_examples),
        moved_text=moved(moved_text),
        texts_digest=texts_digest,
    )


def moved(shares: ArrayLike) -> Moved:
    """Return how far states are moved.

    Args:
        shares: ‖h_defended − h‖ / ‖h‖ of each state, ≥ 0. Those that are not finite are left out.
    """
    given = np.asarray(shares, dtype=np.float64).ravel()
    found = given[np.isfinite(given) & (given > 0)]
    if len(found) == 0:
        return Moved(None, None, 0, len(given))
    return Moved(float(np.median(found)), float(found.max()), len(found), len(given))


def _perplexity(losses: Sequence[float], tokens: int) -> float | None:
    if not tokens:
        return None
    mean = math.fsum(losses) / tokens
    # Beyond this its exponential is no float.
    return math.exp(mean) if mean < 700 else math.inf
