"""The shipped specs on small random models in place of the real ones, with small budgets.

A spec is copied with its neighbors into a folder in which its SAEs are random, its data made-up words,
and the hub one on this machine. It is then run as it stands, but for the model that comes from the
package index, and for counts of steps, tokens and examples.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import frozen
from tokenizers import decoders

from recoverdsl.language.schema import Release
from recoverdsl.sources.releases import find
from recoverdsl.sources.templates import ioi
from tests import models
from tests.hub import Hub
from tests.run import answers

SPECS = Path(__file__).parents[2] / "specs"
GPT2 = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
"""The commit that gpt2.rec names."""

PROMPTS, WIDTH = 24, 96
"""How many prompts the audits of ioi.rec's kind are run on, and the width of their models."""

_CHAT = "balin {{ messages[0]['content'] }} dolin"


@frozen
class Small:
    """How a shipped spec is run small."""

    stand_in: Callable[[Path, Hub, pytest.MonkeyPatch], Mapping[str, str]]
    """Prepares the model, SAEs and data that the spec names; returns the values that name them where the
    spec's own cannot."""
    cheaper: Mapping[str, str]
    """Values that make it cheap."""


def copied(folder: Path) -> Path:
    """Return the shipped specs in a folder of their own, without SAEs and data."""
    for spec in SPECS.glob("*.rec"):
        shutil.copy(spec, folder)
    return folder


# --- Prompts and texts ------------------------------------------------------------------------


def _ioi_words() -> list[str]:
    """Return every word of the prompts that test and rank, at the beginning of a text and after a space."""
    drawn = ioi(256, 0)
    rows = [row for first in (0, 64, 128) for row in drawn[first : first + PROMPTS]]
    words = sorted({w for row in rows for w in [*row["prompt"].split(), row["io"], row["s"]]})
    return [*words, *(f" {word}" for word in words)]


def _chat_tokenizer() -> Any:
    """Return a tokenizer of made-up words with a chat template."""
    made = models.tokenizer([*answers.WORDS, *(f" {word}" for word in answers.WORDS)])
    made.chat_template = _CHAT
    # Texts are read as the tokens that they were, as a search for a suffix wants it.
    made.backend_tokenizer.decoder = decoders.Fuse()
    return made


def _write_texts(folder: Path, seed: int) -> None:
    """Write requests and replies in made-up words, in the files and columns of the shipped ones, and
    lists of phrases that such a text may hold."""
    draw = random.Random(seed)

    def some(count: int) -> str:
        return " ".join(draw.choice(answers.WORDS) for _ in range(count))

    rows: dict[str, list[dict[str, str]]] = {
        "requests": [
            {"id": f"r{n}", "category": "how-to", "prompt": some(3 + n % 4)} for n in range(16)
        ]
    }
    for name in ("refusing", "answering"):
        rows[name] = [
            {"id": f"{name}-{n}", "prompt": some(4), "answer": f" {some(5)}"} for n in range(6)
        ]
    (folder / "data").mkdir()
    for name, texts in rows.items():
        lines = "".join(json.dumps(row) + "\n" for row in texts)
        (folder / "data" / f"{name}.jsonl").write_text(lines)
    refusing = ", ".join(f'"{word}"' for word in answers.WORDS[::4])
    (folder / "phrases.toml").write_text(answers.PHRASES.format(refusing=refusing))


# --- Models and SAEs --------------------------------------------------------------------------


def _smollm2(folder: Path, model: Any, tokenizer: Any) -> dict[str, str]:
    """Save a model in the place of the one from the package index."""
    models.save(model, tokenizer, folder / "model")
    weights = (folder / "model/model.safetensors").read_bytes()
    return {
        "smollm2.from": 'folder("model")',
        "smollm2.sha256": f'"{hashlib.sha256(weights).hexdigest()}"',
    }


def _save_saes(folder: Path, layers: Iterable[int], width: int, features: int) -> None:
    for layer in layers:
        made = models.jumprelu(
            width, features, seed=layer, hook_name=f"blocks.{layer}.hook_resid_post"
        )
        made.save_model(folder / f"saes/smollm2-135m/layer{layer}")


def _ioi_model(
    folder: Path, *_: object, width: int = WIDTH, features: int = 4608, seed: int = 4
) -> Mapping[str, str]:
    """Prepare the audits of ioi.rec's kind: as many features as the shipped SAE has, and as many layers
    below it."""
    words = _ioi_words()
    model = models.llama(
        seed=seed, vocab_size=len(words) + 1, num_hidden_layers=17, hidden_size=width, intermediate_size=48,
        initializer_range=1.5 * width**-0.5,
    )  # fmt: skip
    _save_saes(folder, [14], width, features)
    return _smollm2(folder, model, models.tokenizer(words))


def _other_ioi_model(folder: Path, *_: object) -> Mapping[str, str]:
    """Prepare the same with a model that the listed features do something in."""
    return _ioi_model(folder, seed=5)


def _wide_ioi_model(folder: Path, *_: object) -> Mapping[str, str]:
    """Prepare the same, with a residual stream wider than the number of clamped features."""
    return _ioi_model(folder, width=528, features=640)


def _refusal_model(folder: Path, *_: object) -> Mapping[str, str]:
    """Prepare the audits of refusal.rec's kind."""
    _write_texts(folder, seed=3)
    tokenizer = _chat_tokenizer()
    model = models.llama(seed=3, vocab_size=len(tokenizer), num_hidden_layers=22)
    _save_saes(folder, [8, 14, 20], 24, 64)
    return {**_smollm2(folder, model, tokenizer), "answers.phrases": 'file("phrases.toml")'}


def _of_folder(folder: Path, prefix: str = "") -> dict[str, bytes]:
    return {f"{prefix}{file.name}": file.read_bytes() for file in folder.iterdir()}


def _gpt2_model(folder: Path, hub: Hub, _: object) -> Mapping[str, str]:
    """Prepare a model at the commit that the spec names, and a release, both on the hub: nothing is
    replaced."""
    words = _ioi_words()
    model = models.gpt2(seed=2, vocab_size=len(words) + 1, n_layer=6, n_embd=WIDTH)
    with tempfile.TemporaryDirectory() as place:
        saved = models.save(model, models.tokenizer(words), Path(place) / "model")
        commit = hub.commit("openai-community/gpt2", _of_folder(saved))
        repository = hub.repositories["openai-community/gpt2"]
        repository.commits[GPT2] = repository.commits.pop(commit)
        repository.branches["main"] = GPT2
        source = Release("gpt2-small-res-jb", "blocks.4.hook_resid_pre")
        sae = models.sae("standard", WIDTH, 512, seed=4)
        sae.cfg.metadata.hook_name = source.id
        sae.save_model(Path(place) / "sae")
        hub.commit(find(source).repository, _of_folder(Path(place) / "sae", f"{source.id}/"))
    return {}


def _gemma_model(folder: Path, hub: Hub, patch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """Prepare a Gemma 2 of as many layers as are read, and SAEs in Gemma Scope's format, both on
    the hub."""
    _write_texts(folder, seed=3)
    tokenizer = _chat_tokenizer()
    model = models.gemma2(vocab_size=len(tokenizer), num_hidden_layers=20)
    saved = models.save(model, tokenizer, folder / "gemma")
    hub.commit("google/gemma-2-2b-it", _of_folder(saved))
    files = {}
    for layer in (7, 12, 18):
        source = Release("gemma-scope-2b-pt-res-canonical", f"layer_{layer}/width_16k/canonical")
        files[f"{find(source).path}/params.npz"] = _scope(layer)
    hub.commit(find(source).repository, files)
    # sae_lens knows the sizes of Gemma Scope by heart.
    small = {"d_in": 24, "d_sae": 64}
    patch.setattr("sae_lens.saes.sae.get_config_overrides", lambda *_: small)
    return {"answers.phrases": 'file("phrases.toml")'}


def _scope(seed: int) -> bytes:
    draw = np.random.default_rng(seed)
    decoder = draw.normal(size=(64, 24))
    weights = {
        "w_enc": draw.normal(size=(24, 64)) / 24**0.5, "b_enc": 0.1 * draw.normal(size=64),
        "w_dec": decoder / np.linalg.norm(decoder, axis=1, keepdims=True),
        "b_dec": 0.1 * draw.normal(size=24), "threshold": draw.uniform(0.01, 0.1, size=64),
    }  # fmt: skip
    file = io.BytesIO()
    np.savez(file, **{name: value.astype("float32") for name, value in weights.items()})
    return file.getvalue()


# --- The specs --------------------------------------------------------------------------------

_FEW = {"prompts.limit": str(PROMPTS)}
_LIKELY = {"names_the_recipient.holds": 'rank(" {io}") <= 60'}
"""No name is the top token of a random model."""
_QUICK = {"unconstrained.steps": "10", "unconstrained.with": "adam(lr = 1)"}
_SHORT = {"answers.generate": "greedy(tokens = 6)", "requests.limit": "16"}
_RAISED = {**_SHORT, "clamp.to": "3.0 * mean_when(refusing)"}

SMALL = {
    "ioi": Small(
        _ioi_model, {
            **_FEW, **_LIKELY, "projected.steps": "10", "projected.with": "adam(lr = 1)",
        }
    ),
    "budgets": Small(_ioi_model, {**_FEW, **_LIKELY, "spent.steps": "8", "unconstrained.with": "adam(lr = 1)"}),
    "features": Small(
        _wide_ioi_model,
        {
            **_LIKELY, "prompts.limit": "8", "projected.steps": "3", "projected.find": "smallest_norm(within = 50%)",
            "clamp.ordinary_texts": "4",
        },
    ),
    "chosen_features": Small(_other_ioi_model, {**_FEW, **_QUICK}),
    "gpt2": Small(_gpt2_model, {**_FEW, **_QUICK}),
    "refusal": Small(
        _refusal_model,
        {**_RAISED, "recover.steps": "3", "staged.opening.steps": "2", "staged.answer.steps": "3"},
    ),
    "preserve": Small(_refusal_model, {**_RAISED, "nothing_kept.steps": "3"}),
    "suffixes": Small(
        _refusal_model,
        {
            **_RAISED, "recover.steps": "3", "soft.steps": "3", "typed.steps": "2",
            "typed.token_suffix": "gcg(tokens = 2, candidates = 4, top = 8)",
        },
    ),
    "gemma": Small(
        _gemma_model,
        {**_RAISED, "staged.opening.steps": "2", "staged.answer.steps": "3", "staged.checks": "2"},
    ),
}  # fmt: skip
"""Each spec of the folder, by its name."""
