"""The side effects of each clamp of a run, from the records of its steps."""

from __future__ import annotations

from recoverdsl.compiler.steps import MeasureTextEffects
from recoverdsl.engine.behavior.side_effects import StateMoves, TextEffects
from recoverdsl.engine.steps.output import Output
from recoverdsl.measure.damage import Damage, damage


def damages(output: Output) -> dict[str, Damage]:
    """Return what each clamp does besides removing the behavior, by its name; none of a clamp whose side
    effects are not measured."""
    found = {}
    for clamp, keys in output.graph.side_effects.items():
        text, moves = output.record(keys.text, TextEffects), output.record(keys.moves, StateMoves)
        step = output.graph[keys.text].step
        assert isinstance(step, MeasureTextEffects)
        found[clamp] = damage(
            text.rows,
            moved_examples=moves.moved_P.numpy(),
            moved_text=text.moved_P.numpy(),
            texts_digest=step.texts,
        )
    return found
