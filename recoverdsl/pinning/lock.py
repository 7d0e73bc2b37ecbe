"""A lock: the digest of a spec, what each of its sources is, and the versions that compute."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from recoverdsl.sources.contents import Contents


@frozen
class Pinned(Contents):
    """The content of a source, and the source itself."""

    source: str
    """As the spec writes it."""


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
