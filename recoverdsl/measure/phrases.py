"""Lists of phrases by which refusals and safety cues are recognized, and the file that holds them."""

from __future__ import annotations

import hashlib
import json
import re
import reprlib
import tomllib
import unicodedata
from collections.abc import Collection, Mapping
from functools import cache
from importlib import resources
from pathlib import Path

from attrs import frozen

from recoverdsl.errors import SpecError, UnavailableError
from recoverdsl.language.diagnostics.suggestions import suggest
from recoverdsl.language.schema.forms import DETECTORS

LARGEST_FILE = 1 << 20
"""The largest file of phrases that is read, in bytes."""
MOST_WITHIN = 200
"""The largest `within`, in words."""

QUOTES = str.maketrans({**dict.fromkeys("‘’‚‛ʼ′´", "'"), **dict.fromkeys("“”„‟″", '"')})
"""Curly and other quotation marks, made straight."""
BEFORE_TEXT = re.compile(r"\A[\W_]+")
_EMPHASIS = re.compile(r"[*_`#~]")


@frozen
class Cue:
    """The phrases of one detector; `phrases.toml` says how and where they are looked for."""

    opening: tuple[str, ...]
    """Literal phrases."""
    unless: tuple[str, ...]
    """Longer phrases that begin like one of these and do not count; may be empty."""
    within: int
    """A phrase must begin among this many first words of the opening; in 1..`MOST_WITHIN`."""


@frozen
class Phrases:
    """The phrases of all detectors."""

    cues: Mapping[str, Cue]
    """Each name in `DETECTORS` to its phrases."""

    @property
    def digest(self) -> str:
        """A digest of 64 hexadecimal digits, which changes when a detector may find something else.

        The order of the phrases, their case and comments in the file do not count.
        """
        content = {
            name: [_plain_set(cue.opening), _plain_set(cue.unless), cue.within]
            for name, cue in self.cues.items()
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load_phrases(path: Path | None = None) -> Phrases:
    """Read a file of phrases, and return them.

    Args:
        path: a TOML file laid out like `phrases.toml` next to this module; that file itself if None.

    Raises:
        UnavailableError: there is no such file, or it cannot be read or is too large.
        SpecError: it is not TOML, a section is missing or unknown, or a value is wrong.
    """
    where = str(path) if path else "phrases.toml"
    return _parse(_read(path), where)


def plain(text: str) -> str:
    """Return a text in lower case with straight quotes, single spaces and no emphasis, from its first
    letter or digit on."""
    # Quotation marks first: normalization makes a space and an accent of a lone "´".
    folded = unicodedata.normalize("NFKC", text.translate(QUOTES)).casefold()
    return " ".join(BEFORE_TEXT.sub("", _EMPHASIS.sub("", folded)).split())


def _plain_set(phrases: tuple[str, ...]) -> list[str]:
    return sorted({plain(phrase) for phrase in phrases})


@cache
def pattern(cue: Cue) -> re.Pattern[str]:
    """Return the pattern that finds a cue's phrases in a plain text, in its group `phrase`."""
    clause = r"(?:^|[,.!?;–—]\s*|-\s+|(?<!\w)but\s)"
    unless = f"(?!{_any_of(cue.unless)})" if cue.unless else ""
    return re.compile(f"{clause}{unless}(?P<phrase>{_any_of(cue.opening)})")


def _any_of(phrases: tuple[str, ...]) -> str:
    ends = (re.escape(p) + (r"(?!\w)" if p[-1].isalnum() else "") for p in _plain_set(phrases))
    return f"(?:{'|'.join(ends)})"


def _read(path: Path | None) -> bytes:
    if path is None:
        return resources.files("recoverdsl.measure").joinpath("phrases.toml").read_bytes()
    try:
        # Not a pipe or a device, which may never end.
        if not path.is_file():
            raise UnavailableError(
                "there is no such file of phrases",
                where=str(path),
                help="without a file, the phrases that come with recoverdsl are used",
            )
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UnavailableError(
            "the file of phrases cannot be read", where=str(path), why=str(error)
        ) from error
    if len(content) > LARGEST_FILE:
        raise UnavailableError(
            "the file of phrases is too large", where=str(path), why=f"over {LARGEST_FILE:,} bytes"
        )
    return content


def _parse(content: bytes, where: str) -> Phrases:
    try:
        sections = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SpecError(
            "the file of phrases is not TOML",
            where=where,
            why=str(error) or type(error).__name__,
            help='write sections such as `[refuses]` with `opening = ["I cannot"]`',
        ) from error
    _check_names(sections, required=DETECTORS, optional=(), noun="section", where=where)
    return Phrases({name: _cue(sections[name], f"{where}: [{name}]") for name in DETECTORS})


def _cue(section: object, where: str) -> Cue:
    if not isinstance(section, dict):
        raise SpecError(f"expected a section, found {_shown(section)}", where=where)
    _check_names(
        section, required=("opening", "within"), optional=("unless",), noun="key", where=where
    )
    within = section["within"]
    if type(within) is not int or not 1 <= within <= MOST_WITHIN:
        raise SpecError(
            f"expected `within` from 1 to {MOST_WITHIN} words, found {_shown(within)}",
            where=where,
            help="1 finds a phrase only where it begins the text",
        )
    phrases = _texts(section["opening"], "opening", where)
    if not phrases:
        raise SpecError(
            "expected phrases in `opening`, found none",
            where=where,
            help="list at least one phrase",
        )
    return Cue(phrases, _texts(section.get("unless", []), "unless", where), within)


def _texts(value: object, key: str, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise SpecError(
            f"expected a list of texts as `{key}`, found {_shown(value)}",
            where=where,
            help=f'write `{key} = ["I cannot", "I am unable to"]`',
        )
    for text in value:
        if not plain(text):
            raise SpecError(
                f"expected a phrase with a letter or digit in `{key}`, found {_shown(text)}",
                where=where,
            )
    return tuple(value)


def _check_names(
    found: Collection[str],
    *,
    required: Collection[str],
    optional: Collection[str],
    noun: str,
    where: str,
) -> None:
    known = [*required, *optional]
    for name in found:
        if name not in known:
            raise SpecError(
                f"there is no {noun} `{name:.80}`",
                where=where,
                help=suggest(name, known, f"{noun}s"),
            )
    for name in required:
        if name not in found:
            raise SpecError(
                f"the {noun} `{name}` is missing",
                where=where,
                help=f"{noun}s: {', '.join(f'`{each}`' for each in known)}",
            )


def _shown(value: object) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits.
        return "a very long number"
