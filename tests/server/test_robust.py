"""No text and no place in it makes a feature of the server fail, and each answers with little work."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsprotocol.types import CodeAction

from recoverdsl.errors import UsageError
from recoverdsl.language import check
from recoverdsl.server.actions import actions
from recoverdsl.server.completion import complete
from recoverdsl.server.diagnostics import diagnose
from recoverdsl.server.document import Document
from recoverdsl.server.format import format_document
from recoverdsl.server.hover import hover
from recoverdsl.server.navigation import definitions, highlights, references
from recoverdsl.server.outline import folds, symbols
from recoverdsl.server.rename import prepare, rename
from tests.language.texts import FULL
from tests.server.places import SPECS
from tests.work import calls


def quick_fixes(document: Document, offset: int) -> list[CodeAction]:
    return actions(document, document.lines.range(offset, offset))


HERE = (complete, hover, definitions, references, highlights, prepare, quick_fixes)
"""The features that take one place."""

WHOLE = (diagnose, symbols, folds, format_document)
"""The features that take the whole text."""


def ask_everything(document: Document, offset: int) -> None:
    for ability in WHOLE:
        ability(document)
    for ability in HERE:
        ability(document, offset)
    with suppress(UsageError):
        rename(document, offset, "something")


pieces = st.sampled_from(
    ["attack", " ", "\n", "{", "}", "(", ")", "[", "]", "=", ",", ";", '"', "\\", "#", "..", ".", "%", "5", "mid",
     "like", "stage", "in", "at", "not", "-", "<=", "\0", "é", "😀", "\r", "\ufeff", "\ud800", "recoverdsl 1\n",
     "param x = 1\n", "expect drift(go", "sweep s { recover.opening.", "measure {", "limit = norm <= ",
     "perturb = mid at ", 'release("gpt2-small-res-jb", id = "', "logprob(", "mean_when(", "m.layers[", "attribute "]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(pieces, max_size=25).map("".join)), st.data())
def test_no_text_makes_it_fail(text: str, data: st.DataObject) -> None:
    ask_everything(Document(text), data.draw(st.integers(0, len(text))))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(FULL) - 1), pieces, st.integers(0, 60), st.integers(-30, 30))
def test_no_edit_makes_it_fail(at: int, piece: str, gone: int, near: int) -> None:
    text = FULL[:at] + piece + FULL[at + gone :]
    ask_everything(Document(text), min(max(0, at + near), len(text)))


def test_a_text_that_is_far_too_long() -> None:
    document = Document("x = 3\n" * 200_000)
    assert [one.code for one in diagnose(document)] == ["REC108"]
    ask_everything(document, 100)


@pytest.mark.parametrize("name", SPECS)
def test_every_feature_takes_less_work_than_three_checks(name: str) -> None:
    """Check the text once, and do at most twice as much besides; `bench/server.py` says in how many
    milliseconds."""
    text = SPECS[name]
    offset = text.index("perturb") + 3
    asked = [lambda d, a=a: a(d) for a in WHOLE] + [lambda d, a=a: a(d, offset) for a in HERE]
    asked.append(lambda d: rename(d, text.index("model smollm2") + 7, "other"))
    for ask in asked:
        ask(Document(text))
    # What was parsed is remembered, so each time it is another text.
    most = 3 * calls(lambda: check(f"{text}# unseen\n"))
    for number, ask in enumerate(asked):
        unseen = f"{text}# {number}\n"
        assert calls(lambda ask=ask, unseen=unseen: ask(Document(unseen))) < most


def test_it_knows_the_language_and_locks_and_nothing_else() -> None:
    others = ["recoverdsl.version", "recoverdsl.sources", *(f"recoverdsl.sources.{m}" for m in ("contents", "sae_lens_table"))]  # fmt: skip
    code = (
        "import sys, recoverdsl.server.server; "
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('torch', 'sae_lens', 'transformers', 'numpy')"
        " or m.startswith('recoverdsl.') and m.split('.')[1] not in ('language', 'pinning', 'server', 'errors', 'version')"
        f" and m not in {others}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
