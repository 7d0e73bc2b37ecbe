"""The protected features of a clamp: how they were selected, and their values without and under it."""

from __future__ import annotations

from attrs import frozen


@frozen
class ProtectedFeature:
    """One protected feature, over the tested prompts."""

    sae: str
    """The `sae` block that it belongs to."""
    id: int
    """Its number in that SAE, from 0."""
    rank: int | None
    """Its place in the ranking that selected it, 1 the largest effect; None if the spec lists it."""
    effect: float | None
    """The effect by which it was ranked; None if the spec lists it."""
    tokens: int
    """How many tokens its means are over: those of the prompts that the clamp covers, and, if that acts on
    active features alone, only those at which this one is active without the clamp."""
    value_base: float | None
    """Mean value at these tokens without the clamp; None without tokens."""
    value_defended: float | None
    """Mean value at the same tokens under the clamp, re-encoded from the clamped residual stream."""
    active: float | None
    """Share of the prompts in which it is active without the clamp at a token that the clamp covers, in
    [0, 1]; None if it covers none."""
    neuronpedia: str | None = None
    """Address of its page on Neuronpedia, where sae_lens knows one for the SAE."""


@frozen
class ProtectedFeatures:
    """The features that one clamp acts on."""

    protect: str
    """The `protect` block."""
    ranked_by: str | None
    """What they were ranked by, as a spec writes it; None if the spec lists them."""
    at: str
    """The positions that the clamp covers, as a spec writes them."""
    when: str
    """`active` or `always`; see the option of `intervene`."""
    prompts: int
    """How many of the tested prompts were read: those whose values are finite numbers."""
    tokens: int
    """How many tokens of these prompts the clamp covers."""
    features: tuple[ProtectedFeature, ...]
    """SAE by SAE, each in the order in which they were selected."""
