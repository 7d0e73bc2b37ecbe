"""The patterns that find the phrases of a detector where a clause begins."""

from __future__ import annotations

import re
from functools import cache
from itertools import islice

from attrs import field, frozen

from recoverdsl.measure.plain_text import WORD, WORD_BOUNDARY, folded, plain, whole_word

Words = tuple[tuple[str, tuple[str, ...]], ...]
"""Each name to the words that it is one of."""

GAP = "…"
MOST_GAPS = 2
"""How many gaps a phrase may have: the time to look for it grows with a power of them."""
_GAP = f"{WORD_BOUNDARY}[^.!?。]{{0,60}}?{WORD_BOUNDARY}"
_NAME = re.compile(r"(\{[^{}]*\})")
_CLAUSE_SIGNS = r"^|[,.!?;–—。、]\s*|-\s+"


@frozen
class Cue:
    """The phrases of one detector; `phrases.toml` says how and where they are looked for."""

    opening: tuple[str, ...]
    unless: tuple[str, ...]
    """Phrases that do not count, nor does a phrase that begins within one; may be empty."""
    within: int
    """A phrase must begin among this many first words."""
    words: Words | None = field(default=None, kw_only=True)
    """The words that `{name}` in a phrase is one of; None: phrases are literal."""

    def patterns(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the patterns of `opening` and of `unless`, sorted and without repetition."""
        return _patterns(self.opening, self.words), _patterns(self.unless, self.words)

    def found_in(self, text: str, clauses: tuple[str, ...]) -> bool:
        """Return whether a phrase begins a clause among the first words of a plain text.

        Args:
            clauses: words that begin a clause, as punctuation does.
        """
        opening, unless = _any_of(self.opening, self.words), _any_of(self.unless, self.words)
        words = list(islice(WORD.finditer(text), self.within))
        last = words[-1].start() if len(words) == self.within else len(text)
        places = [found.end() for found in _clause(clauses).finditer(text) if found.end() <= last]
        covered = -1
        for place in places:
            if span := unless.match(text, place):
                covered = max(covered, span.end())
            if place >= covered and opening.match(text, place):
                return True
        return False


def phrase_pattern(phrase: str, words: Words | None) -> str:
    """Return the pattern of a phrase in plain text, without the boundaries of words at its ends.

    Raises:
        KeyError: a name in braces is not among the words.
    """
    if words is None:
        return re.escape(plain(phrase))
    stretches = (stretch.strip() for stretch in phrase.split(GAP))
    return _GAP.join(_stretch(stretch, dict(words)) for stretch in stretches)


def names_in(phrase: str) -> list[str]:
    """Return the names in braces in a phrase."""
    return [part[1:-1] for part in _NAME.findall(phrase)]


def without_names(phrase: str) -> str:
    """Return a phrase without its names in braces."""
    return _NAME.sub("", phrase)


def _stretch(text: str, words: dict[str, tuple[str, ...]]) -> str:
    return "".join(
        f"(?:{'|'.join(sorted({re.escape(plain(word)) for word in words[part[1:-1]]}))})"
        if _NAME.fullmatch(part)
        else re.escape(folded(part))
        for part in _NAME.split(text)
    )


@cache
def _patterns(phrases: tuple[str, ...], words: Words | None) -> tuple[str, ...]:
    return tuple(sorted({phrase_pattern(phrase, words) for phrase in phrases}))


@cache
def _any_of(phrases: tuple[str, ...], words: Words | None) -> re.Pattern[str]:
    # No phrases: a pattern that nothing matches.
    return re.compile(f"(?:{'|'.join(_patterns(phrases, words)) or '(?!)'}){WORD_BOUNDARY}")


@cache
def _clause(words: tuple[str, ...]) -> re.Pattern[str]:
    after = "".join(rf"|{whole_word(plain(word))},?\s*" for word in words)
    return re.compile(_CLAUSE_SIGNS + after)
