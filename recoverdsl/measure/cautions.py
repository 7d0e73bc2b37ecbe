"""Cautions: what should be read beside a verdict, which none of them changes.

A clamp that wrecks the model may remove any behavior for good, and then it "holds" too: so what it does to
ordinary text, and how far it moves the states that it edits, belongs beside any verdict.
Each caution has a page in `measure/pages/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from attrs import frozen

from recoverdsl.measure.damage import Damage, Moved

HALF = 0.5
"""Share of its length by which a state is moved far. A change of this length can turn the state by 30°,
and from a length of 1 on it can replace it. One SAE's features are a part of the state, so editing a
few of them should move it by less."""

KL = 0.1
"""Nats per token from which on a clamp changes ordinary text much. By Pinsker's inequality the two
distributions may then differ in up to √(KL/2) = 22% of their probability."""

RATIO = 1.1
"""Factor of the perplexity from which on it does so too: log 1.1 = 0.095, so that each token costs as many
more nats as `KL`."""

CAUTIONS = ("moves_the_state", "changes_ordinary_text", "side_effects_unmeasured")
"""The names of all cautions, in the order in which reports list them."""


@frozen
class Caution:
    """What should be read beside the verdict."""

    name: str
    """`recoverdsl explain NAME` tells more."""
    clamp: str
    """The clamp that it is about."""
    figure: float | None
    """The figure that raised it; its page says which."""
    sentence: str
    """What was found, in a sentence."""


def cautions(clamps: Iterable[str], damage: Mapping[str, Damage]) -> tuple[Caution, ...]:
    """Return the cautions of a run, clamp by clamp.

    Args:
        clamps: every clamp of the spec.
        damage: clamp to its side effects, where they were measured.
    """
    return tuple(
        caution
        for clamp in clamps
        for caution in (_of(clamp, damage[clamp]) if clamp in damage else [_unmeasured(clamp)])
    )


def _of(clamp: str, found: Damage) -> Iterator[Caution]:
    places = {"the tested examples": found.moved_examples, "ordinary text": found.moved_text}
    far = {place: of for place, of in places.items() if of.median is not None and of.median > HALF}
    if far:
        said = "; ".join(f"{_moved(of)} in {place}" for place, of in far.items())
        yield Caution(
            "moves_the_state",
            clamp,
            max(of.median or 0.0 for of in far.values()),
            f"The clamp {clamp} moves the state by more than {HALF:.0%} of its length: {said}. The "
            "behavior may be gone because that state is unlike any that the model computes, and not because of "
            "what the features mean.",
        )
    if found.not_finite:
        yield Caution(
            "changes_ordinary_text",
            clamp,
            None,
            f"The model's figures on {found.not_finite} of {found.not_finite + found.texts} ordinary texts are no "
            f"finite numbers without the clamp {clamp} or under it: these are left out.",
        )
    kl, ratio = found.kl.value, found.perplexity_ratio
    if kl is None or ratio is None:
        if not found.not_finite:
            yield _unmeasured(clamp)
        return
    if kl > KL or ratio > RATIO:
        yield Caution(
            "changes_ordinary_text",
            clamp,
            kl,
            f"The clamp {clamp} also changes ordinary text: its next-token distribution by {kl:.2g} nats per "
            f"token (KL), its perplexity from {found.perplexity_base:.3g} to "
            f"{found.perplexity_defended:.3g}. A clamp that makes the model worse may remove "
            "any behavior.",
        )


def _moved(moved: Moved) -> str:
    return f"by a median of {moved.median:.0%} and at most {moved.largest:.0%}"


def _unmeasured(clamp: str) -> Caution:
    return Caution(
        "side_effects_unmeasured",
        clamp,
        None,
        f"The clamp {clamp} was not compared with the unmodified model on ordinary text: whether it "
        "does anything else than remove the behavior is open.",
    )
