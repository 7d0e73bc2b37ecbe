"""Repositories of the hub: no pickles and no code, one commit, and refusals in words."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from recoverdsl.errors import SpecError, UnavailableError
from recoverdsl.language.schema import HuggingFace
from recoverdsl.sources.fetcher import Fetcher, Revision
from recoverdsl.sources.hub import at_commit, digests, published
from recoverdsl.sources.repositories import Repository
from tests.hub import Hub
from tests.sources.files import files_in

GOOD = {
    "model.safetensors": b"w", "config.json": b"{}", "pytorch_model.bin": b"pickle", "run.py": b"x", "q4.gguf": b"g",
}  # fmt: skip


def locate(source: HuggingFace, fetcher: Fetcher) -> Path:
    return Repository(source, "model").locate(fetcher)


@pytest.fixture
def hub(hub: Hub) -> Hub:
    hub.commit("someone/good", GOOD)
    hub.commit("someone/pickled", {"pytorch_model.bin": b"pickle", "config.json": b"{}"})
    hub.gated.add("someone/gated")
    return hub


def test_a_repository_is_fetched_without_its_pickles_and_code(fetcher: Fetcher, hub: Hub) -> None:
    place = locate(HuggingFace("someone/good"), fetcher)
    assert files_in(place) == ["config.json", "model.safetensors"]
    assert (place / "model.safetensors").read_bytes() == b"w"


def test_a_fetched_repository_needs_no_network(fetcher: Fetcher, hub: Hub, tmp_path: Path) -> None:
    place = locate(HuggingFace("someone/good"), fetcher)
    hub.asked.clear()
    offline = Fetcher(tmp_path, cache=tmp_path / "cache", offline=True)
    assert locate(HuggingFace("someone/good"), offline) == place
    assert hub.asked == []


def test_one_named_file_is_fetched_alone(fetcher: Fetcher, hub: Hub) -> None:
    place = locate(HuggingFace("someone/good", file="q4.gguf"), fetcher)
    assert place.read_bytes() == b"g"
    assert files_in(place.parent) == ["q4.gguf"]


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        (HuggingFace("someone/pickled"), UnavailableError, "they can run code"),
        (
            HuggingFace("someone/good", file="pytorch_model.bin"),
            UnavailableError,
            "they can run code",
        ),
        (HuggingFace("someone/good", file="absent.gguf"), UnavailableError, "absent.gguf"),
        (HuggingFace("someone/absent"), UnavailableError, "does not exist, or is private"),
        (HuggingFace("someone/gated"), UnavailableError, "gated"),
        (HuggingFace("someone/good", revision="v9"), UnavailableError, "no revision 'v9'"),
        (HuggingFace("a/b/../c"), UnavailableError, "not the name of a repository"),
        (HuggingFace("someone/good", revision="../../x"), SpecError, "cannot be a revision"),
        (HuggingFace("someone/good", file="../x.gguf"), SpecError, "cannot be a file"),
    ],
)
def test_what_the_hub_refuses_is_said_in_words(
    fetcher: Fetcher,
    hub: Hub,
    source: HuggingFace,
    error: type[Exception],
    text: str,
) -> None:
    with pytest.raises(error, match=text):
        locate(source, fetcher)


def test_an_absent_hub_is_said_with_where_it_was_looked_for(
    fetcher: Fetcher, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match="the hub cannot be reached") as caught:
        locate(HuggingFace("someone/good"), fetcher)
    assert str(tmp_path / "hub") in str(caught.value)


# --- Commits ----------------------------------------------------------------------------------


def test_a_branch_means_one_commit_throughout_a_run(fetcher: Fetcher, hub: Hub) -> None:
    before = locate(HuggingFace("someone/good"), fetcher)
    hub.commit("someone/good", GOOD | {"model.safetensors": b"moved"})
    assert locate(HuggingFace("someone/good"), fetcher) == before
    again = Fetcher(fetcher.spec_folder, cache=fetcher.cache)
    after = locate(HuggingFace("someone/good"), again)
    assert (after / "model.safetensors").read_bytes() == b"moved"


def test_a_commit_that_is_known_is_taken_whatever_the_branch_has_become(
    tmp_path: Path, hub: Hub
) -> None:
    old = hub.repositories["someone/good"].branches["main"]
    hub.commit("someone/good", GOOD | {"model.safetensors": b"moved"})
    known = {Revision("someone/good"): old}
    fetcher = Fetcher(tmp_path, cache=tmp_path / "cache", commits=known)
    place = locate(HuggingFace("someone/good"), fetcher)
    assert (place / "model.safetensors").read_bytes() == b"w"


def test_without_the_network_a_branch_is_where_it_was_when_it_was_fetched(
    fetcher: Fetcher, tmp_path: Path, hub: Hub
) -> None:
    commit = at_commit(fetcher, Revision("someone/good"))
    offline = Fetcher(tmp_path, cache=tmp_path / "cache", offline=True)
    hub.commit("someone/good", GOOD | {"model.safetensors": b"moved"})
    assert at_commit(offline, Revision("someone/good")) == commit
    with pytest.raises(UnavailableError, match="the hub cannot be reached"):
        at_commit(offline, Revision("someone/good", "v2"))


def test_what_a_commit_holds_is_known_without_fetching_the_weights(
    fetcher: Fetcher, hub: Hub
) -> None:
    tag = hub.commit("someone/good", GOOD | {"model.safetensors": b"tagged"}, branch="v2")
    source = HuggingFace("someone/good", revision="v2")
    repository = Repository(source, "model")
    patterns = repository.patterns()
    commit, files = published(fetcher, repository.revision(), patterns)
    assert commit == tag
    assert hub.fetched() == ["config.json"]
    place = locate(source, fetcher)
    assert place.name == tag
    assert files == digests(fetcher, place, patterns)
    assert files == {
        name: hashlib.sha256(content).hexdigest()
        for name, content in {"config.json": b"{}", "model.safetensors": b"tagged"}.items()
    }
