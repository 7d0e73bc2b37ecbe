"""The features that a defense protects, by site, and the intervention that clamps them."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen
from torch import Tensor

from recoverdsl.compiler.steps import Defense, MultipleOfMean
from recoverdsl.engine.defense.autoencoders import Features
from recoverdsl.engine.defense.clamp import Clamp, SetEach
from recoverdsl.engine.defense.intervention import Intervention
from recoverdsl.language.schema import ScaleBy, SetTo


@frozen(eq=False)
class Protected:
    """The selected features of each SAE, by the boundary that it reads."""

    features: Mapping[int, Features]
    means: Mapping[int, Tensor] = field(factory=dict)
    """Mean activations (S,) over texts, where the defense needs them."""

    def intervention(self, defense: Defense | None) -> Intervention:
        """Return the clamps of a defense; none without one."""
        if defense is None:
            return Intervention()
        clamps = {
            site: Clamp(features, self._value(defense, site), defense.when == "active")
            for site, features in self.features.items()
        }
        return Intervention(clamps, defense.at)

    def _value(self, defense: Defense, site: int) -> SetTo | ScaleBy | SetEach:
        if isinstance(defense.to, MultipleOfMean):
            return SetEach(defense.to.factor * self.means[site])
        return defense.to
