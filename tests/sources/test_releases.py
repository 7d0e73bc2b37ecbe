"""SAEs that sae_lens knows by release and id: of one commit, with the weights that a spec pins."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from recoverdsl.engine.defense.autoencoders import load_sae_release
from recoverdsl.errors import UnavailableError
from recoverdsl.language.schema import Release, Sae, Site
from recoverdsl.sources.fetcher import Fetcher
from recoverdsl.sources.registry import source_of
from recoverdsl.sources.releases import Place, find
from tests.hub import Hub
from tests.models import jumprelu

SOURCE = Release("gpt2-small-res-jb", "blocks.8.hook_resid_pre")
REPOSITORY = "jbloom/GPT2-Small-SAEs-Reformatted"
CPU = torch.device("cpu")


def block(sha256: str | None = None) -> Sae:
    return Sae(SOURCE, Site("gpt2", 8, "input"), sha256)


def load(fetcher: Fetcher, sae: Sae) -> torch.Tensor:
    """The SAE's encoder, as a run loads it."""
    named = source_of(sae).pretrained(fetcher)
    assert named is not None
    made = load_sae_release(named.release, named.id, CPU, named.fetch)
    encoder: torch.Tensor = made.W_enc.detach()
    return encoder


def files(folder: Path, seed: int) -> dict[str, bytes]:
    """What the repository holds: an SAE, and another that nobody asks for."""
    jumprelu(seed=seed, hook_name="blocks.8.hook_resid_pre").save_model(folder)
    saved = {file.name: file.read_bytes() for file in folder.iterdir()}
    return {
        f"{place}/{name}": content
        for place in (SOURCE.id, "blocks.9.hook_resid_pre")
        for name, content in saved.items()
    }


@pytest.fixture
def published(hub: Hub, tmp_path: Path) -> dict[str, bytes]:
    made = files(tmp_path / "sae", seed=0)
    hub.commit(REPOSITORY, made)
    return made


def test_a_release_is_a_folder_of_a_repository() -> None:
    assert find(SOURCE) == Place(REPOSITORY, SOURCE.id)
    assert find(Release("someone/good", "layer3")) == Place("someone/good", "layer3")


@pytest.mark.parametrize(
    ("source", "help"),
    [
        (Release("gpt2-small-res-jbb", "x"), "gpt2-small-res-jb"),
        (Release(SOURCE.release, "blocks.8.hook_resid_prf"), SOURCE.id),
    ],
)
def test_a_release_that_is_not_known_is_answered_with_one_like_it(
    source: Release, help: str
) -> None:
    with pytest.raises(UnavailableError) as caught:
        find(source)
    assert help in (caught.value.help or "")


def test_a_release_is_loaded_at_one_commit(
    fetcher: Fetcher, tmp_path: Path, hub: Hub, published: dict[str, bytes]
) -> None:
    before = load(fetcher, block())
    assert torch.equal(before, jumprelu(seed=0).W_enc)
    hub.commit(REPOSITORY, files(tmp_path / "other", seed=1))
    assert torch.equal(load(fetcher, block()), before)
    fresh = Fetcher(tmp_path, cache=tmp_path / "cache")
    assert torch.equal(load(fresh, block()), jumprelu(seed=1).W_enc)
    assert source_of(block()).pin(fresh) != source_of(block()).pin(fetcher)


def test_a_release_that_was_fetched_needs_no_network(
    fetcher: Fetcher, tmp_path: Path, hub: Hub, published: dict[str, bytes]
) -> None:
    before = load(fetcher, block())
    hub.asked.clear()
    offline = Fetcher(tmp_path, cache=tmp_path / "cache", offline=True)
    assert torch.equal(load(offline, block()), before)
    assert source_of(block()).pin(offline) == source_of(block()).pin(fetcher)
    assert hub.asked == []


def test_offline_and_never_fetched_it_is_not_available(tmp_path: Path, hub: Hub) -> None:
    offline = Fetcher(tmp_path, cache=tmp_path / "cache", offline=True)
    with pytest.raises(UnavailableError, match="the hub cannot be reached"):
        load(offline, block())


def test_the_sha256_of_a_release_is_that_of_its_weight_file(
    fetcher: Fetcher, published: dict[str, bytes]
) -> None:
    sha256 = hashlib.sha256(published[f"{SOURCE.id}/sae_weights.safetensors"]).hexdigest()
    load(fetcher, block(sha256))
    load(fetcher, block(sha256.upper()))
    with pytest.raises(UnavailableError, match="not the ones that the spec pins") as caught:
        load(fetcher, block("0" * 64))
    assert caught.value.where == f"{SOURCE.id}/sae_weights.safetensors"
    assert sha256 in (caught.value.why or "")
