"""The reference agrees with the schema, and the schema describes everything."""

from __future__ import annotations

import re

import attrs
import pytest

from recoverdsl.language import check, schema
from recoverdsl.language.checker.forms import FORMS as READ
from recoverdsl.language.reference import FORMS, examples, reference
from recoverdsl.language.schema.descriptions import options
from recoverdsl.language.schema.fields import keys
from recoverdsl.measure import flag_pages, table_page
from recoverdsl.measure.results import Result
from recoverdsl.store import run_folder
from tests.docs.pages import ROOT
from tests.docs.test_specs import beside

PAGES = reference()
SECTIONS = {
    name: dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", page, re.MULTILINE))
    for name, page in PAGES.items()
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_up_to_date(name: str) -> None:
    page = (ROOT / "docs/reference" / name).read_text("utf-8")
    assert page == PAGES[name], "run `make generated`"


def test_the_page_of_the_example_table_is_up_to_date() -> None:
    text = (ROOT / "docs/reference/examples.md").read_text("utf-8")
    assert text == table_page.page(), "run `make generated`"


def test_the_page_of_the_checks_is_made_from_their_pages() -> None:
    text = (ROOT / "docs/reference/checks.md").read_text("utf-8")
    assert text == flag_pages.reference(), "run `make generated`"


def sentence(text: str | None) -> bool:
    return bool(text) and text != "None" and text[0] != " " and text.rstrip()[-1] in ".`"


@pytest.mark.parametrize("kind", schema.BLOCKS)
def test_every_block_has_a_meaning_options_and_an_example(kind: str) -> None:
    section = SECTIONS["blocks.md"][kind]
    assert sentence(schema.BLOCKS[kind].__doc__)
    assert f"\n{schema.BLOCKS[kind].__doc__}\n" in section
    assert kind == "stage" or "```rec" in section
    for option in options(schema.BLOCKS[kind]):
        assert sentence(option.doc), option.key
        assert f"| `{option.key}` | " in section


def test_every_statement_has_an_entry() -> None:
    for word, doc in schema.STATEMENTS.items():
        assert doc in SECTIONS["blocks.md"][word]
        assert "```rec" in SECTIONS["blocks.md"][word]


@pytest.mark.parametrize("name", schema.FUNCTIONS)
def test_every_function_has_a_meaning_arguments_and_an_example(name: str) -> None:
    section, cls = SECTIONS["functions.md"][name], schema.FUNCTIONS[name]
    assert sentence(cls.__doc__)
    assert str(cls.__doc__) in section
    assert f"{name}(" in section.partition("```rec")[2]
    assert "\nFor " in section
    assert "\nFor .\n" not in section
    for option in options(cls):
        assert sentence(option.doc), option.key
        assert f"| `{option.key}` | " in section


@pytest.mark.parametrize("name", schema.METRICS)
def test_every_metric_says_what_it_divides_by(name: str) -> None:
    section, metric = SECTIONS["metrics.md"][name], schema.METRICS[name]
    assert sentence(metric.doc)
    assert f"over {metric.over}.\n" in section
    aggregate = {"max": "largest", "median": "median", "mean": "mean"}[metric.aggregate]
    assert f"- The {aggregate} over " in section


def test_every_word_of_an_expression_has_an_entry() -> None:
    page = PAGES["expressions.md"]
    for words in (schema.WORDS, schema.CALLS, schema.PLACES, schema.POSITIONS):
        for word in words:
            assert f"| `{word}` | " in page, word
    for name, doc in schema.DETECTORS.items():
        assert f"- `{name}`: {doc}" in page


def test_every_form_has_a_section() -> None:
    described = {form for forms, _ in FORMS.values() for form in forms}
    parts = {part for form in READ for part in getattr(form, "__args__", (form,))}
    # Connectives have a sentence in the section of conditions, objectives that of their terms.
    joined = {schema.And, schema.Or, schema.Not}
    assert {p for p in parts if attrs.has(p)} - joined <= described


def test_the_examples_are_right_and_use_every_option() -> None:
    found = check(examples(), read=beside)
    # A release is pinned by a lock, and some behaviors only show what one may say.
    assert {d.code for d in found.diagnostics} <= {"REC403", "REC421"}
    for cls in (*schema.BLOCKS.values(), *schema.FUNCTIONS.values()):
        for key in keys(cls):
            assert re.search(rf"\b{key}\b", examples()) or key in UNNAMED, f"{cls.__name__}.{key}"


UNNAMED = {
    "requirement", "repository", "path", "release", "name", "behavior", "texts", "count", "ids", "protect",
    "confidence", "revision", "split",
}  # fmt: skip
"""Arguments that are given without their names; and a split, which only data sets have."""


def test_the_page_of_result_files_names_every_field_and_file() -> None:
    page = (ROOT / "docs/reference/results.md").read_text("utf-8")
    for a in attrs.fields(Result):
        assert f"\n| `{a.name}` | " in page, a.name
    source = (ROOT / run_folder.__file__).read_text("utf-8")
    for file in re.findall(r'self\.path / "([\w.]+\.\w+)"', source):
        assert f"`{file}`" in page, file
