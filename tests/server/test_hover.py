"""Hover explains every word of the vocabulary and shows the definition of every name."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest
from lsprotocol.types import Hover, MarkupContent, MarkupKind

from recoverdsl.language import schema
from recoverdsl.language.schema.fields import keys
from recoverdsl.server.document import Document
from recoverdsl.server.hover import hover
from tests.language.texts import FULL, SMALL
from tests.server.places import TEXTS, at, on


def said(found: Hover | None) -> str:
    assert found
    assert isinstance(found.contents, MarkupContent)
    return found.contents.value


@pytest.mark.parametrize("name", TEXTS)
def test_every_word_of_the_specs_says_something(name: str) -> None:
    text = TEXTS[name]
    document = Document(text)
    for token in document.tokens:
        keyword = token.type in (
            "LIKE",
            "AT",
            "EXCEPT",
            "OF",
            "AND",
            "OR",
            "NOT",
            "IN",
            "TRUE",
            "FALSE",
        )
        if token.isidentifier() and not keyword and token != "zipped":
            found = hover(document, token.start_pos + 1)
            assert found, text[token.start_pos - 20 : token.end_pos]
            assert found.range == document.lines.range(token.start_pos, token.end_pos)


def vocabulary() -> Iterator[tuple[str, str]]:
    """Yield a text with a cursor for every word, and a sentence that its hover must contain."""
    for kind, cls in schema.BLOCKS.items():
        yield f"|{kind} x {{}}" if kind != "stage" else "attack x { |stage y {} }", str(cls.__doc__)
        for key, a in keys(cls).items():
            head = f"{kind} x" if kind != "stage" else "attack a { stage x"
            text = f"{head} {{ |{key} = 1 }}" if key != "stage" else "attack x { |stage y {} }"
            yield text, schema.Stage.__doc__ if key == "stage" else a.metadata["doc"]  # type: ignore[misc]
    for name, cls in schema.FUNCTIONS.items():
        for kind, key in uses(cls):
            yield f"{kind} x {{ {key} = |{name}(1) }}", str(cls.__doc__)
            for argument, a in keys(cls).items():
                yield f"{kind} x {{ {key} = {name}(|{argument} = 1) }}", a.metadata["doc"]
    for name, metric in schema.METRICS.items():
        yield f"measure {{ |{name} = wilson() }}", metric.doc
        yield f"expect |{name}(go) > 1", metric.doc
    by = attrs.fields(schema.Expectation).by.metadata["doc"]
    yield "expect drift(go) <= 1 |by estimate", by
    yield "expect drift(go) <= 1 by |estimate", by
    for name, doc in schema.DETECTORS.items():
        yield f"behavior x {{ holds = not |{name} }}", doc
    for word, position in schema.POSITIONS.items():
        for meaning in filter(None, (position.clamped, position.perturbed)):
            yield f"intervene x {{ at = [first, |{word}] }}", meaning
            yield f"attack x {{ perturb = mid at |{word} }}", meaning
    for word, doc in schema.STATEMENTS.items():
        yield f"|{word}", doc


def uses(cls: type) -> list[tuple[str, str]]:
    """Yield the attributes that may call a function."""
    return [
        (kind, key)
        for kind, block in schema.BLOCKS.items()
        if kind != "stage"
        for key, a in keys(block).items()
        if cls.__name__ in str(a.type)
    ][:1] or [("protect", "select")]


@pytest.mark.parametrize(("text", "doc"), list(vocabulary()))
def test_every_word_says_what_it_means(text: str, doc: str) -> None:
    document, offset = at(text)
    for further in (0, 1):
        assert doc in said(hover(document, offset + further))


def test_an_argument_has_type_unit_range_default_and_source() -> None:
    document, offset = at("attack a { find = smallest_norm(|within = 5%) }")
    assert said(hover(document, offset)) == (
        "**within** of `smallest_norm`\n\nRelative width at which the bisection stops.\n\n"
        "- Type: a number.\n- Unit: a share, which may be written with `%`.\n"
        "- Range: above 0, at most 0.5.\n- Default: `5%`."
    )
    document, offset = at("attack a { |limit = norm <= 3 }")
    assert "- In the paper: C4." in said(hover(document, offset))
    document, offset = at("attack a { |maximize = says }")
    assert "- Required." in said(hover(document, offset))


@pytest.mark.parametrize(
    ("text", "default"),
    [
        ("attack a { |with = adam() }", "`adam(lr = 0.1)`"),
        ("intervene a { |at = first }", "`[every_token, generated]`"),
        ("protect a { select = top(3, by = attribution(says, |at = first)) }", "`every_token except first`"),
        ("attack a { |stop = never }", "`recovered`"),
        ("data a { |chat = true }", "`false`"),
        ("control a { |draws = 3 }", "`8`"),
    ],
)  # fmt: skip
def test_a_default_is_shown_as_a_spec_would_say_it(text: str, default: str) -> None:
    document, offset = at(text)
    assert f"- Default: {default}." in said(hover(document, offset))


def test_a_name_says_what_it_is() -> None:
    text = (
        "# What may\n# be spent.\nbudget small { steps = 3 }\nattack a like go { budget = |small }"
    )
    assert said(hover(*at(text))) == (
        f"```rec\nbudget small\n```\n\nWhat may be spent.\n\n{schema.Budget.__doc__}"
    )
    assert "```rec\nparam layer = 14 in 0..29\n```" in said(hover(*on(FULL, "layer - 2")))
    assert "```rec\nattack go\n```" in said(hover(*at("attack b like |go {}")))


def test_a_name_wins_over_a_word() -> None:
    text = SMALL.replace("mid", "first")
    assert "```rec\nsae first\n```" in said(
        hover(*at(text + "protect p { in = |first }", whole=True))
    )
    assert "position 0" in said(hover(*at(text + "intervene i { at = |first }", whole=True)))


@pytest.mark.parametrize(
    "text",
    ["# at|tack", 'audit "at|tack"', "attack a {| }", "attack a { steps = 1|2 }", "attack ne|w", "|",
     "attack a { nonsen|se = 3 }", "attack a { steps = nonsen|se }", "attack a { with = adam(nonsen|se = 3) }"],
)  # fmt: skip
def test_nothing_is_said_of_what_means_nothing(text: str) -> None:
    assert hover(*at(text)) is None


def test_plain_text_for_an_editor_without_markdown() -> None:
    found = hover(*at("|attack a {}"), markup=MarkupKind.PlainText)
    assert found
    assert isinstance(found.contents, MarkupContent)
    assert found.contents.kind == MarkupKind.PlainText
