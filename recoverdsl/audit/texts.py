"""Text of a run: what stands for an example in its place, and the texts themselves on demand."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from attrs import evolve

from recoverdsl.report.revealed import Revealed

if TYPE_CHECKING:
    from recoverdsl.engine.resources import Resources
    from recoverdsl.engine.steps.runner import Output, Result
    from recoverdsl.sources.data import Example

_WORD = re.compile(r"[^\W_]+")
_LETTERS = re.compile(r"[^\W\d_]+")
WHOLE = (None, None)
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
    resources: Resources,
    output: Output,
    base: str,
    defended: str | None,
    tables: Iterable[tuple[str, str, float | None, str]],
    ids: dict[str, str],
) -> tuple[Revealed, ...]:
    """Every prompt, and every completion that was kept: each example first, then under each attack.

    Args:
        base: key of the step that ran the undefended model.
        defended: key of the one that ran the defended model, if there is one.
        tables: kind, name, limit and key of the steps whose rows are in the table of examples.
        ids: what `shown_ids` gave.
    """
    decode = resources.model.decode
    results = output.results
    before = _answers(results[base], decode)
    after = _answers(results[defended], decode) if defended else {}
    made = [
        Revealed(
            ids[example.id], example.category, "defended", None, None, example.prompt,
            before[WHOLE][index] if before else None, after[WHOLE][index] if after else None,
        )
        for index, example in enumerate(resources.examples)
    ]  # fmt: skip
    for kind, name, limit, key in tables:
        suffixes = results[key].tensors.get("suffix_ids")
        for (part, how), written in _answers(results[key], decode).items():
            for at, index in enumerate(output.valid_flips):
                suffix = decode(suffixes[at].tolist()) if suffixes is not None else None
                made.append(
                    evolve(
                        made[index], kind=kind, name=name, limit=limit, text=written[at], part=part,
                        how=how, suffix=suffix,
                    )
                )  # fmt: skip
    return tuple(made)


def _answers(
    result: Result, decode: Callable[[list[int]], str]
) -> dict[tuple[str | None, str | None], list[str]]:
    """The texts that a step kept, by its rows, for each part of δ; `WHOLE` where δ is whole."""
    found: dict[tuple[str | None, str | None], list[str]] = {}
    for name, ids_BN in result.tensors.items():
        kind, *of = name.split(" ")
        if kind == "answer":
            lengths_B = result.tensors[" ".join(["length", *of])]
            rows = zip(ids_BN.tolist(), lengths_B.tolist(), strict=True)
            part, how = of if of else WHOLE
            found[part, how] = [decode(row[:length]) for row, length in rows]
    return found


def _tells(id: str, prompt: str, common: set[str]) -> bool:
    own, words = (_WORD.findall(text.casefold()) for text in (id, prompt))
    if own and own == words:
        return True
    told, asked = (set(_LETTERS.findall(text.casefold())) for text in (id, prompt))
    if any(len(word) >= _LONG for word in (told & asked) - common):
        return True
    runs = {tuple(words[at : at + _TELLING]) for at in range(len(words) - _TELLING + 1)}
    return any(tuple(own[at : at + _TELLING]) in runs for at in range(len(own) - _TELLING + 1))
