"""`SPEC.rec.lock`: a lock as TOML, one fact per line, the same on every machine."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recoverdsl.errors import LockError
from recoverdsl.pinning.lock import Lock, Pinned

FORMAT = 1
"""The version of the format, raised when older locks would be read differently."""

LARGEST = 16 << 20
"""The largest lock that is read, in bytes."""

_KEY = "recoverdsl-lock"
_HEAD = (
    "Written by `recoverdsl lock`; `recoverdsl run --locked` takes nothing else. Not to be edited."
)


def lock_path(spec: Path) -> Path:
    """Return the path of the lock of a spec, beside it."""
    return spec.with_name(f"{spec.name}.lock")


def to_text(lock: Lock) -> str:
    """Return a lock as TOML. The same lock gives the same text."""
    import tomlkit

    document = tomlkit.document()
    document.add(tomlkit.comment(_HEAD))
    document.add(_KEY, tomlkit.item(FORMAT))
    document["spec"] = {"digest": lock.spec} | (
        {"set": dict(sorted(lock.overrides.items()))} if lock.overrides else {}
    )
    document["versions"] = dict(sorted(lock.versions.items()))
    for path, pinned in sorted(lock.sources.items()):
        *above, name = path.split(".")
        table: Any = document
        for key in above:
            table = table.setdefault(key, tomlkit.table(is_super_table=True))
        table[name] = _table(pinned)
    return tomlkit.dumps(document)


def _table(pinned: Pinned) -> Mapping[str, Any]:
    import tomlkit

    # A call has quotation marks, which are easier to read without backslashes.
    literal = "'" not in pinned.source and pinned.source.isprintable()
    facts = {
        "source": tomlkit.string(pinned.source, literal=literal),
        "repository": pinned.repository,
        "commit": pinned.commit,
        "sha256": pinned.sha256,
        "files": dict(sorted((pinned.files or {}).items())) or None,
    }
    return {key: fact for key, fact in facts.items() if fact is not None}


def read_lock(path: Path) -> Lock:
    """Read a lock from its file.

    Raises:
        LockError: there is none, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError as error:
        spec = str(path).removesuffix(".lock")
        raise LockError(
            "there is no lock", where=str(path), help=f"write one: recoverdsl lock {spec}"
        ) from error
    except OSError as error:
        raise LockError("the lock cannot be read", where=str(path), why=error.strerror) from error
    try:
        return from_text(content.decode())
    except ValueError as error:
        raise LockError(
            "this is not a valid lock",
            where=str(path),
            why=str(error),
            help="restore the signed lock, or write a new one with `recoverdsl lock`",
        ) from error


def from_text(text: str) -> Lock:
    """Read a lock from its text.

    Raises:
        ValueError: the text is not a lock, or of another format.
    """
    document = tomllib.loads(text)
    if (found := document.pop(_KEY, None)) != FORMAT:
        raise ValueError(f"expected `{_KEY} = {FORMAT}`, found {found!r}")
    spec = _fields(document.pop("spec", None), "spec")
    versions = _texts(document.pop("versions", None), "versions")
    return Lock(
        spec=_text(spec.get("digest"), "spec.digest"),
        overrides=_texts(spec.get("set", {}), "spec.set"),
        versions=versions,
        sources=dict(_sources(document, "")),
    )


def _sources(table: Mapping[str, Any], above: str) -> Iterator[tuple[str, Pinned]]:
    for name, inner in table.items():
        path = f"{above}{name}"
        fields = _fields(inner, path)
        if not isinstance(fields.get("source"), str):
            yield from _sources(fields, f"{path}.")
            continue
        facts = {
            key: _text(fields[key], f"{path}.{key}")
            for key in ("repository", "commit", "sha256")
            if key in fields
        }
        files = _texts(fields.get("files", {}), f"{path}.files")
        yield path, Pinned(fields["source"], files=files, **facts)


def _fields(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"expected a table as `{path}`, found {_kind(value)}")
    return value


def _texts(value: Any, path: str) -> dict[str, str]:
    return {key: _text(text, f"{path}.{key}") for key, text in _fields(value, path).items()}


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a string as `{path}`, found {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__
