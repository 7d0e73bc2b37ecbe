"""What a source is: the hub's own account of it, and the files themselves, say the same."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from recoverdsl.errors import RecoverdslError, SpecError, UnavailableError
from recoverdsl.language.schema import (
    Classifier,
    Data,
    File,
    Folder,
    HuggingFace,
    Model,
    PyPI,
    Release,
    Sae,
    Site,
    Template,
)
from recoverdsl.sources import templates
from recoverdsl.sources.fetcher import Fetcher
from recoverdsl.sources.registry import source_of
from recoverdsl.sources.source import Block
from tests.hub import Hub

SITE = Site("m", 8, "input")
RELEASE = Release("gpt2-small-res-jb", "blocks.8.hook_resid_pre")


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def arrays() -> bytes:
    made = io.BytesIO()
    np.savez(made, w=np.zeros(3, dtype=np.float32))
    return made.getvalue()


REPOSITORIES: dict[str, dict[str, bytes]] = {
    "a/model": {
        "config.json": b"{}", "model-1.safetensors": b"1", "model-2.safetensors": b"2",
        "pytorch_model.bin": b"p", "q4.gguf": b"g", "run.py": b"x", "sub/tokenizer.json": b"t",
    },
    "a/saes": {f"layer{n}/{name}": b"%d" % n for n in (1, 2) for name in ("cfg.json", "sae_weights.safetensors")},
    "a/arrays": {"params.npz": arrays()},
    "datasets/a/texts": {"data/train.jsonl": b'{"prompt": "a"}\n', "data/test.jsonl": b"{}\n", "README.md": b"r"},
    "datasets/a/parts": {f"x/train-0000{n}-of-00002.parquet": b"%d" % n for n in (0, 1)},
    "jbloom/GPT2-Small-SAEs-Reformatted": {
        "blocks.8.hook_resid_pre/cfg.json": b"{}", "blocks.8.hook_resid_pre/sae_weights.safetensors": b"w",
        "blocks.9.hook_resid_pre/sae_weights.safetensors": b"other", "README.md": b"r",
    },
}  # fmt: skip

FOUND: list[tuple[Block, set[str]]] = [
    (Model(HuggingFace("a/model")), {"config.json", "model-1.safetensors", "model-2.safetensors", "sub/tokenizer.json"}),
    (Model(HuggingFace("a/model", file="q4.gguf")), {"q4.gguf"}),
    (Classifier(HuggingFace("a/model"), "x"), {"config.json", "model-1.safetensors", "model-2.safetensors", "sub/tokenizer.json"}),
    (Sae(HuggingFace("a/saes", file="layer2"), SITE), {"layer2/cfg.json", "layer2/sae_weights.safetensors"}),
    (Sae(HuggingFace("a/saes", file="layer2"), SITE, sha(b"2")), {"layer2/cfg.json", "layer2/sae_weights.safetensors"}),
    (Sae(HuggingFace("a/arrays"), SITE), {"params.npz"}),
    (Sae(RELEASE, SITE), {"blocks.8.hook_resid_pre/cfg.json", "blocks.8.hook_resid_pre/sae_weights.safetensors"}),
    (Sae(RELEASE, SITE, sha(b"w")), {"blocks.8.hook_resid_pre/cfg.json", "blocks.8.hook_resid_pre/sae_weights.safetensors"}),
    (Data(HuggingFace("a/texts", split="train")), {"data/train.jsonl"}),
    (Data(HuggingFace("a/texts", file="data/test.jsonl")), {"data/test.jsonl"}),
    (Data(HuggingFace("a/texts", file="data", split="train")), {"data/train.jsonl"}),
    (Data(HuggingFace("a/parts", split="train")), {"x/train-00000-of-00002.parquet", "x/train-00001-of-00002.parquet"}),
]  # fmt: skip

REFUSED: list[tuple[Block, type[RecoverdslError], str]] = [
    (Model(HuggingFace("a/model", file="absent.gguf")), UnavailableError, "absent.gguf"),
    (Model(HuggingFace("a/saes", file="layer3")), UnavailableError, "layer3"),
    (Model(HuggingFace("a/texts")), UnavailableError, "does not exist"),
    (Sae(HuggingFace("a/model", revision="v9"), SITE), UnavailableError, "no revision 'v9'"),
    (Sae(HuggingFace("a/saes", file="layer2"), SITE, sha(b"1")), UnavailableError, "not the ones"),
    (Sae(RELEASE, SITE, sha(b"other")), UnavailableError, "not the ones"),
    (Data(HuggingFace("a/texts")), SpecError, "several tables"),
    (Data(HuggingFace("a/texts", split="dev")), UnavailableError, "no table"),
]


@pytest.fixture
def hub(hub: Hub) -> Hub:
    for name, files in REPOSITORIES.items():
        hub.commit(name, files)
    return hub


@pytest.fixture
def fetcher(tmp_path: Path, hub: Hub) -> Fetcher:
    (tmp_path / "spec").mkdir()
    return Fetcher(tmp_path / "spec", cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("block", "names"),
    FOUND,
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value)[:60],
)
def test_what_the_hub_says_is_what_is_fetched(
    block: Block, names: set[str], fetcher: Fetcher, hub: Hub
) -> None:
    published = source_of(block).contents(fetcher, "published")
    large = [name for name in hub.fetched() if name.endswith((".safetensors", ".npz", ".gguf"))]
    assert large == []
    assert set(published.files or {}) == names
    assert source_of(block).contents(fetcher, "fetched") == published
    named = source_of(block).contents(fetcher, "named")
    assert (named.files, named.commit) == (None, published.commit)
    assert published.commit in {c for r in hub.repositories.values() for c in r.branches.values()}
    content = {name: data for files in REPOSITORIES.values() for name, data in files.items()}
    assert published.files == {name: sha(content[name]) for name in names}


@pytest.mark.parametrize(("block", "error", "text"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_cannot_be_loaded_is_not_locked(
    block: Block, error: type[RecoverdslError], text: str, fetcher: Fetcher
) -> None:
    with pytest.raises(error, match=text):
        source_of(block).contents(fetcher, "published")
    with pytest.raises(error, match=text):
        source_of(block).contents(fetcher, "fetched")


def test_what_was_sent_is_looked_at_and_not_what_was_promised(fetcher: Fetcher, hub: Hub) -> None:
    hub.corrupt["model-2.safetensors"] = b"3"
    block = Model(HuggingFace("a/model"))
    assert (source_of(block).contents(fetcher, "published").files or {})[
        "model-2.safetensors"
    ] == sha(b"2")
    assert (source_of(block).contents(fetcher, "fetched").files or {})[
        "model-2.safetensors"
    ] == sha(b"3")


def test_a_file_that_another_tool_put_among_those_of_a_commit_is_noticed(
    fetcher: Fetcher, hub: Hub
) -> None:
    block = Model(HuggingFace("a/model"))
    before = source_of(block).contents(fetcher, "fetched")
    place = source_of(block).locate(fetcher)
    (place / "notes.md").write_text("nothing that is loaded")
    assert source_of(block).contents(fetcher, "fetched") == before
    (place / "generation_config.json").write_text("{}")
    assert source_of(block).contents(fetcher, "fetched") != before


# --- Beside the spec --------------------------------------------------------------------------


def test_what_lies_beside_the_spec_is_read(fetcher: Fetcher) -> None:
    folder = fetcher.spec_folder / "sae"
    folder.mkdir()
    (folder / "cfg.json").write_bytes(b"{}")
    (folder / "sae_weights.safetensors").write_bytes(b"w")
    (folder / "README.md").write_bytes(b"not loaded")
    (fetcher.spec_folder / "rows.jsonl").write_bytes(b"{}\n")
    sae = source_of(Sae(Folder("sae"), SITE)).contents(fetcher, "named")
    assert sae.files == {"cfg.json": sha(b"{}"), "sae_weights.safetensors": sha(b"w")}
    one = source_of(Sae(Folder("sae/sae_weights.safetensors"), SITE)).contents(fetcher, "named")
    assert one.files == {"sae_weights.safetensors": sha(b"w")}
    assert source_of(Data(File("rows.jsonl"))).contents(fetcher, "named").files == {
        "rows.jsonl": sha(b"{}\n")
    }
    with pytest.raises(UnavailableError, match="not the ones that the spec pins"):
        source_of(Sae(Folder("sae"), SITE, sha(b"x"))).contents(fetcher, "named")
    with pytest.raises(UnavailableError, match="not a file"):
        source_of(Data(File("sae"))).contents(fetcher, "named")


def test_a_wheel_is_what_the_spec_itself_pins(fetcher: Fetcher) -> None:
    block = Model(PyPI("tiny==1.0", "tiny/model.gguf"), "A" * 64)
    for look in ("published", "named", "fetched"):
        assert source_of(block).contents(fetcher, look).files == {"tiny/model.gguf": "a" * 64}  # type: ignore[arg-type]


def test_a_template_is_the_rows_that_are_drawn(
    fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(seed: int = 0) -> str | None:
        return source_of(Data(Template("ioi", 8, seed))).contents(fetcher, "named").sha256

    before = drawn()
    rows = templates.TEMPLATES["ioi"](8, 0)
    lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    assert before == sha(lines.encode())
    assert drawn(seed=1) != before
    monkeypatch.setitem(
        templates.TEMPLATES, "ioi", lambda count, seed: [*rows[:-1], {"prompt": "x"}]
    )
    assert drawn() != before


def test_phrases_that_ship_with_the_tool_are_pinned_too(fetcher: Fetcher) -> None:
    found = source_of(None).contents(fetcher, "named")
    assert found.sha256
    assert not found.files
