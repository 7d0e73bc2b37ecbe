"""Completion offers every word of the shipped specs and none that is invalid, also in incomplete text."""

from __future__ import annotations

import re

import pytest
from lsprotocol.types import CompletionItem, InsertTextFormat

from recoverdsl.language import check, schema
from recoverdsl.language.schema import KINDS
from recoverdsl.language.schema.fields import keys
from recoverdsl.server.completion import MOST, complete
from recoverdsl.server.document import Document
from recoverdsl.server.expected_type import required
from tests.language.texts import FULL, SMALL
from tests.server.places import SPECS, TEXTS, at


def items(text: str, *, whole: bool = False, snippets: bool = True) -> dict[str, CompletionItem]:
    """Return what is offered at the `|`, in order."""
    document, offset = at(text, whole=whole)
    found = complete(document, offset, snippets=snippets).items
    return {item.label: item for item in sorted(found, key=lambda item: item.sort_text or "")}


def labels(text: str, *, whole: bool = False) -> list[str]:
    return list(items(text, whole=whole))


# --- Against the specs ------------------------------------------------------------------------


def words(text: str) -> list[tuple[int, int]]:
    """Return the place of every word of a text, except numbers and the names in definitions."""
    document = Document(text)
    index = document.checked.index
    given = {d.place.span.start for found in index.definitions.values() for d in found}
    return [
        (token.start_pos, token.end_pos)
        for token in document.tokens
        if token.isidentifier() and token.start_pos not in given
    ]


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("typed", [0, 1])
def test_every_word_is_offered_where_it_stands(name: str, typed: int) -> None:
    """Complete with the rest of the file after the cursor, as when one changes a word."""
    text = TEXTS[name]
    for start, end in words(text)[2 * typed :: 4]:
        if text[start - 1] == "." and not typed:
            continue  # without a letter the dots on both sides would become one
        changed = text[: start + typed] + text[end:]
        found = complete(Document(changed), start + typed)
        assert text[start:end] in [item.label for item in found.items], text[start - 30 : end]


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("typed", [0, 1])
def test_every_word_is_offered_at_the_end_of_a_file(name: str, typed: int) -> None:
    """Complete with nothing after the cursor, as when one types a file from its top."""
    text = TEXTS[name]
    defined = {symbol.name for symbol in check(text).index.definitions}
    for start, end in words(text)[2 * typed :: 4]:
        found = complete(Document(text[: start + typed]), start + typed)
        known = text[start:end] not in defined or text[start:end] in text[:start]
        assert not known or text[start:end] in [item.label for item in found.items]


UNKNOWN = {"REC201", "REC203", "REC204", "REC205", "REC206", "REC210", "REC211", "REC212"}
"""The codes of unknown words."""


@pytest.mark.parametrize("name", ["ioi", "full"])
def test_what_is_offered_is_a_word_there(name: str) -> None:
    text = TEXTS[name]
    for start, end in words(text)[::29]:
        changed = text[:start] + text[end:]
        for item in complete(Document(changed), start, snippets=False).items:
            assert item.text_edit
            new = item.text_edit.new_text
            after = check(text[:start] + new + text[end:])
            wrong = [d for d in after.diagnostics if d.code in UNKNOWN]
            assert not [d for d in wrong if d.span.start <= start <= d.span.end], (new, wrong)


@pytest.mark.parametrize("name", SPECS)
def test_every_prefix_is_answered(name: str) -> None:
    text = SPECS[name]
    for cut in [found.end() for found in re.finditer(r"\w+\b|\W", text)][::7]:
        complete(Document(text[:cut]), cut)


# --- Where a statement begins -----------------------------------------------------------------


def test_at_the_top_are_the_blocks() -> None:
    found = labels("|")
    assert found[: len(KINDS)] == sorted(KINDS)
    assert {"param", "expect", "audit"} < set(found)
    assert "recoverdsl" not in found
    assert labels("|", whole=True)[0] == "recoverdsl"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind in schema.BLOCKS])
def test_a_block_comes_with_what_it_needs(kind: str) -> None:
    (item,) = [found for label, found in items("|").items() if label == kind]
    assert item.insert_text_format == InsertTextFormat.Snippet
    assert item.text_edit
    text = item.text_edit.new_text
    needed = [key for key, a in keys(schema.BLOCKS[kind]).items() if required(a)]
    assert re.findall(r"^  (\w+) *=", text, re.M) == needed
    plain = re.sub(r"\$\{\d+:([^}]*)\}|\$\d+", r"\1", text)
    codes = {d.code for d in check(SMALL + plain).diagnostics}
    assert not codes & UNKNOWN
    assert "REC304" not in codes


def test_attributes_that_are_needed_come_first_and_none_comes_twice() -> None:
    found = items("attack a {\n  steps = 3\n  |\n  limit = norm <= 3\n}\n")
    assert next(iter(found)) == "maximize"
    assert not {"steps", "limit"} & set(found)
    inherited = labels("attack a like go {\n  |\n}\n")
    assert {"maximize", "perturb"} < set(inherited)
    assert inherited[0] == "budget"


def test_an_attribute_can_be_changed_for_another() -> None:
    found = items("attack a {\n  ste|ps = 3\n}\n")
    assert found["steps"].text_edit
    assert found["steps"].text_edit.new_text == "steps"


def test_names_after_like() -> None:
    text = "attack a { maximize = says }\nattack b like |"
    assert labels(text) == ["a", "go"]
    assert labels("attack b |") == ["like"]


def test_an_attribution_is_named_after_an_attack() -> None:
    assert labels("control c { of = go }\nattribute |") == ["go"]


def test_metrics_in_a_measure() -> None:
    found = items("measure {\n  drift = bootstrap(95%)\n  |\n}")
    assert set(found) == set(schema.METRICS) - {"drift"}
    assert found["recovery_rate"].text_edit
    assert found["recovery_rate"].text_edit.new_text == "recovery_rate = wilson($1)"
    assert labels("measure {\n  drift = |\n}") == ["bootstrap"]
    assert labels("measure {\n  recovery_rate = |\n}") == ["bootstrap", "wilson"]


def test_axes_of_a_sweep() -> None:
    full = FULL[: FULL.index("sweep budgets")]
    assert {"direct", "layer", "zipped"} < set(labels(full + "sweep s {\n  |\n}", whole=True))
    assert "opening" in labels(full + "sweep s {\n  recover.|\n}", whole=True)
    assert "steps" in labels(full + "sweep s {\n  recover.opening.|\n}", whole=True)
    assert "recover" in labels(full + "sweep s {\n  attack.|\n}", whole=True)
    assert "find" in labels(full + "sweep s {\n  attack.direct.|\n}", whole=True)
    assert labels(full + "sweep s {\n  direct.stop = [|\n}", whole=True) == ["never", "recovered"]


# --- Inside values ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("attack a { preserve = |", ["by_construction", "jacobian", "jacobian_sketch", "orthogonal"]),
        ("attack a { preserve = orth|", ["orthogonal"]),
        ("attack a { preserve = orthogonal(|", ["protect", "kept"]),
        ("attack a { preserve = orthogonal(protect = |", ["kept"]),
        ("attack a { preserve = jacobian_sketch(kept, |", ["probes"]),
        ("attack a { maximize = |", ["says", "logprob"]),
        ("attack a { maximize = logprob(|", ["base_answer", "tokens"]),
        ("attack a { with = adam(|", ["lr"]),
        ("attack a { with = adam(lr = |", []),
        ("attack a { stop = |", ["never", "recovered"]),
        ("attack a { limit = |", ["norm"]),
        ("attack a { limit = norm |", ["<="]),
        ("attack a { perturb = |", ["mid", "m", "m.layers[14].output"]),
        ("attack a { perturb = [mid at last_token, |", ["mid", "m", "m.layers[14].output"]),
        ("attack a { perturb = mid |", ["at"]),
        ("attack a { perturb = m.|", ["layers"]),
        ("attack a { perturb = m.layers[|", ["14"]),
        ("attack a { perturb = m.layers[3].|", ["input", "output"]),
        ("attack a { perturb = mid at gen|", ["every_generated_token"]),
        ("attack a { perturb = mid at [last_token, ta|", ["target_tokens"]),
        ("intervene i { at = gen|", ["generated"]),
        ("intervene i { at = every_token |", ["except"]),
        ("intervene i { to = |", ["activation", "mean_when"]),
        ("intervene i { to = 2 * |", ["activation", "mean_when"]),
        ("intervene i { to = 2 * mean_when(|", ["rows"]),
        ("intervene i { set = |", ["kept"]),
        ("behavior b { holds = |", ["opens_with_safety_cue", "refuses", "judge", "score", "not", "top_token", "text", "logit", "logprob", "rank", "probability", "most_likely"]),
        ("behavior b { holds = top_token |", ["==", "!="]),
        ('behavior b { holds = top_token == " a" |', ["and", "or"]),
        ('behavior b { holds = rank(" a") |', ["<", "<=", ">", ">="]),
        ('behavior b { holds = rank(" a") <= 3 |', ["and", "or"]),
        ('behavior b { holds = most_likely("A", "B") |', ["==", "!="]),
        ('behavior b { holds = logit(" a") > |', ["logit", "logprob"]),
        ('behavior b { holds = top_token == " a" and ran|', ["rank"]),
        ("behavior b { holds = not ref|", ["refuses"]),
        ("behavior b { holds = refuses |", ["and", "or"]),
        ("behavior b { holds = score > 0 |", ["and", "or"]),
        ("behavior b { score = |", ["logit", "logprob"]),
        ('behavior b { score = logit(" a") |', ["at"]),
        ('behavior b { score = logit(" a") - |', ["logit", "logprob"]),
        ('behavior b { score = logit(" a") at las|', ["last_token"]),
        ("control c { of = |", ["go"]),
        ("control c { target = |", ["base_answer", "says"]),
        ("control c { target = says |", ["of"]),
        ("control c { target = says of |", ["another_example"]),
        ("control c { target = base_answer |", ["of"]),
        ("control c { target = base_answer of |", ["another_example"]),
        ("control c { with = |", ["random_direction"]),
        ("data d { chat = |", ["false", "true"]),
        ("protect p { select = [|", ["features"]),
        ("protect p { select = top(3, by = |", ["attribution", "contrast"]),
        ("protect p { select = top(3, by = contrast(rows, against = |", ["rows", "says"]),
        ("sae s { reads = |", ["m", "m.layers[14].output"]),
        ("expect recovery_rate(|", ["go", "norm", "strongest"]),
        ("expect recovery_rate(go, |", ["norm"]),
        ("expect recovery_rate(go) |", ["<", "<=", ">", ">="]),
        ("expect recovery_rate(go) <= 5% |", ["by"]),
        ("expect recovery_rate(go) <= 5% by |", ["estimate", "interval"]),
        ("expect recovery_rate(go) <= 5% by estimate |", []),
        ("expect dri|", ["activation_drift", "active_drift", "decode_drift", "drift", "generated_drift"]),
        ("param steps = 3\nattack a { steps = |", ["steps"]),
        ("param steps = 3\nattack a { find = smallest_norm(within = |", ["steps"]),
        ('param steps = "3"\nattack a { steps = |', []),
        ("param steps = 3 |", ["in"]),
    ],
)  # fmt: skip
def test_values(text: str, expected: list[str]) -> None:
    for rest in ("", "\n}\n", "\n  stop = never\n}\n\nattack later like go {}\n"):
        if text.startswith(("expect", "param steps = 3 |")) and rest:
            continue
        found = [label for label in labels(text + rest) if label != "later"]
        assert sorted(found) == sorted(expected)


def test_a_call_comes_with_what_it_needs() -> None:
    found = items("model x { from = |")
    assert found["pypi"].text_edit
    assert found["pypi"].text_edit.new_text == 'pypi("$1", file = "$2")'
    assert (
        items("attack a { preserve = |")["orthogonal"].text_edit.new_text == "orthogonal(${1:kept})"
    )  # type: ignore[union-attr]
    plain = items("attack a { preserve = |", snippets=False)["orthogonal"]
    assert plain.text_edit
    assert plain.text_edit.new_text == "orthogonal(kept)"
    assert plain.insert_text_format == InsertTextFormat.PlainText


def test_the_word_in_front_of_the_cursor_is_replaced() -> None:
    document, offset = at("attack a { preserve = orth|")
    (item,) = complete(document, offset).items
    assert item.text_edit
    where = document.lines.range(offset - 4, offset)
    assert item.text_edit.range == where  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "text",
    ["# att|", "audit |", 'audit "att|"', "attack |", "model a { sha256 = |", "attack a { limit = norm <= 2|",
     'model a { from = folder("|', "nonsense { |", "attack a { nonsense = |", "expect 3 + |"],
)  # fmt: skip
def test_where_nothing_is_known_nothing_is_offered(text: str) -> None:
    assert labels(text) == []


def test_a_description_says_what_a_word_means() -> None:
    item = items("attack a { |")["limit"]
    assert item.detail == "a budget, such as `norm <= 20`"
    assert "Largest norm of δ." in item.documentation.value  # type: ignore[union-attr]


# --- Releases ---------------------------------------------------------------------------------


def test_releases_and_their_saes() -> None:
    assert "gpt2-small-res-jb" in labels('sae s { from = release("gpt2-small|')
    assert "blocks.8.hook_resid_pre" in labels(
        'sae s { from = release("gpt2-small-res-jb", id = "blocks.8|")'
    )
    assert labels('sae s { from = release("unheard of", id = "|")') == []


def test_a_long_list_is_cut_and_asked_for_again() -> None:
    document, offset = at('sae s { from = release("gemma-scope-2b-pt-res", id = "|")')
    found = complete(document, offset)
    assert found.is_incomplete
    assert len(found.items) == MOST
