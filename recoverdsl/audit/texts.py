"""Text of a run: what stands for an example in its place, and the texts themselves on demand."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from attrs import evolve

from recoverdsl.compiler.graph import Graph
from recoverdsl.compiler.steps import RunBase, RunDefended, Step
from recoverdsl.engine.behavior.generation import Answers
from recoverdsl.engine.behavior.observation import Observations
from recoverdsl.engine.resources import Resources
from recoverdsl.engine.steps.delta_split import DeltaParts
from recoverdsl.engine.steps.evaluation import Recoveries
from recoverdsl.engine.steps.runner import Output
from recoverdsl.engine.steps.suffix import Suffixes
from recoverdsl.measure.keys import PartKey
from recoverdsl.report.revealed import Revealed
from recoverdsl.sources.data import Example

_WORD = re.compile(r"[^\W_]+")
_LETTERS = re.compile(r"[^\W\d_]+")
_TELLING = 3
"""This many words of a prompt in a row are text of it."""
_LONG = 4
"""One word of so many letters tells what a prompt is about."""
_FEW = 8
"""A word in more ids than this is a kind of example."""


def shown_ids(examples: Sequence[Example]) -> dict[str, str]:
    """Id of each example to the one that artifacts hold.

    They are the same, unless one holds a word of its prompt, as a benchmark's ids may: then the number
    of its row stands for every example. A word that many ids have, such as a category's name, is no
    word of one prompt.
    """
    words = Counter(word for e in examples for word in set(_LETTERS.findall(e.id.casefold())))
    common = {word for word, count in words.items() if count > _FEW}
    if any(_tells(example.id, example.prompt, common) for example in examples):
        return {example.id: f"{number:04d}" for number, example in enumerate(examples, start=1)}
    return {example.id: example.id for example in examples}


def texts(
    resources: Resources, graph: Graph, output: Output, ids: Mapping[str, str]
) -> tuple[Revealed, ...]:
    """Return every prompt, and every completion that was kept: each example first, then under each attack.

    Args:
        ids: id of each example to the one that artifacts hold; see `shown_ids`.
    """
    decode = resources.model.decode
    before, after = (_written(graph, output, kind, decode) for kind in (RunBase, RunDefended))
    made = [
        Revealed(
            ids[example.id], example.category, "defended", None, None, example.prompt,
            before[index] if before else None, after[index] if after else None,
        )
        for index, example in enumerate(resources.examples)
    ]  # fmt: skip
    for table, key in graph.tables.items():
        record = output.results[key].record
        suffixes = record.suffix_ids_BN if isinstance(record, Suffixes) else None
        for part, answers in _answers(record):
            written = _decoded(answers, decode)
            for at, index in enumerate(output.valid_flips):
                made.append(
                    evolve(
                        made[index], kind=table.kind, name=table.name, limit=table.limit, text=written[at],
                        part=part.part if part else None, how=part.how if part else None,
                        suffix=None if suffixes is None else decode(suffixes[at].tolist()),
                    )
                )  # fmt: skip
    return tuple(made)


def _answers(record: Any) -> Iterator[tuple[PartKey | None, Answers]]:
    """Yield the texts that a step kept, for each part of δ; None where δ is whole."""
    if isinstance(record, DeltaParts):
        for name, part in record.parts.items():
            for how, replay in part.replays():
                if replay.answers is not None:
                    yield PartKey(name, how), replay.answers
    elif isinstance(record, Recoveries | Suffixes) and record.answers is not None:
        yield None, record.answers


def _written(
    graph: Graph, output: Output, kind: type[Step], decode: Callable[[list[int]], str]
) -> list[str] | None:
    """Return what the model wrote in a step that observes the behavior; None if it wrote nothing."""
    for key in graph.keys_of(kind):
        answers = output.record(key, Observations).answers
        return None if answers is None else _decoded(answers, decode)
    return None


def _decoded(answers: Answers, decode: Callable[[list[int]], str]) -> list[str]:
    return [decode(ids) for ids in answers.lists()]


def _tells(id: str, prompt: str, common: set[str]) -> bool:
    own, words = (_WORD.findall(text.casefold()) for text in (id, prompt))
    if own and own == words:
        return True
    told, asked = (set(_LETTERS.findall(text.casefold())) for text in (id, prompt))
    if any(len(word) >= _LONG for word in (told & asked) - common):
        return True
    runs = {tuple(words[at : at + _TELLING]) for at in range(len(words) - _TELLING + 1)}
    return any(tuple(own[at : at + _TELLING]) in runs for at in range(len(own) - _TELLING + 1))
