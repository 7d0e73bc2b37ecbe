"""Files and folders beside the spec."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from recoverdsl.errors import SpecError, UnavailableError
from recoverdsl.language.schema import File, Folder
from recoverdsl.measure.phrases import load_phrases
from recoverdsl.sources.contents import Contents, Look
from recoverdsl.sources.fetcher import Fetcher
from recoverdsl.sources.source import Source, Table
from recoverdsl.sources.tables import read_rows
from recoverdsl.sources.weights import check_sha256, check_weights


@frozen
class LocalFolder(Source[Folder]):
    """A folder, or a single weight file, with the weights of a model or an SAE."""

    def pin(self, fetcher: Fetcher) -> str:
        return f"sha256:{fetcher.digest(self._find(fetcher))}"

    def contents(self, fetcher: Fetcher, look: Look) -> Contents:
        return Contents(files=fetcher.digests(self.locate(fetcher)))

    def locate(self, fetcher: Fetcher) -> Path:
        place = self._find(fetcher)
        check_sha256(place, self.sha256, fetcher)
        return place

    def _find(self, fetcher: Fetcher) -> Path:
        path = self.call.path
        place = find_path(fetcher, path)
        if place.is_dir():
            for inner in place.rglob("*"):
                if inner.is_symlink():
                    _refuse_outside(fetcher, inner.resolve(), f"{path}/{inner.relative_to(place)}")
        check_weights(place, f"folder({path!r})")
        return place


@frozen
class LocalFile(Source[File]):
    """A file with a table of examples, or with phrase lists."""

    def pin(self, fetcher: Fetcher) -> str:
        if self.purpose == "phrases":
            return load_phrases(find_path(fetcher, self.call.path)).digest
        return fetcher.digest(self._find(fetcher))

    def contents(self, fetcher: Fetcher, look: Look) -> Contents:
        if self.purpose == "phrases":
            load_phrases(find_path(fetcher, self.call.path))
        return Contents(files={self.call.path: fetcher.digest(self._find(fetcher))})

    def tables(self, fetcher: Fetcher, limit: int | None) -> list[Table]:
        place = self._find(fetcher)
        return [Table(place.name, read_rows(place))]

    def _find(self, fetcher: Fetcher) -> Path:
        place = find_path(fetcher, self.call.path)
        if not place.is_file():
            raise UnavailableError(f"{self.call.path!r} is not a file", why=f"found {place}")
        return place


def find_path(fetcher: Fetcher, path: str) -> Path:
    """Return an existing path beside the spec, with symbolic links resolved.

    Raises:
        SpecError: it is not a path, or leaves the folder of the spec.
        UnavailableError: there is nothing at it.
    """
    try:
        place = (fetcher.spec_folder / path).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise SpecError(f"{path!r} is not a path", why=str(error)) from error
    _refuse_outside(fetcher, place, path)
    if not place.exists():
        raise UnavailableError(f"{path!r} does not exist", why=f"looked for {place}")
    return place


def _refuse_outside(fetcher: Fetcher, place: Path, path: str) -> None:
    if not fetcher.allow_outside and not place.is_relative_to(fetcher.spec_folder):
        raise SpecError(
            f"{path!r} leaves the folder of the spec",
            why=f"it leads to {place}, outside {fetcher.spec_folder}",
            help="move it beside the spec, or allow such paths with `--allow-outside`",
        )
