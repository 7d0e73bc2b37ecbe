"""What a clamp does besides removing the behavior, in sentences."""

from __future__ import annotations

from recoverdsl.measure.damage import Damage, Moved
from recoverdsl.measure.results import Result
from recoverdsl.report.words import clean_line, enumerated, figure, plural


def side_effects(result: Result) -> list[str]:
    """Return a sentence on what each clamp does to ordinary text, and one on how far it moves the states
    that it edits; none where it was not measured."""
    return [
        sentence
        for clamp, damage in result.damage.items()
        for sentence in (*_on_text(clean_line(clamp), damage), _moves(clean_line(clamp), damage))
    ]


def _on_text(clamp: str, damage: Damage) -> list[str]:
    kl = damage.kl
    if kl.value is None:
        return []
    between = f", interval {figure(kl.low)} to {figure(kl.high)}" if kl.n > 1 else ""
    return [
        f"On {plural(damage.texts, 'ordinary text')} ({plural(damage.tokens, 'token')}) the clamp {clamp} changes the "
        f"next-token distribution by {figure(kl.value)} nats per token (KL(defended‖base){between}) and the "
        f"perplexity from {figure(damage.perplexity_base)} to {figure(damage.perplexity_defended)}."
    ]


def _moves(clamp: str, damage: Damage) -> str:
    places = (
        f"{_moved(damage.moved_examples)} of the tested examples",
        f"{_moved(damage.moved_text)} of ordinary text",
    )
    return f"The clamp {clamp} moves the residual stream at {enumerated(places)}."


def _moved(moved: Moved) -> str:
    counted = f"{moved.positions} of {plural(moved.of, 'position')}"
    if moved.median is None or moved.largest is None:
        return counted
    by = f"a median of {figure(100 * moved.median)}% of its length, at most {figure(100 * moved.largest)}%"
    return f"{counted} (by {by})"
