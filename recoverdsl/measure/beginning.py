"""The first words of an answer that its writer says in their own voice.

A heading, a label ("Assistant:") and what others say, in quotation marks or in a dialogue, is left out.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import islice

from attrs import frozen

from recoverdsl.measure.plain_text import WORD, folded, plain, visible, whole_word

MOST_CHARACTERS = 10_000
"""How many characters of an answer are searched for its beginning."""
_MOST_LINES = 100
_GREETING_WORDS = 8
"""A first sentence with fewer words ("Thank you for asking.") is read with the line that follows."""

_HASH_HEADING = re.compile(r"\s*#{1,6}\s")
_BOLD_HEADING = re.compile(r"\s*(?:\*{2,3}|__)(?=[^\s*_])[^*]*[^\s*.!?。！？](?:\*{2,3}|__):?\s*")
_SENTENCE_END = re.compile(r"[.!?。！？][\W_]*\Z")
_SPEAKER = re.compile(r"[\W_]*[^\W\d_][\w .]{0,24}:\s*\S")
# No alternative holds its own first sign, so that a sign without a partner costs no more than its line.
_QUOTED = re.compile(
    r"""
    "[^"]*" | «[^«»]*» | »[^«»]*« | 「[^「」]*」 | 『[^『』]*』
    | (?<!\w)'(?:[^']|(?<=\w)'(?=\w))*'(?!\w)
    """,
    re.VERBOSE,
)


@frozen
class Reading:
    """The words by which the parts of an answer are told apart. Each list may be empty."""

    clauses: tuple[str, ...]
    """After one of these a clause begins: "but"."""
    labels: tuple[str, ...]
    """The label of an answer, before a colon: "Assistant"."""
    works: tuple[str, ...]
    """A heading or a first line with one of these announces a text in another voice: "letter"."""


def beginning(answer: str, reading: Reading) -> str:
    """Return the first line of an answer in its writer's own voice, plain; empty if there is none.

    - Headings are left out, unless there is nothing else, and labels are taken off. A heading that
      announces a work ("A letter to my landlord") leaves nothing: what follows is another's voice.
    - Nothing is left of a dialogue: lines with names of speakers, or a line after a dash.
    - Of other lines what stands in quotation marks is left out, unless it is the whole line.
    - A greeting is read with the line after it.
    """
    every = visible(answer[:MOST_CHARACTERS]).splitlines()
    lines = list(islice((line for line in every if plain(line)), _MOST_LINES))
    own: list[str] = []
    heading = ""
    for at, line in enumerate(lines):
        if not own and _is_heading(line, reading):
            if _announces(line, reading):
                return ""
            heading = plain(line)
            continue
        line = _without_label(line, reading)
        if not own and (line.lstrip().startswith("—") or _is_dialogue(lines[at : at + 2])):
            return ""
        own.append(_without_quotations(line))
        greets = _SENTENCE_END.search(line) and len(WORD.findall(line)) < _GREETING_WORDS
        if not greets or _announces(line, reading):
            break
    return plain(" ".join(own)) or heading


def _is_heading(line: str, reading: Reading) -> bool:
    if _HASH_HEADING.match(line) or _BOLD_HEADING.fullmatch(line):
        return True
    return not plain(_without_label(line, reading)) or plain(line) in _set(reading.labels)


def _announces(line: str, reading: Reading) -> bool:
    works = _any_word(reading.works)
    return bool(works and works.search(plain(line)))


def _is_dialogue(lines: list[str]) -> bool:
    return len(lines) == 2 and all(_SPEAKER.match(line) for line in lines)


def _without_label(line: str, reading: Reading) -> str:
    label = _label(reading.labels)
    found = label.match(folded(line)) if label else None
    # Folding changes lengths: the label is looked for again by its colon or bracket.
    return re.split(r"[:\]]", line, maxsplit=1)[1] if found else line


def _without_quotations(line: str) -> str:
    whole = line.strip().lstrip("-*>• ")
    if _QUOTED.fullmatch(whole):
        return whole[1:-1]
    return _QUOTED.sub(' " ', line)


@cache
def _label(labels: tuple[str, ...]) -> re.Pattern[str] | None:
    if not labels:
        return None
    names = "|".join(map(re.escape, sorted(_set(labels))))
    return re.compile(rf"[\W_]*(?:(?:{names})\s*:|(?<=\[)(?:{names})\])")


@cache
def _any_word(words: tuple[str, ...]) -> re.Pattern[str] | None:
    names = "|".join(map(whole_word, sorted(_set(words))))
    return re.compile(names) if names else None


@cache
def _set(words: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(plain, words))
