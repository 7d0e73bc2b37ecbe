"""The records of the steps that rank, select and average features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from attrs import frozen
from torch import Tensor

from recoverdsl.errors import UnavailableError


@frozen(eq=False)
class ActivationSums:
    """Activations summed over tokens, batch by batch: the record of a step of means, and one
    side of a contrast."""

    totals: Mapping[int, Tensor]
    """(batches, features), float64, by the boundary that is read."""
    tokens: Tensor
    """How many tokens each batch has."""

    def mean(self, boundary: int) -> Tensor:
        """Return the mean over all tokens, (features,); 0 if there are none."""
        return self.totals[boundary].sum(0) / max(1, int(self.tokens.sum()))


@frozen(eq=False)
class Ranking(ABC):
    """Effects by which features are ranked: the record of a step."""

    encoders: Mapping[int, str]
    """Number of each SAE to the invariance class of its encoder."""

    @property
    @abstractmethod
    def left_out(self) -> int:
        """How many examples are left out, with an effect that is not a finite number."""

    @abstractmethod
    def mean(self, sae: int) -> Tensor:
        """Return the effect of each feature of an SAE, by its number, (features,)."""


@frozen(eq=False)
class Attributions(Ranking):
    """Effects of every feature on a score, summed batch by batch."""

    totals: Mapping[int, Tensor]
    """(batches, features), float64, by the number of the SAE."""
    finite_B: Tensor
    """False for examples that are left out, with an effect that is not a finite number."""

    @property
    def left_out(self) -> int:
        """How many examples are left out."""
        return int((~self.finite_B).sum())

    def mean(self, sae: int) -> Tensor:
        """Return the mean effect over the examples that are not left out, (features,); NaN if all
        are."""
        count = int(self.finite_B.sum())
        return self.totals[sae].sum(0) / (count or torch.nan)


@frozen(eq=False)
class Contrast(Ranking):
    """Activations of every feature on two sets of texts."""

    boundaries: Mapping[int, int]
    """Number of each SAE to the boundary that it reads."""
    texts: ActivationSums
    against: ActivationSums
    left_out: int = 0

    def mean(self, sae: int) -> Tensor:
        """Return the difference of the mean activations, (features,).

        Raises:
            UnavailableError: a side has no tokens.
        """
        if not (self.texts.tokens.sum() and self.against.tokens.sum()):
            raise UnavailableError(
                "a contrast needs tokens on both sides",
                help="give both sets texts that are not empty",
            )
        boundary = self.boundaries[sae]
        return self.texts.mean(boundary) - self.against.mean(boundary)


@frozen
class SelectedFeature:
    """A protected feature."""

    sae: int
    """The number of its SAE among those of the spec's `protect` block."""
    feature: int
    effect: float
    """The effect by which it was ranked; 0 if the spec lists it."""
    encoder: str
    """The invariance class of its SAE's encoder."""


@frozen
class SelectedFeatures:
    """The protected features: the record of a step."""

    rows: tuple[SelectedFeature, ...]
    left_out: int = 0
    """How many examples the ranking leaves out, with an effect that is not a finite number."""


@frozen(eq=False)
class FeatureReadings:
    """The values of the protected features over the tokens of prompts at which a clamp acts, summed batch
    by batch: the record of a step.

    S are the features of a boundary, in the order in which they were selected.
    """

    base: Mapping[int, Tensor]
    """Sums without the clamp, (batches, S), float64, by boundary."""
    defended: Mapping[int, Tensor]
    """Sums under it, at the same tokens, re-encoded from the clamped residual stream."""
    tokens: Mapping[int, Tensor]
    """How many tokens are summed, (batches, S). Of a clamp of active features these are, for each, those
    at which it is active without the clamp."""
    active: Mapping[int, Tensor]
    """In how many prompts a feature is active without the clamp at a token that the clamp covers,
    (batches, S)."""
    covered_B: Tensor
    """How many tokens of each prompt the clamp covers; 0 of one that is left out."""
    finite_B: Tensor
    """False for prompts that are left out, with a value that is not a finite number."""
