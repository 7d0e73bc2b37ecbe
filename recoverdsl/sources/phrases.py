"""The phrase lists that ship with the tool, as a source."""

from __future__ import annotations

from attrs import frozen

from recoverdsl.measure.phrases import load_phrases
from recoverdsl.sources.contents import Contents, Look
from recoverdsl.sources.fetcher import Fetcher
from recoverdsl.sources.source import Source


@frozen
class OwnPhrases(Source[None]):
    """The tool's own phrase lists, for a behavior that names no file."""

    def pin(self, fetcher: Fetcher) -> str:
        return load_phrases().digest

    def contents(self, fetcher: Fetcher, look: Look) -> Contents:
        return Contents(sha256=load_phrases().digest)
