"""The rows of the searches that try harder where an attack failed: pure figures, for the checks."""

from __future__ import annotations

import math

from attrs import frozen
from scipy import stats


@frozen
class Tried:
    """The outcome of one other search on an example."""

    recovered: bool
    """Whether the behavior is back."""
    score: float
    """The score that the search raised; NaN where it was not a number."""
    norm: float
    """‖δ‖_F, in units of the residual stream."""


SEEN = 0.9
"""Probability from which on a sample shows a search that recovers some of the failures."""


@frozen
class Sample:
    """The examples of an attack's failures that other searches were made on, at one budget."""

    attack: str
    limit: float | None
    """Largest norm; None if there is no limit."""
    least: bool
    """Whether a failure is an example whose least norm was found to be beyond the limit."""
    searched: int
    """Examples that were searched again, drawn at random."""
    failures: int
    """Examples that the attack did not recover, these among them."""

    @property
    def shown(self) -> int:
        """The least number of failures such that a search that recovers as many recovers one of the sample
        with a probability of at least `SEEN`: by the hypergeometric distribution."""
        n, m = self.failures, self.searched
        return next(k for k in range(1, n + 1) if stats.hypergeom(n, k, m).sf(0) >= SEEN)


@frozen(kw_only=True)
class UnrelatedRow:
    """The stronger searches of an unrelated target in one example in which the attack reached its own and
    the same search did not reach that one."""

    example: str
    longer: Tried
    """The same search with twice the steps."""
    apgd: Tried | None = None
    """Momentum ascent that sets its own step, with the same limit and constraint; None where `longer` reached
    the target, and for a suffix."""

    @property
    def reached(self) -> bool:
        """Whether one of them reached it."""
        return math.isfinite(self.norm)

    @property
    def norm(self) -> float:
        """The least ‖δ‖_F with which one of them reached it; infinite if none did, 0 for a suffix."""
        tried = [one for one in (self.longer, self.apgd) if one and one.recovered]
        return min((0.0 if math.isnan(one.norm) else one.norm for one in tried), default=math.inf)


@frozen(kw_only=True)
class SearchedAgain:
    """The searches on one example that an attack did not recover, whatever it searches."""

    example: str
    attack: Tried
    """The attack itself."""
    start: float
    """The score that it begins with."""
    gradient: float
    """‖gradient of the score‖_F there, along the directions that a constraint allows; NaN if it was not
    finite."""
    longer: Tried
    """The same attack with twice the steps."""
    unguided: Tried | None
    """Random search without a gradient, with as many forward passes as the attack took; None for trained
    embeddings, of which none is made."""


@frozen(kw_only=True)
class SuffixStrengthRow(SearchedAgain):
    """The searches on one example that a suffix did not recover. Nothing limits its norm, which is NaN."""


@frozen
class BelowClamp:
    """The change of the state at the first clamped site, at the positions where δ acts, where that is after
    every site of δ."""

    by_clamp: float
    """‖h_base − h_defended‖_F."""
    by_delta: float
    """‖h with δ − h_base‖_F before the clamp, of the δ that changes it most of those found within the limit."""


@frozen(kw_only=True)
class StrengthRow(SearchedAgain):
    """The searches on one example that an attack did not recover within a limit. It begins at δ = 0."""

    apgd: Tried
    """Momentum ascent that sets its own step, with the same limit and constraint."""
    unlimited: Tried
    """Momentum ascent without a limit that matters: ten times the length of the residual stream where δ
    acts."""
    undo: Tried
    """δ is what the clamp changed where δ acts last, given back: its norm is the least with which the
    clamp is undone there."""
    state_norm: float
    """‖h‖_F of the defended residual stream at the same place."""
    unconstrained: Tried
    """Momentum ascent within the limit, without the constraint."""
    below_clamp: BelowClamp | None
    """None where a clamp acts at a site of δ or before it: `undo` is larger than 0 there."""
