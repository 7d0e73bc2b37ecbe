"""A lock: the digest of a spec, the content of its sources, and the versions of the software."""

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
    """The exact meaning of a spec, so that anyone can check later that it is unchanged."""

    spec: str
    """The digest of the canonical spec, which ignores comments and the order of blocks."""
    overrides: Mapping[str, str]
    """Values of `--set` that replace those of the text, by path."""
    versions: Mapping[str, str]
    sources: Mapping[str, Pinned]
    """By path: `model.tiny`, `behavior.answers.judge`."""
