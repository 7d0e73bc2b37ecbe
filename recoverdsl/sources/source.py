"""The base class of all kinds of sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, Literal, TypeAlias, TypeVar

from attrs import frozen

from recoverdsl.errors import BugError
from recoverdsl.language.schema import Classifier, Data, File, Model, Sae
from recoverdsl.sources.contents import Contents, Look
from recoverdsl.sources.fetcher import Fetcher, Revision
from recoverdsl.sources.tables import Row

Purpose: TypeAlias = Literal["model", "sae", "data", "phrases"]
"""The purpose of a source, which decides which of its files are fetched. A judge is a model too."""

Block: TypeAlias = Model | Sae | Data | Classifier | File | None
"""A block with a source. A file is one of phrase lists; None means those that ship with the tool."""

Call = TypeVar("Call")


@frozen
class Table:
    """One table of a data source."""

    name: str
    """For messages."""
    rows: Iterator[Row]


@frozen
class Pretrained:
    """An SAE that sae_lens loads by its own names for it."""

    release: str
    id: str
    fetch: Callable[[str], Path]
    """Returns a file of the SAE's repository, by its name there."""


@frozen
class Source(ABC, Generic[Call]):
    """One source of a spec. A kind of source is a subclass, registered in `registry.SOURCES`.

    Args:
        call: the source as the spec writes it; None is the phrase lists that ship with the tool.
        purpose: its purpose in the spec.
        sha256: the digest of its weight file that the spec requires.
    """

    call: Call
    purpose: Purpose
    sha256: str | None = None

    @abstractmethod
    def pin(self, fetcher: Fetcher) -> str:
        """Return a string that changes when the content does. It is part of the digests of steps.

        No weights are downloaded for it. Data sources are pinned by the content of their tables.
        """

    @abstractmethod
    def contents(self, fetcher: Fetcher, look: Look) -> Contents:
        """Return its content, as a lock records it.

        Raises:
            UnavailableError: it is not available, or is not what the spec itself pins.
            SpecError: it does not fit its block.
        """

    def revision(self) -> Revision | None:
        """Return the branch, tag or commit that it names; None if it names none."""
        return None

    def locate(self, fetcher: Fetcher) -> Path:
        """Return the local path of its weights, fetched if need be.

        Raises:
            UnavailableError: it is not available, or its sha256 is not the one that the spec names.
        """
        raise BugError(f"{self.call!r} has no local path")

    def pretrained(self, fetcher: Fetcher) -> Pretrained | None:
        """Return its names in sae_lens, which loads it by them; None if it is loaded from `locate`."""
        return None

    def tables(self, fetcher: Fetcher, limit: int | None) -> Sequence[Table]:
        """Return its tables in order.

        Args:
            limit: how many rows are wanted; a source may give more.
        """
        raise BugError(f"{self.call!r} holds no tables")
