"""Did-you-mean."""

from __future__ import annotations

from collections.abc import Iterable

_MOST = 500
"""Known words that are compared, so that a huge spec full of mistakes is still checked at once."""


def distance(a: str, b: str, most: int) -> int:
    """Edits between two words, where swapping neighbours is one; `most + 1` if there are more."""
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
    """The known word that was probably meant: one edit away for short words, else two."""
    most = 1 if len(word) < 3 else 2
    near = sorted((distance(word, other, most), other) for other in set(known) - {word})
    return near[0][1] if near and near[0][0] <= most else None


def suggest(word: str, known: Iterable[str], noun: str | None = None) -> str | None:
    """A line of help: the word that was probably meant, or all of them if they are few."""
    known = sorted(set(known))[:_MOST]
    if near := did_you_mean(word, known):
        return f"did you mean `{near}`?"
    if noun and known:
        return f"{noun}: {', '.join(f'`{k}`' for k in known)}"
    return None
