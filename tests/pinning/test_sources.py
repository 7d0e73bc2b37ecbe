"""The sources of a spec: every one is listed, and is written as a spec writes it."""

from __future__ import annotations

import pytest

from recoverdsl.language import check
from recoverdsl.language.schema import Folder, HuggingFace, Model, PyPI, Spec
from recoverdsl.pinning.sources import OWN, sources_of, written
from tests.language.texts import FULL, SMALL


def spec_of(text: str) -> Spec:
    spec = check(text).spec
    assert spec is not None
    return spec


def test_every_block_with_a_source_is_listed() -> None:
    spec = spec_of(FULL)
    assert {path for path, _ in sources_of(spec)} == {
        *(f"model.{name}" for name in spec.models),
        *(f"sae.{name}" for name in spec.saes),
        *(f"data.{name}" for name in spec.data),
        *(f"behavior.{name}.judge" for name, b in spec.behaviors.items() if b.judge),
        *(f"behavior.{name}.phrases" for name, b in spec.behaviors.items() if b.generate),
    }


def test_phrases_that_a_spec_does_not_name_are_the_tool_s_own() -> None:
    text = SMALL.replace(
        'score = logit(" {io}") at last_token; holds = score > 0',
        'score = logit(" {io}") at last_token; generate = greedy(tokens = 3); holds = refuses',
    )
    assert written(dict(sources_of(spec_of(text)))["behavior.says.phrases"]) == OWN


@pytest.mark.parametrize("text", [FULL, SMALL])
def test_a_source_that_is_written_means_the_same(text: str) -> None:
    spec = spec_of(text)
    for path, block in sources_of(spec):
        kind, name, *_ = path.split(".")
        if kind in ("model", "sae", "data"):
            again = spec_of(f"{text}\n{kind} again like {name} {{ from = {written(block)} }}\n")
            (found,) = (b for p, b in sources_of(again) if p == f"{kind}.again")
            assert found == block


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (Folder('a "b"\\c\n'), r'folder("a \"b\"\\c\n")'),
        (HuggingFace("a/b"), 'huggingface("a/b")'),
        (HuggingFace("a/b", "v1", "x", "train"), 'huggingface("a/b", revision = "v1", file = "x", split = "train")'),
        (PyPI("a==1", "b/c.gguf"), 'pypi("a==1", file = "b/c.gguf")'),
    ],
)  # fmt: skip
def test_how_a_source_is_written(source: Folder | HuggingFace | PyPI, text: str) -> None:
    assert written(Model(source)) == text
