"""A lock: the digest of a spec, what each of its sources is, and the versions that compute."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen


@frozen
class Pinned:
    """What a source is."""

    source: str
    """As the spec writes it."""
    repository: str | None = None
    """Of a release: the repository in which sae_lens finds it."""
    commit: str | None = None
    """Of a repository of the hub: 40 digits."""
    files: Mapping[str, str] | None = field(factory=dict)
    """The sha256 of each file that is loaded, by its name in the source; None if it was not looked at."""
    sha256: str | None = None
    """Of what the tool brings along: the rows of a template, its own phrase lists."""


@frozen
class Lock:
    """What a spec means, so that it can be checked next year that it still does."""

    spec: str
    """The digest of the canonical spec: comments and the order of blocks leave no trace in it."""
    overrides: Mapping[str, str]
    """Values that `--set` put in the place of the text's own, by path."""
    versions: Mapping[str, str]
    sources: Mapping[str, Pinned]
    """By path: `model.tiny`, `behavior.answers.judge`."""
