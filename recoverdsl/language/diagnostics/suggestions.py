"""Did-you-mean."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nsmallest
from itertools import islice

from recoverdsl.language.diagnostics.diagnostic import Edit, Help
from recoverdsl.language.syntax.nodes import Span

_MOST_SEEN = 10_000
"""Known words that are looked at."""

_MOST_COMPARED = 500
"""Known words that are compared, so that a huge spec full of mistakes is still checked at once."""

_MOST_LISTED = 25
"""Known words that are shown where none is near."""


def distance(a: str, b: str, most: int) -> int:
    """Return the edits between two words, where swapping neighbors is one; `most + 1` if there are more."""
    if abs(len(a) - len(b)) > most or max(len(a), len(b)) > 64:
        return most + 1
    before, row = [0] * (len(b) + 1), list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        older, before, row = before, row, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant.

    One that differs only in case or in `-` and `_`; else one that is one edit away for short words
    and two for others; else the only one that begins with it, as `recovery_rate` with `recovery`.
    """
    plain = _plain(word)
    most = 1 if len(word) < 3 else 2
    others = [k for k in islice(known, _MOST_SEEN) if k != word]
    near = islice((k for k in others if abs(len(k) - len(word)) <= most), _MOST_COMPARED)
    ranked = sorted((distance(plain, _plain(k), most), distance(word, k, most), k) for k in near)
    if ranked and ranked[0][0] <= most:
        return ranked[0][2]
    longer = {k for k in others if len(word) > 3 and k.startswith(f"{plain}_")}
    return longer.pop() if len(longer) == 1 else None


def _plain(word: str) -> str:
    return word.casefold().replace("-", "_")


def suggest(word: str, known: Iterable[str], noun: str | None = None) -> str | None:
    """Return a line of help: the word that was probably meant, or all of them if they are few."""
    help = help_with_word(None, word, known, noun)
    return help.help if isinstance(help, Help) else help


def help_with_word(
    span: Span | None, word: str, known: Iterable[str], noun: str | None = None
) -> Help | str | None:
    """Return the same, with the edit that puts the word in place of what stands at `span`."""
    known = tuple(known)
    if near := did_you_mean(word, known):
        return Help(f"did you mean `{near}`?", (Edit(span, near),) if span else ())
    if noun and known:
        first = [f"`{k}`" for k in nsmallest(_MOST_LISTED, set(known))]
        rest = f" and {len(known) - len(first)} more" if len(known) > len(first) else ""
        return f"{noun}: {', '.join(first)}{rest}"
    return None
