"""Precision and recall of the detectors over the labelled corpus beside this file, as tables.

`python -m tests.measure.detector_figures` prints the tables of `docs/detectors.md`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, get_args

from attrs import frozen

from recoverdsl.measure.phrases import Phrases, load_phrases
from recoverdsl.measure.texts import detect

CORPUS = Path(__file__).with_name("detector_corpus.jsonl")

Label = Literal["refusal", "safety_cue", "answer", "no_answer"]
"""`safety_cue`: an apology or a warning, and no refusal; `no_answer`: nothing but thinking."""
Half = Literal["written", "held_out", "fresh"]
"""The phrase lists may be changed after a look at texts of `written` alone. `fresh`: written after the
lists."""
LANGUAGES = {
    "en": "English", "fr": "French", "es": "Spanish", "de": "German", "zh": "Chinese",
    "it": "Italian", "pt": "Portuguese",
}  # fmt: skip


@frozen
class Labelled:
    """A text of the corpus. Its fields are those of a line."""

    text: str
    label: Label
    language: str
    kind: str
    """The form of the text, or the reason that it is hard."""
    half: Half


@frozen
class Figures:
    """The decisions of a detector over some texts, counted."""

    right: int
    """Texts with the label that it finds."""
    wrong: int
    """Texts without the label that it finds."""
    missed: int

    @property
    def precision(self) -> float | None:
        """The share of right texts among those found; None if none is found."""
        return _share(self.right, self.right + self.wrong)

    @property
    def recall(self) -> float | None:
        """The share of found texts among those with the label; None if there are none."""
        return _share(self.right, self.right + self.missed)


def load_corpus() -> list[Labelled]:
    """Read the corpus, and return its texts in the order of the file."""
    lines = CORPUS.read_text("utf-8").splitlines()
    return [Labelled(**json.loads(line)) for line in lines]


def half_of(text: str) -> Half:
    """Return the half that a text belongs to, by a hash with a fixed seed."""
    digest = hashlib.sha256(f"detectors-1 {text}".encode()).digest()
    return "held_out" if digest[0] & 1 else "written"


def refusal_figures(texts: Iterable[Labelled], phrases: Phrases) -> Figures:
    """Count the decisions of `refuses` over texts of any label."""
    return _count(texts, "refuses", "refusal", phrases)


def cue_figures(texts: Iterable[Labelled], phrases: Phrases) -> Figures:
    """Count the decisions of `opens_with_safety_cue` over texts that are no refusals.

    A refusal may open with an apology or without one, and counts as a refusal either way.
    """
    rest = [text for text in texts if text.label != "refusal"]
    return _count(rest, "opens_with_safety_cue", "safety_cue", phrases)


def tables() -> Iterator[str]:
    """Yield the tables of `docs/detectors.md`, in order."""
    texts, phrases = load_corpus(), load_phrases()
    halves = {half: [text for text in texts if text.half == half] for half in get_args(Half)}
    drawn = {half.replace("_", " "): halves[half] for half in ("written", "held_out")}
    for figures in (refusal_figures, cue_figures):
        yield _by_language(drawn, figures, phrases)
    yield _by_kind(drawn, phrases)
    yield _by_language({"fresh": halves["fresh"]}, refusal_figures, phrases, "other languages")
    yield _by_language({"fresh": halves["fresh"]}, cue_figures, phrases, "other languages")


def _by_language(
    halves: dict[str, list[Labelled]],
    figures: Callable[[Iterable[Labelled], Phrases], Figures],
    phrases: Phrases,
    others: str | None = None,
) -> str:
    """Return a table with a row for each language.

    Args:
        others: the name of one row for all languages but English; None: a row for each.
    """

    def language(text: Labelled) -> str:
        return LANGUAGES[text.language] if text.language == "en" or others is None else others

    columns = [f"{half}: {what}" for half in halves for what in ("texts", "precision", "recall")]
    rows = []
    for name in dict.fromkeys(language(text) for half in halves.values() for text in half):
        cells = [name]
        for half in halves.values():
            own = [text for text in half if language(text) == name]
            found = figures(own, phrases)
            cells += [str(len(own)), _shown(found.precision), _shown(found.recall)]
        rows.append(cells)
    return _table(["language", *columns], rows)


def _by_kind(halves: dict[str, list[Labelled]], phrases: Phrases) -> str:
    """Return a table of `refuses` with a row for each kind of text."""
    columns = [f"{half}: {what}" for half in halves for what in ("refusals found", "others found")]
    rows = []
    for kind in dict.fromkeys(text.kind for half in halves.values() for text in half):
        cells = [kind.replace("_", " ")]
        for half in halves.values():
            own = [text for text in half if text.kind == kind]
            found = refusal_figures(own, phrases)
            refusals = found.right + found.missed
            cells += [f"{found.right} of {refusals}", f"{found.wrong} of {len(own) - refusals}"]
        rows.append(cells)
    return _table(["kind", *columns], rows)


def _table(heading: list[str], rows: list[list[str]]) -> str:
    lines = [heading, [":--", *["--:"] * (len(heading) - 1)], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _count(texts: Iterable[Labelled], detector: str, label: Label, phrases: Phrases) -> Figures:
    decisions = [(detect(text.text, detector, phrases), text.label == label) for text in texts]
    return Figures(
        decisions.count((True, True)),
        decisions.count((True, False)),
        decisions.count((False, True)),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _shown(share: float | None) -> str:
    return "" if share is None else f"{share:.3f}"


if __name__ == "__main__":
    print("\n".join(tables()), end="")
