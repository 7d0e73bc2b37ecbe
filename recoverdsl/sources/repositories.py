"""A repository of the Hugging Face hub as a source of models, SAEs and tables."""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from attrs import evolve, frozen

from recoverdsl.errors import SpecError, UnavailableError
from recoverdsl.language.schema import HuggingFace
from recoverdsl.sources import hub
from recoverdsl.sources.cache import PICKLES, WEIGHTS
from recoverdsl.sources.contents import Contents, Look
from recoverdsl.sources.fetcher import Fetcher, Revision
from recoverdsl.sources.names import plain
from recoverdsl.sources.source import Purpose, Source, Table
from recoverdsl.sources.tables import TABLES, read_rows
from recoverdsl.sources.weights import (
    PICKLES_WHY,
    check_sha256,
    check_weights,
    compare_sha256,
    holds_weights,
)

# A model in GGUF is fetched only by name: such repositories hold the same weights many times over.
_WANTED: Mapping[Purpose, tuple[str, ...]] = {
    "model": (".safetensors", ".json", ".txt", ".model", ".tiktoken", ".jinja"),
    "sae": (".safetensors", ".npz", ".json"),
    "data": TABLES,
}


@frozen
class Repository(Source[HuggingFace]):
    """A repository, or one file or folder of it.

    Only formats that cannot hold code are fetched. A snapshot may still hold pickles that another
    tool put there, so load with `use_safetensors=True`.
    """

    def pin(self, fetcher: Fetcher) -> str:
        if self.purpose == "data":
            digests = [fetcher.digest(file) for file in self._tables(fetcher)]
            if len(digests) == 1:
                return digests[0]
            return hashlib.sha256("\n".join(digests).encode()).hexdigest()
        commit = hub.commit_or_name(fetcher, self.revision())
        return f"huggingface:{self.call.repository}@{commit}/{self.call.file or ''}"

    def contents(self, fetcher: Fetcher, look: Look) -> Contents:
        found = hub.contents(fetcher, self.revision(), self.patterns(), look)
        if found.files is None:
            return found
        here = look == "fetched" and fetcher.offline
        files = self._loaded(found.files, here=here)
        if self.sha256:
            weights = [digest for name, digest in files.items() if holds_weights(name)]
            compare_sha256(weights, self.sha256)
        return evolve(found, files=files)

    def revision(self) -> Revision:
        return Revision(
            self.call.repository,
            self.call.revision or "main",
            "dataset" if self.purpose == "data" else "model",
        )

    def locate(self, fetcher: Fetcher) -> Path:
        place = self._fetched(fetcher)
        check_weights(place, self._name)
        check_sha256(place, self.sha256, fetcher)
        return place

    def tables(self, fetcher: Fetcher, limit: int | None) -> list[Table]:
        return [Table(file.name, read_rows(file)) for file in self._tables(fetcher)]

    def patterns(self) -> list[str]:
        """Return the files to fetch, as patterns in which `*` also crosses folders."""
        call, suffixes = self.call, _WANTED[self.purpose]
        stem = f"*{glob.escape(call.split)}*" if call.split else "*"
        endings = [f"{stem}{suffix}" for suffix in suffixes]
        if call.file is None:
            return endings
        name = glob.escape(plain(call.file, "file in a repository"))
        single = PurePosixPath(call.file).suffix.lower() in {*suffixes, ".gguf"}
        return [name] if single else [f"{name}/{ending}" for ending in endings]

    @property
    def _name(self) -> str:
        """The call, for messages."""
        return f"huggingface({self.call.repository!r})"

    def _fetched(self, fetcher: Fetcher) -> Path:
        """Return the snapshot, or the file or folder of it that the call names."""
        file = self.call.file
        if file and PurePosixPath(file).suffix.lower() in PICKLES:
            raise UnavailableError(f"{file} is a pickle", where=self._name, why=PICKLES_WHY)
        patterns = self.patterns()
        folder = hub.snapshot(fetcher, hub.at_commit(fetcher, self.revision()), patterns)
        place = folder / file if file else folder
        # Where nothing matches there is no folder either, and what is missing depends on the purpose.
        if file and not place.exists():
            raise UnavailableError(
                f"has no {file!r} that can be loaded", where=self._name, why=f"looked in {folder}"
            )
        return place

    def _tables(self, fetcher: Fetcher) -> list[Path]:
        place = self._fetched(fetcher)
        if place.is_file():
            return [place]
        inside = (file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file())
        return [place / name for name in self._table_names(inside)]

    def _loaded(self, files: Mapping[str, str], *, here: bool) -> dict[str, str]:
        """Return the files of the repository that are loaded.

        Args:
            here: whether the files are only those that were fetched before.
        """
        file = self.call.file
        if file and not files:
            raise UnavailableError(f"has no {file!r} that can be loaded", where=self._name)
        if self.purpose != "data":
            if not any(PurePosixPath(name).suffix.lower() in WEIGHTS for name in files):
                raise UnavailableError(
                    "has no weights that can be loaded",
                    where=self._name,
                    why=f"looked for {', '.join(sorted(WEIGHTS))}{' on this machine' if here else ''}",
                    help="run once without `--offline`, so that they are fetched"
                    if here
                    else "name a file of it that is safe to load, or a repository that has safetensors",
                )
            return dict(files)
        if file in files:
            return dict(files)
        inside = f"{file}/" if file else ""
        names = self._table_names(name.removeprefix(inside) for name in files)
        return {f"{inside}{name}": files[f"{inside}{name}"] for name in names}

    def _table_names(self, names: Iterable[str]) -> list[str]:
        """Return the files of the repository, or of its folder that the call names, that hold the rows; in order.

        Raises:
            UnavailableError: none does.
            SpecError: several tables match.
        """
        split = self.call.split
        found = sorted(file for file in map(PurePosixPath, names) if file.suffix.lower() in TABLES)
        # `train` is a whole word in `data/train-00000-of-00002.parquet`, and not in `retrained.jsonl`.
        word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(split or '')}(?![A-Za-z0-9])")
        files = [file for file in found if not split or word.search(str(file))]
        if not files:
            raise UnavailableError(
                "has no table that can be read",
                where=self._name,
                why=f"looked for {', '.join(TABLES)}" + (f" of split {split!r}" if split else ""),
                help=f"found {', '.join(map(str, found[:5]))}"
                if found
                else "scripts of a data set are never run",
            )
        if len(files) > 1 and (
            not split or len({(file.parent, file.suffix) for file in files}) > 1
        ):
            raise SpecError(
                "holds several tables",
                where=self._name,
                why=f"found {', '.join(map(str, found[:5]))}",
                help='choose with `split = "…"` or `file = "…"`',
            )
        return [str(file) for file in files]
