"""The records of the steps that rank, select and average features."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen
from torch import Tensor

from recoverdsl.errors import UnavailableError


@frozen(eq=False)
class ActivationSums:
    """Activations summed over tokens, batch by batch: the record of a step of means, and of one side of a
    contrast."""

    totals: Mapping[int, Tensor]
    """(batches, features), float64, by the boundary that is read."""
    tokens: Tensor
    """How many tokens each batch has."""

    def mean(self, boundary: int) -> Tensor:
        """Return the mean over all tokens, (features,); 0 if there are none."""
        return self.totals[boundary].sum(0) / max(1, int(self.tokens.sum()))


@frozen(eq=False)
class Attributions:
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
        """Return the mean effect over the examples that are not left out, (features,)."""
        return self.totals[sae].sum(0) / max(1, int(self.finite_B.sum()))


@frozen(eq=False)
class Contrast:
    """Activations of every feature on two sets of texts, by boundary."""

    texts: ActivationSums
    against: ActivationSums

    def mean(self, boundary: int) -> Tensor:
        """Return the difference of the means, (features,).

        Raises:
            UnavailableError: a side has no tokens.
        """
        if not (self.texts.tokens.sum() and self.against.tokens.sum()):
            raise UnavailableError(
                "a contrast needs tokens on both sides",
                help="give both sets texts that are not empty",
            )
        return self.texts.mean(boundary) - self.against.mean(boundary)


@frozen(eq=False)
class FeatureEffects:
    """The effects by which features are ranked: the record of a step."""

    encoders: Mapping[int, str]
    """Number of an SAE to the invariance class of its encoder."""
    boundaries: Mapping[int, int]
    """Number of an SAE to the boundary that it reads."""
    attributions: Attributions | None = None
    contrast: Contrast | None = None

    def mean(self, sae: int) -> Tensor:
        """Return the effect of each feature of an SAE, (features,)."""
        if self.attributions is not None:
            return self.attributions.mean(sae)
        assert self.contrast is not None
        return self.contrast.mean(self.boundaries[sae])

    @property
    def left_out(self) -> int:
        """How many examples are left out."""
        return self.attributions.left_out if self.attributions else 0


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
