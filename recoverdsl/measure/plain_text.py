"""Text made plain, so that its case, its emphasis and its invisible characters do not matter."""

from __future__ import annotations

import re
import unicodedata

WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
"""A run of letters and digits; for text with straight quotation marks."""

_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Letters of scripts that put no spaces between words."""
_SPACED = rf"[^\W_{_UNSPACED}]"
WORD_BOUNDARY = rf"(?:(?<!{_SPACED})|(?!{_SPACED}))"
"""The pattern of a place that is not within a word; anywhere in a script without spaces."""

_QUOTES = str.maketrans({**dict.fromkeys("‘’‚‛ʼ′´", "'"), **dict.fromkeys("“”„‟″", '"')})
_EMPHASIS = re.compile(r"[*_`#~]")
_BEFORE = re.compile(r"\A[\W_]+")


def straight(text: str) -> str:
    """Return a text with straight quotation marks, and as long as it was."""
    return text.translate(_QUOTES)


def visible(text: str) -> str:
    """Return a text in Unicode's form NFKC with straight quotation marks, without characters that
    show nothing, such as a zero-width space or a soft hyphen."""
    # Quotation marks first: normalization makes a space and an accent of a lone "´".
    composed = unicodedata.normalize("NFKC", straight(text))
    return "".join(c for c in composed if unicodedata.category(c) != "Cf")


def folded(text: str) -> str:
    """Return a text that is `visible`, in lower case, with single spaces and no emphasis."""
    return re.sub(r"\s+", " ", _EMPHASIS.sub("", visible(text).casefold()))


def plain(text: str) -> str:
    """Return a text that is `folded`, from its first letter or digit on."""
    return _BEFORE.sub("", folded(text)).strip()


def whole_word(text: str) -> str:
    """Return the pattern of a plain text that neither begins nor ends within a word."""
    return WORD_BOUNDARY + re.escape(text) + WORD_BOUNDARY
