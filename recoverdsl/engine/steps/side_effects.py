"""Steps that measure what a clamp does besides removing the behavior."""

from __future__ import annotations

from recoverdsl.compiler.steps import MeasureMoves, MeasureTextEffects
from recoverdsl.engine.behavior.observation import Observations
from recoverdsl.engine.behavior.side_effects import (
    StateMoves,
    TextEffects,
    effects_on_text,
    moved_states,
)
from recoverdsl.engine.model.forward import Tokens
from recoverdsl.engine.resources import Text
from recoverdsl.engine.steps.executor import Progress, TextExecutor, executes
from recoverdsl.measure.ordinary_text import ordinary_texts


@executes(MeasureTextEffects)
class TextEffectsExecutor(TextExecutor[MeasureTextEffects, TextEffects]):
    """Compares the clamped model with the unmodified one on ordinary texts."""

    record = TextEffects

    def texts(self) -> list[Text]:
        """Return each text in two halves, as a prompt and what follows it, cut where the model stops
        reading."""
        model = self.work.resources.model
        return [
            Text(ids[: len(ids) // 2], ids[len(ids) // 2 :])
            for ids in (
                model.encode(text, chat=False)[: model.family.max_positions]
                for text in ordinary_texts()[: self.step.count]
            )
        ]

    def compute(self, batch: range, progress: Progress) -> TextEffects:
        resources = self.work.resources
        intervention = self.work.protected(self.node).intervention(self.step.defense)
        tokens = _as_tokens(self, batch)
        return effects_on_text(resources.model.family, tokens, intervention)


@executes(MeasureMoves)
class MovesExecutor(TextExecutor[MeasureMoves, StateMoves]):
    """Measures how far the clamp moves the states of the tested examples."""

    record = StateMoves

    def texts(self) -> list[Text]:
        """Return the prompts, each with what the clamped model writes after it if the behavior is judged
        by its text."""
        prompts = self.work.resources.prompts
        answers: list[list[int]] = [[]] * len(prompts)
        if "written" in self.node.inputs:
            written = self.work.output.record(self.node.inputs["written"], Observations).answers
            assert written is not None
            answers = written.lists()
        return [Text(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]

    def compute(self, batch: range, progress: Progress) -> StateMoves:
        resources = self.work.resources
        intervention = self.work.protected(self.node).intervention(self.step.defense)
        return moved_states(resources.model.family, _as_tokens(self, batch), intervention)


def _as_tokens(executor: TextEffectsExecutor | MovesExecutor, batch: range) -> Tokens:
    texts = executor.texts()[batch.start : batch.stop]
    return Tokens.in_parts(
        [text.before for text in texts],
        [text.read for text in texts],
        executor.work.resources.device,
    )
