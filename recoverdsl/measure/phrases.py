"""Lists of phrases by which refusals and safety cues are recognized, and the file that holds them."""

from __future__ import annotations

import hashlib
import json
import reprlib
import tomllib
from collections.abc import Collection, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from attrs import asdict, field, fields, frozen

from recoverdsl.errors import SpecError, UnavailableError
from recoverdsl.language.diagnostics.suggestions import suggest
from recoverdsl.language.schema.forms import DETECTORS
from recoverdsl.measure.beginning import Reading
from recoverdsl.measure.phrase_patterns import GAP, MOST_GAPS, Cue, Words, names_in, without_names
from recoverdsl.measure.plain_text import plain

LARGEST_FILE = 1 << 20
"""The largest file of phrases that is read, in bytes."""
MOST_WITHIN = 200
"""The largest `within`, in words."""
FORMATS = (1, 2)
"""In a file of format 1, which need not say so, phrases are literal; `phrases.toml` describes 2."""


@frozen
class Phrases:
    """The phrases of all detectors, and the words by which the parts of an answer are told apart."""

    cues: Mapping[str, Cue]
    """Each name in `DETECTORS` to its phrases."""
    reading: Reading = field(factory=lambda: load_phrases().reading)
    """Those of `phrases.toml` if not given."""

    @property
    def digest(self) -> str:
        """A digest of 64 hexadecimal digits, which changes when a detector may find something else.

        The order of the phrases, their case, their languages and comments in the file do not count.
        """
        content = {
            "cues": {name: [*cue.patterns(), cue.within] for name, cue in self.cues.items()},
            "reading": {
                name: sorted(set(map(plain, words))) for name, words in asdict(self.reading).items()
            },
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
    return _shipped() if path is None else _parse(_read(path), str(path))


@cache
def _shipped() -> Phrases:
    return _parse(_read(None), "phrases.toml")


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
    format = sections.pop("format", 1)
    if type(format) is not int or format not in FORMATS:
        raise SpecError(
            f"expected `format` 1 or 2, found {_shown(format)}",
            where=where,
            help="1, the same as none, takes phrases literally; `phrases.toml` describes 2",
        )
    optional = ("words", "reading") if format == 2 else ()
    for name in ("words", "reading"):
        if name in sections and format == 1:
            raise SpecError(
                f"the section `{name}` is for `format = 2`, found `format` 1 or none",
                where=where,
                help="write `format = 2` as the first line",
            )
    _check_names(sections, required=DETECTORS, optional=optional, noun="section", where=where)
    words = _words(sections.get("words", {}), f"{where}: [words]") if format == 2 else None
    cues = {name: _cue(sections[name], words, f"{where}: [{name}]") for name in DETECTORS}
    if "reading" not in sections:
        return Phrases(cues)
    return Phrases(cues, _reading(sections["reading"], f"{where}: [reading]"))


def _words(section: object, where: str) -> Words:
    found = []
    for name, value in _section(section, where).items():
        words = _texts(value, name, where)
        if not words:
            raise SpecError(f"expected words for `{name:.80}`, found none", where=where)
        found.append((name, words))
    return tuple(sorted(found))


def _reading(value: object, where: str) -> Reading:
    section = _section(value, where)
    names = [attribute.name for attribute in fields(Reading)]
    _check_names(section, required=names, optional=(), noun="key", where=where)
    return Reading(**{name: _by_language(section[name], name, where) for name in names})


def _cue(value: object, words: Words | None, where: str) -> Cue:
    section = _section(value, where)
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
    read = _texts if words is None else _by_language
    opening = read(section["opening"], "opening", where)
    if not opening:
        raise SpecError(
            "expected phrases in `opening`, found none",
            where=where,
            help="list at least one phrase",
        )
    unless = read(section.get("unless", []), "unless", where)
    if words is not None:
        for phrase in (*opening, *unless):
            _check_phrase(phrase, [name for name, _ in words], where)
    return Cue(opening, unless, within, words=words)


def _check_phrase(phrase: str, names: list[str], where: str) -> None:
    """Check that the names in braces are known, and that gaps are few and between words."""
    for name in names_in(phrase):
        if name not in names:
            raise SpecError(
                f"there are no words `{name:.80}`",
                where=where,
                why=f"the phrase {_shown(phrase)} has that name in braces",
                help=suggest(name, names, "words"),
            )
    if set("{}") & set(without_names(phrase)):
        raise SpecError(
            f"expected a name between braces, found {_shown(phrase)}",
            where=where,
            help="write `{name}`, with the name of a list of [words]",
        )
    if phrase.count(GAP) > MOST_GAPS:
        raise SpecError(
            f"expected at most {MOST_GAPS} gaps in a phrase, found {_shown(phrase)}",
            where=where,
            help="write two phrases, or fewer words",
        )
    if phrase.strip().endswith(GAP):
        raise SpecError(
            f"expected words after the last {GAP}, found {_shown(phrase)}",
            where=where,
            help=f"a phrase goes on as it likes: leave the last {GAP} out",
        )


def _section(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SpecError(f"expected a section, found {_shown(value)}", where=where)
    return value


def _by_language(value: object, key: str, where: str) -> tuple[str, ...]:
    """Return the texts of a list, or of several lists, each under the name of its language."""
    if not isinstance(value, dict):
        return _texts(value, key, where)
    lists = (_texts(texts, f"{key}.{language}", where) for language, texts in value.items())
    return tuple(text for texts in lists for text in texts)


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
