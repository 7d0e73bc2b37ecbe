"""The pretrained SAEs of sae_lens, and the hook point of the residual stream that each reads."""

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
"""TransformerLens's name of a hook point of the residual stream, before or after a layer."""

_MOVED = {"gpt2": "openai-community/gpt2"}
"""Repositories that the table links without an owner, and their present names."""

_OUTPUTS: Mapping[str, str] = {
    "gemma_2": r"-res .* layer_(\d+)/",
    "gemma_3": r" resid_post\w*/layer_(\d+)_",
    "llama_scope": r" l(\d+)r_\d+x$",
    "llama_scope_r1_distill": r" l(\d+)r_",
    "dictionary_learning_1": r" resid_post_layer_(\d+)_",
    "goodfire": r" layer_(\d+)$",
    "qwen_scope": r" layer(\d+)$",
}
"""sae_lens's converter to the pattern of `repository path id` for SAEs that read a layer's output.

This is how `sae_lens.loading.pretrained_sae_loaders` reads them."""

_CONVERTERS = frozenset(
    {
        *_OUTPUTS, "None", "temporal", "deepseek_r1", "connor_rob_hook_z", "gemma_2_transcoder",
        "mwhanna_transcoder", "mntss_clt_layer_transcoder",
    }
)  # fmt: skip
"""The converters whose SAEs have a known hook point."""


@frozen
class Pretrained:
    """One SAE of sae_lens's table."""

    release: str
    id: str
    path: str
    """The file or folder in its repository."""
    entry: Mapping[str, Any]
    """The entry of the whole release in the table."""

    @property
    def model(self) -> str:
        """The model it was trained on, as its authors name it."""
        return str(self.entry["model"])

    @property
    def repository(self) -> str | None:
        """The repository of that model on the Hugging Face hub; None if the table does not have it."""
        if "/" in self.model:
            return self.model
        link = str(self.entry.get("links", {}).get("model", ""))
        name = link.removeprefix("https://huggingface.co/")
        name = _MOVED.get(name, name)
        return name if name.count("/") == 1 else None

    @property
    def understood(self) -> bool:
        """Whether its hook point is known; if it then has no site, it does not read the residual stream."""
        return str(self.entry.get("conversion_func")) in _CONVERTERS

    @property
    def site(self) -> tuple[int, str] | None:
        """The layer, and `input` or `output`; None if its hook point is another or is not known."""
        if hook := _HOOK.search(self.id):
            return int(hook[1]), "input" if hook[2] == "pre" else "output"
        address = f"{self.entry['repo_id']} {self.path} {self.id}"
        pattern = _OUTPUTS.get(str(self.entry.get("conversion_func")))
        found = re.search(pattern, address) if pattern else None
        return (int(found[1]), "output") if found else None


def ids(release: str) -> list[str]:
    """Return the ids of all SAEs of a release.

    Raises:
        UsageError: there is no such release.
    """
    return [str(sae["id"]) for sae in _section(release)["saes"]]


def pretrained(release: str, id: str) -> Pretrained:
    """Return one SAE by its release and id.

    Raises:
        UsageError: there is no such SAE.
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
            f"sae_lens has no release {release!r}", where="--sae", help=_near(release, releases())
        )
    return section


def _near(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    shown = ", ".join(near or [*known[:3], "…"])
    return f"did you mean {shown}?" if near else f"there are {len(known)}: {shown}"
