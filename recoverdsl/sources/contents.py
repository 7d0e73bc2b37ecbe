"""The content of a source, as a lock records it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from attrs import field, frozen

Look: TypeAlias = Literal["published", "fetched", "named"]
"""How much of a repository is looked at. `published`: the files that the hub lists for it now, without
fetching the weights. `fetched`: the files on this machine, fetched if need be. `named`: the commit
alone. Files beside the spec are always read."""


@frozen(kw_only=True)
class Contents:
    """The content of a source, by commit and sha256."""

    repository: str | None = None
    """Of a release: the repository in which sae_lens finds it."""
    commit: str | None = None
    """Of a repository of the hub: 40 digits."""
    files: Mapping[str, str] | None = field(factory=dict)
    """The sha256 of each file that is loaded, by its name in the source; None if it was not looked at."""
    sha256: str | None = None
    """Of what ships with the tool: the rows of a template, its own phrase lists."""
