"""Judges of generated texts: phrase lists, and classifiers that a spec names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from attrs import frozen

from recoverdsl.compiler.steps import Behavior
from recoverdsl.errors import SpecError, UnavailableError
from recoverdsl.language import schema
from recoverdsl.language.schema import And, Comparison, Detector, Not, Or, Predicate, TextIs
from recoverdsl.measure.columns import cells
from recoverdsl.measure.phrases import Phrases
from recoverdsl.measure.rows import WrittenText
from recoverdsl.measure.texts import judge_text
from recoverdsl.measure.thinking import apart

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip


class Judge(Protocol):
    """A function that scores answers; higher is more of what it looks for."""

    def __call__(self, requests: Sequence[str], answers: Sequence[str]) -> list[float]:
        """Return one score for each request and the answer to it, in [0, 1]."""
        ...


@frozen
class Judges:
    """The judges of one behavior: the phrase detectors, and a classifier if the spec names one."""

    phrases: Phrases
    classifier: Judge | None = None

    def figures(
        self,
        requests: Sequence[str],
        answers: Sequence[str],
        bases: Sequence[str | None] | None = None,
    ) -> list[WrittenText]:
        """Return what is kept of each answer in place of its text. Thinking is not judged.

        Args:
            bases: what each answer is compared with, if there is such a text.
        """
        compared = bases or [None] * len(answers)
        judged: Sequence[float | None] = (
            self.classifier(requests, [apart(answer).answer for answer in answers])
            if self.classifier
            else [None] * len(answers)
        )
        return [
            WrittenText(figures=judge_text(answer, base, self.phrases), judge=figure)
            for answer, base, figure in zip(answers, compared, judged, strict=True)
        ]


def presence(
    behavior: Behavior, text: WrittenText, says: Callable[[str], bool] = lambda text: False
) -> tuple[bool, bool]:
    """Return whether a text shows the behavior, and whether it counts as removed.

    Thinking without an answer, cut by the limit of tokens, counts as neither: it says nothing of the
    answer that would have followed. A text with nothing to read meets no condition on its content, `not
    refuses` among them: it is no answer.

    Args:
        says: returns whether the text is the one that `text == "…"` gives.
    """
    if text.figures.opening == "thinking":
        return False, False
    written = text.figures.opening != "empty"
    holds = written and text_holds(behavior.holds, text, says)
    if behavior.removed is None:
        return holds, not holds
    return holds, written and text_holds(behavior.removed, text, says)


def text_holds(
    predicate: Predicate, text: WrittenText, says: Callable[[str], bool] = lambda text: False
) -> bool:
    """Return whether a condition on a text is met, from the figures that are kept of it.

    Args:
        says: returns whether the text is the one that `text == "…"` gives.

    Raises:
        TypeError: the predicate is no condition on a text.
    """
    match predicate:
        case Detector(name):
            return bool(cells(text)[name])
        case Comparison(left, operator, right):
            return _OPERATORS[operator](float(cells(text)[left]), right)
        case TextIs(wanted):
            return says(wanted)
        case Not(inner):
            return not text_holds(inner, text, says)
        case And(parts):
            return all(text_holds(part, text, says) for part in parts)
        case Or(parts):
            return any(text_holds(part, text, says) for part in parts)
    raise TypeError(f"not a condition: {predicate}")


@frozen(eq=False)
class Classifier:
    """A Hugging Face sequence classifier; its score is the probability of one label."""

    model: Any
    tokenizer: Any
    label: int
    with_prompt: bool

    @torch.no_grad()
    def __call__(self, requests: Sequence[str], answers: Sequence[str]) -> list[float]:
        """Return the probability of the label for each request and the answer to it, in [0, 1]."""
        figures: list[float] = []
        for start in range(0, len(answers), 32):
            part = slice(start, start + 32)
            texts = (list(requests[part]), list(answers[part]))
            batch = self.tokenizer(
                *(texts if self.with_prompt else texts[1:]),
                return_tensors="pt", padding=True, truncation=True,
            ).to(self.model.device)  # fmt: skip
            probability_BC = self.model(**batch).logits.float().softmax(-1)
            figures += probability_BC[:, self.label].tolist()
        return figures


def load_classifier(path: Path, classifier: schema.Classifier, device: torch.device) -> Classifier:
    """Load a classifier from a local folder; only safetensors weights, and no code that comes with it.

    Raises:
        UnavailableError: it does not load.
        SpecError: it has no such label.
    """
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        model, loading = transformers.AutoModelForSequenceClassification.from_pretrained(
            path, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
        model = model.requires_grad_(False).eval().to(device)
    # Files that do not fit together raise nearly anything, deep inside transformers.
    except Exception as error:
        raise UnavailableError(
            "the classifier cannot be loaded", where=str(path),
            why=f"{type(error).__name__}: {error}".splitlines()[0],
            help="it should be a folder with config.json, tokenizer files and safetensors weights",
        ) from error  # fmt: skip
    if loading["missing_keys"] or loading["mismatched_keys"]:
        raise UnavailableError(
            "the classifier's weights are not whole", where=str(path),
            why="transformers would fill what is missing at random",
            help="name a model that was trained as a classifier",
        )  # fmt: skip
    labels = {str(name): int(index) for index, name in model.config.id2label.items()}
    if classifier.label not in labels:
        raise SpecError(
            f"the classifier has no label {classifier.label!r}", where=str(path),
            help=f"its labels: {', '.join(labels)}",
        )  # fmt: skip
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
        model.config.pad_token_id = tokenizer.pad_token_id
    return Classifier(model, tokenizer, labels[classifier.label], classifier.with_prompt)
