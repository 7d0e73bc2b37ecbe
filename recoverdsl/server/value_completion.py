"""Completion inside a value: the functions, words, names and arguments that its type allows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args, get_origin

from lsprotocol.types import CompletionItemKind as Kind

from recoverdsl.errors import UnavailableError
from recoverdsl.language import schema
from recoverdsl.language.checker.scope import SAME_SPACE
from recoverdsl.language.schema import descriptions as meaning
from recoverdsl.language.schema.fields import describe, hints
from recoverdsl.language.schema.strongest import STRONGEST
from recoverdsl.server.cursor import Cursor, is_string
from recoverdsl.server.document import Document
from recoverdsl.server.expected_type import (
    COMPARISONS,
    FUNCTION_NAMES,
    SAMES,
    Expected,
    argument_doc,
    parameters,
)
from recoverdsl.server.offers import Offer, call_snippet, escaped, named, names, referred
from recoverdsl.sources import sae_lens_table

_SITE = re.compile(r"\b\w+\.layers\[ *(\d+) *\]\.(?:input|output)\b")


def offer_values(cursor: Cursor, expected: Expected, document: Document) -> Iterator[Offer]:
    """Yield what may be written at the cursor in a value."""
    if cursor.word and is_string(cursor.word):
        yield from _texts(cursor, expected)
        return
    if expected.call and not expected.call.key and not expected.before:
        yield from _arguments(cursor, expected)
        if cursor.after == "=":
            return
    fresh = []
    for one, before in expected.narrowed():
        if before:
            yield from _continuations(one, before, cursor)
        else:
            fresh.append(one)
            yield from _beginnings(one, cursor, expected)
    if schema.Site in fresh:
        sites = dict.fromkeys(found[0] for found in _SITE.finditer(document.text))
        yield from (Offer(site, Kind.Value, rank=3) for site in sites)
    if expected.layer:
        layers = {int(found[1]) for found in _SITE.finditer(document.text)}
        yield from (Offer(str(layer), Kind.Value, rank=3) for layer in sorted(layers))
    yield from _params(cursor, fresh)


def _beginnings(one: Any, cursor: Cursor, expected: Expected) -> Iterator[Offer]:
    """Yield what a value of a type may begin with."""
    if kinds := referred(one):
        for kind, name in named(cursor, kinds):
            yield Offer(name, Kind.Reference, detail=f"{kind} {name}")
        # Attacks and controls alike are asked for in expectations alone.
        if set(kinds) >= SAME_SPACE and names(cursor, ["attack"]):
            yield Offer(STRONGEST, Kind.Reference, detail="the worst case over attacks")
    elif one in FUNCTION_NAMES:
        name = FUNCTION_NAMES[one]
        snippet = call_snippet(name, parameters(name)[0], cursor)
        yield Offer(name, Kind.Function, snippet, meaning.function(name), meaning.signature(name))
    elif get_origin(one) is Literal:
        yield from (Offer(word, Kind.EnumMember) for word in get_args(one))
    elif one is bool:
        yield from (Offer(word, Kind.EnumMember) for word in ("true", "false"))
    elif one is schema.Positions:
        for word, known in schema.POSITIONS.items():
            if known.perturbed if expected.perturbs else known.clamped:
                yield Offer(word, Kind.EnumMember, None, meaning.position(word), "positions")
    elif one is schema.Predicate:
        for word in schema.DETECTORS:
            yield Offer(word, Kind.EnumMember, None, meaning.detector(word), "detector")
        yield Offer("not", Kind.Operator, rank=3)
    elif one is schema.Site:
        for name in names(cursor, ["model"]):
            rest = "" if cursor.after == "." else ".layers[$1].output"
            yield Offer(name, Kind.Reference, f"{name}{rest}", detail=describe(one), rank=2)
    elif one is schema.Expectation:
        for name, metric in schema.METRICS.items():
            snippet = call_snippet(name, parameters(name, [one])[0], cursor)
            yield Offer(name, Kind.Function, snippet, meaning.metric(name), metric.unit or "")
    yield from _form_words(schema.Score if one is schema.Term else one, cursor)


def _form_words(form: Any, cursor: Cursor) -> Iterator[Offer]:
    """Yield the words with which an expression form begins."""
    for word, known in schema.WORDS.items():
        if form in known.forms and known.example.startswith(word):
            snippet = re.sub(r"\d[\d.]*", lambda m: f"${{1:{m[0]}}}", escaped(known.example))
            doc = meaning.form_word(schema.WORDS, word)
            yield Offer(word, Kind.Value, snippet, doc, describe(form), rank=2)
    for word, known in schema.CALLS.items():
        if form in known.forms:
            snippet = call_snippet(word, parameters(word, [form])[0], cursor)
            doc = meaning.form_word(schema.CALLS, word)
            yield Offer(word, Kind.Function, snippet, doc, known.example, rank=2)


def _continuations(one: Any, before: Sequence[str], cursor: Cursor) -> Iterator[Offer]:
    """Yield what may follow the beginning of an expression form."""
    following: Sequence[str] = ()
    if one is schema.Site and before[-1] == ".":
        sides = get_args(hints(schema.Site)["side"])
        for word in sides if "layers" in before else ("layers",):
            snippet = None if word in sides or cursor.after == "[" else f"{word}[$1]"
            yield Offer(word, Kind.Property, snippet, meaning.form_word(schema.PLACES, word))
        return
    if one is schema.Limit and before == ["norm"]:
        following = ("<=",)
    elif one is schema.Expectation and before[-1] == "()":
        following = COMPARISONS
    elif one is schema.Predicate and before in (["top_token"], ["text"], ["most_likely", "()"]):
        following = SAMES
    elif one is schema.Predicate and before[-1] == "()" and len(before) == 2:
        following = COMPARISONS
    elif (
        one is schema.BehaviorOf and len(before) == 1 and before[0] in names(cursor, ["behavior"])
    ) or (one is schema.AnswerOf and before == ["base_answer"]):
        following = ("of",)
    yield from (Offer(word, Kind.Operator) for word in following)


def _arguments(cursor: Cursor, expected: Expected) -> Iterator[Offer]:
    """Yield the names of the arguments that the call does not have yet."""
    assert expected.call
    for parameter in expected.call.parameters:
        if parameter.named and parameter.key not in expected.call.given:
            written = parameter.key if cursor.after == "=" else f"{parameter.key} = $1"
            doc = argument_doc(expected.call, parameter.key)
            rank = 0 if parameter.required else 4
            yield Offer(
                parameter.key, Kind.Property, written, doc, describe(parameter.annotation), rank
            )


def _params(cursor: Cursor, types: Sequence[Any]) -> Iterator[Offer]:
    """Yield the params whose value is of one of these types."""
    for name, token in cursor.params.items():
        if is_string(token):
            fits = str in types
        elif token in ("true", "false"):
            fits = bool in types
        else:
            fits = int in types or float in types
        if fits:
            yield Offer(name, Kind.Constant, detail=f"param {name} = {token}", rank=2)


def _texts(cursor: Cursor, expected: Expected) -> Iterator[Offer]:
    """Yield what may be written inside quotes: words of the language, releases and their SAEs."""
    call = expected.call
    if not call or not call.next:
        return
    found: Sequence[str] = [
        w for one in expected.items if get_origin(one) is Literal for w in get_args(one)
    ]
    if call.cls is schema.Release:
        found = _pretrained(None if call.next.key == "release" else _release(cursor))
    yield from (Offer(text, Kind.Value) for text in found)


def _pretrained(release: str | None) -> list[str]:
    """List the releases that sae_lens knows, or the SAEs of one; nothing if it is not installed."""
    try:
        if release is None:
            return sae_lens_table.releases()
        section = sae_lens_table.section(release)
    except UnavailableError:
        return []
    return [str(sae["id"]) for sae in section["saes"]] if section else []


def _release(cursor: Cursor) -> str:
    """Return the release that a call names before the cursor, or an empty text."""
    texts = [token for token in cursor.before if is_string(token)]
    return texts[-1].strip('"') if texts else ""
