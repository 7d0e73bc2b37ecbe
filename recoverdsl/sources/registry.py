"""The kinds of sources, each found by the call that a spec writes."""

from __future__ import annotations

from types import NoneType
from typing import Any

from recoverdsl.language.schema import (
    Classifier,
    Data,
    File,
    Folder,
    HuggingFace,
    Model,
    PyPI,
    Release,
    Sae,
    Template,
)
from recoverdsl.sources.local import LocalFile, LocalFolder
from recoverdsl.sources.phrases import OwnPhrases
from recoverdsl.sources.releases import ReleasedSae
from recoverdsl.sources.repositories import Repository
from recoverdsl.sources.source import Block, Source
from recoverdsl.sources.templates import DrawnRows
from recoverdsl.sources.wheels import Wheel

SOURCES: dict[type, type[Source[Any]]] = {
    PyPI: Wheel,
    HuggingFace: Repository,
    Release: ReleasedSae,
    Folder: LocalFolder,
    File: LocalFile,
    Template: DrawnRows,
    NoneType: OwnPhrases,
}
"""Class of a call to the kind of source that it names."""


def source_of(block: Block) -> Source[Any]:
    """Return the source of a block."""
    match block:
        case Model(source=call, sha256=sha256):
            return SOURCES[type(call)](call, "model", sha256)
        case Sae(source=call, sha256=sha256):
            return SOURCES[type(call)](call, "sae", sha256)
        case Classifier(source=call):
            return SOURCES[type(call)](call, "model")
        case Data(source=call):
            return SOURCES[type(call)](call, "data")
        case phrases:
            return SOURCES[type(phrases)](phrases, "phrases")
