"""The pretrained SAEs that sae_lens knows, and the point of the residual stream that each reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from attrs import frozen

from recoverdsl.errors import UsageError
from recoverdsl.sources import sae_lens_table
from recoverdsl.sources.sae_lens_table import releases

_HOOK = re.compile(r"blocks\.(\d+)\.hook_resid_(pre|post)(?![a-z])")
"""TransformerLens's name of a point of the residual stream, before a layer or behind it."""

_MOVED = {"gpt2": "openai-community/gpt2"}
"""Repositories that the table links by a name without an owner."""

_OUTPUTS: Mapping[str, str] = {
    "gemma_2": r"-res .* layer_(\d+)/",
    "gemma_3": r" resid_post\w*/layer_(\d+)_",
    "llama_scope": r" l(\d+)r_\d+x$",
    "llama_scope_r1_distill": r" l(\d+)r_",
    "dictionary_learning_1": r" resid_post_layer_(\d+)_",
    "goodfire": r" layer_(\d+)$",
    "qwen_scope": r" layer(\d+)$",
}
"""sae_lens's converter to what `repository path id` looks like for SAEs that read a layer's output.

It is what `sae_lens.loading.pretrained_sae_loaders` makes of them."""

_CONVERTERS = frozenset(
    {
        *_OUTPUTS, "None", "temporal", "deepseek_r1", "connor_rob_hook_z", "gemma_2_transcoder",
        "mwhanna_transcoder", "mntss_clt_layer_transcoder",
    }
)  # fmt: skip
"""The converters that are understood: of their SAEs it is known where they read."""


@frozen
class Pretrained:
    """One SAE of sae_lens's table."""

    release: str
    id: str
    path: str
    """Of the file or folder in its repository."""
    of: Mapping[str, Any]
    """What the table says of the whole release."""

    @property
    def model(self) -> str:
        """The model it was trained on, by the name that its authors use."""
        return str(self.of["model"])

    @property
    def repository(self) -> str | None:
        """That model's repository on the Hugging Face hub, where the table has it."""
        if "/" in self.model:
            return self.model
        link = str(self.of.get("links", {}).get("model", ""))
        name = link.removeprefix("https://huggingface.co/")
        name = _MOVED.get(name, name)
        return name if name.count("/") == 1 else None

    @property
    def understood(self) -> bool:
        """Whether it is known where it reads; if it then has no site, it is not the residual stream."""
        return str(self.of.get("conversion_func")) in _CONVERTERS

    @property
    def site(self) -> tuple[int, str] | None:
        """The layer, and `input` or `output`; None if it reads no such point, or it is not known."""
        if hook := _HOOK.search(self.id):
            return int(hook[1]), "input" if hook[2] == "pre" else "output"
        address = f"{self.of['repo_id']} {self.path} {self.id}"
        pattern = _OUTPUTS.get(str(self.of.get("conversion_func")))
        found = re.search(pattern, address) if pattern else None
        return (int(found[1]), "output") if found else None


def ids(release: str) -> list[str]:
    """The ids of all SAEs of a release.

    Raises:
        UsageError: there is no such release.
    """
    return [str(sae["id"]) for sae in _section(release)["saes"]]


def pretrained(release: str, id: str) -> Pretrained:
    """One SAE, by its release and id.

    Raises:
        UsageError: there is none of that name.
    """
    section = _section(release)
    for sae in section["saes"]:
        if sae["id"] == id:
            return Pretrained(release, id, str(sae["path"]), section)
    raise UsageError(
        f"the release {release} has no SAE {id!r}", where="--sae", help=_near(id, ids(release))
    )


def _section(release: str) -> Mapping[str, Any]:
    section = sae_lens_table.section(release)
    if section is None:
        raise UsageError(
            f"sae_lens knows no release {release!r}", where="--sae", help=_near(release, releases())
        )
    return section


def _near(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    shown = ", ".join(near or [*known[:3], "…"])
    return f"did you mean {shown}?" if near else f"there are {len(known)}: {shown}"
