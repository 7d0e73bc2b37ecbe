"""The texts of a run: ids that replace them in artifacts, and the texts themselves on request."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import evolve

from recoverdsl.compiler.steps import RunBase
from recoverdsl.engine.behavior.generation import Answers
from recoverdsl.engine.behavior.observation import Observations
from recoverdsl.engine.resources import Resources
from recoverdsl.engine.steps.output import Output
from recoverdsl.report.revealed import Revealed
from recoverdsl.sources.data import Example

_WORD = re.compile(r"[^\W_]+")
_LETTERS = re.compile(r"[^\W\d_]+")
_WORDS_IN_A_ROW = 3
"""An id with this many consecutive words of its prompt reveals the prompt."""
_LONG_WORD = 4
"""An id with a word of its prompt of this many letters reveals the prompt."""
_COMMON_WORD = 8
"""A word in more ids than this names a kind of example, and reveals no prompt."""


def shown_ids(examples: Sequence[Example]) -> dict[str, str]:
    """Return the id of each example to the one that artifacts hold.

    They are the same, unless one holds a word of its prompt, as a benchmark's ids may: then every
    example is named by the number of its row. A word that many ids have, such as a category's name,
    does not count.
    """
    words = Counter(word for e in examples for word in set(_LETTERS.findall(e.id.casefold())))
    common = {word for word, count in words.items() if count > _COMMON_WORD}
    if any(_reveals(example.id, example.prompt, common) for example in examples):
        return {example.id: f"{number:04d}" for number, example in enumerate(examples, start=1)}
    return {example.id: example.id for example in examples}


def texts(resources: Resources, output: Output, ids: Mapping[str, str]) -> tuple[Revealed, ...]:
    """Return every prompt and every stored completion: first of each example, then under each attack.

    Args:
        ids: id of each example to the one that artifacts hold; see `shown_ids`.
    """
    decode, graph = resources.model.decode, output.graph
    before = _written(output, graph.keys_of(RunBase), decode)
    # Without a clamp there are the prompt and the base answer.
    clamps: dict[str | None, list[str]] = {
        name: [at.defended for at in clamp.values()] for name, clamp in graph.clamps.items()
    } or {None: []}
    revealed: dict[str | None, list[Revealed]] = {}
    for clamp, keys in clamps.items():
        after = _written(output, keys, decode)
        revealed[clamp] = [
            Revealed(
                ids[example.id], example.category, "defended", None, None, example.prompt,
                before[index] if before else None, after[index] if after else None, under=clamp,
            )
            for index, example in enumerate(resources.examples)
        ]  # fmt: skip
    attacked = []
    under = {at.flips: name for name, clamp in graph.clamps.items() for at in clamp.values()}
    for table, key in graph.tables.items():
        record, clamp = output.table(key), under.get(graph[key].inputs["flips"])
        for part, replay in record.replays() if record else ():
            if replay.answers is None:
                continue
            written, suffixes = _decoded(replay.answers, decode), replay.suffix_ids_BN
            for at, index in enumerate(output.flips(key)):
                attacked.append(
                    evolve(
                        revealed[clamp][index], kind=table.kind, name=table.name, limit=table.limit, text=written[at],
                        part=part.part if part else None, how=part.how if part else None,
                        draw=replay.draw,
                        suffix=None if suffixes is None else decode(suffixes[at].tolist()),
                    )
                )  # fmt: skip
    return (*(text for texts in revealed.values() for text in texts), *attacked)


def _written(
    output: Output, keys: Iterable[str], decode: Callable[[list[int]], str]
) -> list[str] | None:
    """Return the text of each example in the one of some steps that observes a behavior by its text; None
    if there is none."""
    found = (output.record(key, Observations).answers for key in keys)
    answers = next((answers for answers in found if answers is not None), None)
    return None if answers is None else _decoded(answers, decode)


def _decoded(answers: Answers, decode: Callable[[list[int]], str]) -> list[str]:
    return [decode(ids) for ids in answers.lists()]


def _reveals(id: str, prompt: str, common: set[str]) -> bool:
    """Return whether an id holds text of its prompt, apart from common words."""
    own, words = (_WORD.findall(text.casefold()) for text in (id, prompt))
    if own and own == words:
        return True
    in_id, in_prompt = (set(_LETTERS.findall(text.casefold())) for text in (id, prompt))
    if any(len(word) >= _LONG_WORD for word in (in_id & in_prompt) - common):
        return True
    return not _runs(own).isdisjoint(_runs(words))


def _runs(words: list[str]) -> set[tuple[str, ...]]:
    """Return every run of `_WORDS_IN_A_ROW` consecutive words."""
    return set(zip(*(words[at:] for at in range(_WORDS_IN_A_ROW)), strict=False))
