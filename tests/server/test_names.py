"""Definitions, references, highlights, and names that change without the spec changing."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsprotocol.types import DocumentHighlightKind, Location, TextEdit

from recoverdsl.compiler.compile import compile_spec
from recoverdsl.errors import UsageError
from recoverdsl.language import Symbol, canonical, check, schema
from recoverdsl.server.document import Document
from recoverdsl.server.navigation import definitions, highlights, references
from recoverdsl.server.rename import prepare, rename
from tests.language.texts import FULL
from tests.server.places import SPECS, TEXTS, at, on


def shown(document: Document, found: Sequence[Location]) -> list[str]:
    """Return the rest of the line from each place on."""
    lines = document.text.split("\n")
    return [lines[one.range.start.line][one.range.start.character :] for one in found]


# --- Where names are --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "head"),
    [
        ("smollm2.layers[4]", "smollm2 {"),
        ("mid, late]", "mid {"),
        ("layer - 2", "layer = 14 in 0..29"),
        ("requests {\n  from = huggingface", "requests {"),
        ("others), each", "others like requests {"),
        ("says_yes\n  budget", "says_yes {"),
        ("refusing)", "refusing like requests {"),
        ("small\n  preserve", "small {"),
        ("recover) <= 5%", "recover {"),
        ("recover {\n  parts", "recover {"),
        ("recover.opening", "recover {"),
        ("opening.steps", "opening { perturb = late"),
        ("direct.find", "direct {"),
        ("unrelated) > 2", "unrelated {"),
    ],
)
def test_from_a_use_to_the_definition(use: str, head: str) -> None:
    document, offset = on(FULL, use)
    (line,) = shown(document, definitions(document, offset))
    assert line.startswith(head)


@pytest.mark.parametrize("name", TEXTS)
def test_every_name_leads_to_its_definition_and_back(name: str) -> None:
    document = Document(TEXTS[name])
    index = document.checked.index
    for symbol, (definition,) in index.definitions.items():
        home = document.lines.of(definition.place.span)
        for place in index.places(symbol):
            for offset in (place.span.start, place.span.end):
                (found,) = definitions(document, offset)
                assert found.range == home
                every = references(document, offset)
                uses = references(document, offset, declaration=False)
                assert document.lines.of(place.span) in [one.range for one in every]
                assert [one for one in every if one.range != home] == uses


def test_a_definition_is_written_and_a_use_is_read() -> None:
    document, offset = on(FULL, "small {")
    kinds = [one.kind for one in highlights(document, offset)]
    assert kinds == [DocumentHighlightKind.Write, DocumentHighlightKind.Read]


def test_a_name_in_a_statement_that_cannot_be_read() -> None:
    document, offset = at("attack a like go { perturb = mi|d at = }\n")
    (line,) = shown(document, definitions(document, offset))
    assert line.startswith("mid {")


@pytest.mark.parametrize("text", ["attack a like go { sto|p = never }", "# go|", "attack a { nothing = no|w }"])  # fmt: skip
def test_what_is_no_name_leads_nowhere(text: str) -> None:
    document, offset = at(text)
    assert definitions(document, offset) == []
    assert references(document, offset) == []
    assert highlights(document, offset) == []
    assert prepare(document, offset) is None


# --- Rename -----------------------------------------------------------------------------------


def edited(document: Document, edits: Sequence[TextEdit]) -> str:
    text = document.text
    for edit in reversed(edits):
        start = document.lines.offset(edit.range.start)
        end = document.lines.offset(edit.range.end)
        text = text[:start] + edit.new_text + text[end:]
    return text


def meaning(text: str, old: str, new: str) -> Any:
    """Return the meaning of a spec with one name replaced by another."""
    spec = check(text).spec
    assert spec
    whole = rf"(?<!\w){old}(?!\w)"

    def change(value: Any, field: str = "") -> Any:
        if isinstance(value, dict):
            # A mapping with a class holds fields, any other holds names.
            fields = (
                value.items()
                if "class" in value
                else [(re.sub(whole, new, n), v) for n, v in value.items()]
            )
            return {name: change(one, name if "class" in value else "") for name, one in fields}
        if isinstance(value, list):
            changed = [change(one) for one in value]
            return sorted(changed, key=str) if field == "expects" else changed
        if field == "text":
            return re.sub(whole, new, value)
        # A label or a column is no name, though it may read like one.
        return new if value == old and field not in ("label", "answer") else value

    return change(
        json.loads(json.dumps({"spec": canonical(spec), "params": canonical(spec.params)}))
    )


PLAIN = [
    (name, symbol)
    for name, text in TEXTS.items()
    for symbol in check(text).index.definitions
    # Only symbols whose name nothing else has, so that the name identifies them in the meaning.
    if len(check(text).index.named(symbol.name)) == 1
]
names = st.from_regex(r"n_[a-z0-9_é𝒜]{0,9}", fullmatch=True)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(PLAIN), names, st.data())
def test_after_a_rename_the_spec_is_the_same_up_to_the_name(
    chosen: tuple[str, Symbol], new: str, data: st.DataObject
) -> None:
    text, symbol = TEXTS[chosen[0]], chosen[1]
    document = Document(text)
    index = document.checked.index
    place = data.draw(st.sampled_from(index.places(symbol)))
    edits = rename(document, place.span.start, new)
    assert len(edits) == len(index.places(symbol))
    after = edited(document, edits)
    assert meaning(after, new, new) == meaning(text, symbol.name, new)
    again = Document(after)
    back = rename(again, again.lines.offset(edits[0].range.start), symbol.name)
    assert edited(again, back) == text


def digests(text: str) -> set[str]:
    """Return the digests of the steps whose results are stored."""
    spec = check(text).spec
    assert spec
    graph = compile_spec(spec, lambda block: type(block).__name__, {"device": "cpu"})
    return {node.digest for node in graph if node.stored}


@pytest.mark.parametrize("name", SPECS)
def test_a_rename_changes_no_digest_of_a_step(name: str) -> None:
    text = SPECS[name]
    for number in range(len(check(text).index.definitions)):
        document = Document(text)
        index = document.checked.index
        place = index.places(list(index.definitions)[number])[0]
        text = edited(document, rename(document, place.span.start, f"x{number}"))
    assert len(set(re.findall(r"\bx\d+\b", text))) == number + 1
    assert digests(text) == digests(SPECS[name])


@pytest.mark.parametrize(
    ("new", "why"),
    [
        ("", "expected a name"),
        ("2x", "expected a name"),
        ("a b", "expected a name"),
        ("a.b", "expected a name"),
        ("a-b", "expected a name"),
        ("at", "expected a name"),
        ("in", "expected a name"),
        ("like", "expected a name"),
        ("true", "expected a name"),
        ("x # y", "expected a name"),
        ("x\n", "expected a name"),
        ("suffix", "already defined"),
        ("noise", "already defined"),
        ("layer", "already defined"),
    ],
)
def test_a_name_that_cannot_be_is_refused(new: str, why: str) -> None:
    text = FULL + "control noise { of = direct; with = random_direction }\n"
    document, offset = on(text, "direct {")
    with pytest.raises(UsageError, match=why):
        rename(document, offset, new)


def test_names_of_other_spaces_are_free() -> None:
    document, offset = on(FULL, "direct {")
    assert rename(document, offset, "smollm2")
    document, offset = on(FULL, "layer = 14")
    with pytest.raises(UsageError, match="already defined"):
        rename(document, offset, "smollm2")


@pytest.mark.parametrize("word", ["norm", "first", "refuses", "never"])
def test_a_param_cannot_take_the_place_of_a_word(word: str) -> None:
    text = "param p = 3\nattack a like go { steps = |p; stop = never }\n"
    with pytest.raises(UsageError, match="change the meaning"):
        rename(*at(text), word)


def test_a_name_that_also_stands_where_nothing_can_be_read_is_not_changed() -> None:
    with pytest.raises(UsageError, match="cannot be parsed"):
        rename(*at("attack |a like go {}\nexpect drift(a) <= = 3\n"), "b")
    assert rename(*at("attack |a like go {}\nexpect drift(go) <= = 3\n"), "b")


def test_a_stage_that_replaces_another_keeps_doing_so() -> None:
    stage = "stage one { perturb = mid at last_token; limit = norm <= 1 }"
    text = f"attack a {{ maximize = says; |{stage} }}\nattack b like a {{ {stage} }}\n"
    document, offset = at(text.replace("|stage one", "stage |one"))
    after = edited(document, rename(document, offset, "two"))
    assert after.count("stage two") == 2
    other = text.replace("like a { stage one", "like a { stage other { perturb = mid at last_token; limit = norm <= 1 }; stage one")  # fmt: skip
    document, offset = at(other.replace("|stage one", "stage |one"))
    with pytest.raises(UsageError, match="change the meaning"):
        rename(document, offset, "other")


def test_what_can_be_renamed_is_shown_with_its_name() -> None:
    document, offset = on(FULL, "recover) <= 5%")
    found = prepare(document, offset)
    assert found
    assert found.placeholder == "recover"
    assert found.range == document.lines.range(offset - 1, offset + 6)


def test_every_kind_of_block_with_a_name_can_be_renamed() -> None:
    spaces = {symbol.space for symbol in check(FULL).index.definitions}
    shared = {"control", "attribute"}
    assert spaces == {*schema.BLOCKS, "param", "sweep"} - shared
