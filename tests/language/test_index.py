"""Where names are defined and used: every place of every name, also where a spec is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recoverdsl.language import Symbol, check, schema
from recoverdsl.language.checker.rules.attacks import _NOT_PERTURBED
from recoverdsl.language.checker.rules.features import _NOT_CLAMPED
from recoverdsl.language.schema.fields import keys
from tests.language.texts import FULL, SMALL

SPECS = sorted((Path(__file__).parents[2] / "specs").glob("*.rec"))
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in SPECS} | {"full": FULL}
# A spec that imports others makes sense only in its folder; `test_imports.py` has the names of those.
TEXTS = {name: text for name, text in TEXTS.items() if "\nimport " not in text}

CLASSES = (*schema.BLOCKS.values(), *schema.FUNCTIONS.values())
KEYS = {key for cls in CLASSES for key in keys(cls)}


def written(text: str, symbol: Symbol) -> list[str]:
    """The lines on which a name stands, without the space around them."""
    lines = text.split("\n")
    return [lines[p.span.line - 1].strip() for p in check(text).index.places(symbol)]


@pytest.mark.parametrize("name", TEXTS)
def test_every_word_that_could_be_a_name_is_in_the_index(name: str) -> None:
    text = TEXTS[name]
    index = check(text).index
    names = {symbol.name for symbol in index.definitions}
    plain = re.sub(r'"[^"]*"|#.*', lambda m: " " * len(m[0]), text)
    words = [m for m in re.finditer(r"\b\w+\b(\s*=)?", plain) if m[0].rstrip(" =") in names]
    found = {m.start() for m in words if not (m[1] and m[0].rstrip(" =") in KEYS)}
    assert found == {place.span.start for place in index.symbols}
    assert all(text[p.span.start : p.span.end] == s.name for p, s in index.symbols.items())


@pytest.mark.parametrize("name", TEXTS)
def test_every_name_has_one_definition(name: str) -> None:
    index = check(TEXTS[name]).index
    assert set(index.symbols.values()) == set(index.definitions)
    assert all(len(places) == 1 for places in index.definitions.values())


def test_uses_of_every_sort() -> None:
    assert written(FULL, Symbol("attack", "recover")) == [
        "attack recover {",
        "of = recover",
        "attribute recover {",
        "recover.opening.steps = [5, 10]",
        "expect recovery_rate(recover) <= 5% # what the defense promises",
        "expect recovery_rate(recover, norm = 50) <= 50%",
    ]
    assert written(FULL, Symbol("param", "layer")) == [
        "param layer = 14 in 0..29",
        "reads = smollm2.layers[layer].output",
        "reads = smollm2.layers[2 * layer - 2].input",
        "layer = [13, 14]",
    ]
    assert written(FULL, Symbol("stage", "opening", "recover")) == [
        "stage opening { perturb = late at last_token; limit = norm <= 30; steps = 20 }",
        "recover.opening.steps = [5, 10]",
    ]


def test_brackets_around_a_name_are_no_part_of_it() -> None:
    text = SMALL + "attack b like go { perturb = ( mid ) at last_token; maximize = (says) }\n"
    index = check(text).index
    assert {text[p.span.start : p.span.end] for p in index.symbols} == {
        s.name for s in index.definitions
    }


def test_a_stage_that_replaces_an_inherited_one_has_the_same_name() -> None:
    stage = "stage one { perturb = mid at last_token; limit = norm <= 1 }"
    text = SMALL + (
        f"attack a {{ maximize = says; {stage} }}\nattack b like a {{}}\n"
        f"attack c like b {{ {stage} }}\nattack d {{ maximize = says; {stage} }}\n"
        "sweep s { c.one.steps = [1, 2]; attack.d.one.steps = [1, 2] }\n"
    )
    index = check(text).index
    assert len(index.places(Symbol("stage", "one", "a"))) == 3
    assert len(index.places(Symbol("stage", "one", "d"))) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        "attack b like go { prserve = orthogonal(kept) }",
        "attack b like go { preserve = orthgonal(kept) }",
        "attack b like go { preserve = jacobian_sketch(kept, probs = 3) }",
        "attack b like go { preserve = [kept] }",
        "attack b like go { preserve = kept; preserve = orthogonal(kept) }",
        "attack go { preserve = orthogonal(kept) }",
        "attck b { preserve = orthogonal(kept) }",
        "attack b like go { stage x { limit = kept } }",
        "sweep s { kept.nothing.select = [features(1)] }",
        "control c { of = kept }",
    ],
)
def test_a_name_is_found_where_something_around_it_is_wrong(wrong: str) -> None:
    checked = check(SMALL + wrong + "\n")
    assert checked.errors
    start = len(SMALL)
    uses = [p for p in checked.index.places(Symbol("protect", "kept")) if p.span.start > start]
    assert len(uses) == wrong.count("kept")


def test_a_word_of_the_language_is_no_name() -> None:
    text = SMALL.replace("attack go", "attack never") + "attack b like never { stop = never }\n"
    assert written(text, Symbol("attack", "never")) == [
        "attack never { perturb = mid at last_token; maximize = says; limit = norm <= 20 }",
        "attack b like never { stop = never }",
    ]
    assert check(text + "x\n").index.symbols == check(text).index.symbols


def test_names_that_share_a_text_are_kept_apart() -> None:
    text = SMALL + "budget mid { steps = 3 }\nattack b like go { budget = mid }\n"
    assert written(text, Symbol("budget", "mid")) == [
        "budget mid { steps = 3 }",
        "attack b like go { budget = mid }",
    ]
    assert len(check(text).index.places(Symbol("sae", "mid"))) == 3


def test_values_that_are_set_stand_in_no_file() -> None:
    plain, changed = check(SMALL), check(SMALL, overrides={"go.maximize": "says"})
    assert len(changed.index.places(Symbol("behavior", "says"))) == 1
    assert len(plain.index.places(Symbol("behavior", "says"))) == 2


def test_what_a_position_means_agrees_with_the_rules() -> None:
    meanings = schema.POSITIONS.items()
    assert {word for word, meaning in meanings if meaning.clamped is None} == set(_NOT_CLAMPED)
    assert {word for word, meaning in meanings if meaning.perturbed is None} == set(_NOT_PERTURBED)
