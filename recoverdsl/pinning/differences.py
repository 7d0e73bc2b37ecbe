"""The differences between a lock and the present state of a spec, each with its fix."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from recoverdsl.errors import LockError, RecoverdslError, UnavailableError
from recoverdsl.pinning.current_lock import CurrentLock
from recoverdsl.pinning.lock import Lock, Pinned

_NOTHING = "nothing"
_RESTORE = "restore the locked version; to accept the new one"


@frozen
class Difference:
    """One difference between a lock and the present state of a spec."""

    where: str
    """`sae mid, cfg.json`, `versions`, `the spec`."""
    locked: str
    found: str
    help: str
    missing: bool = False
    """Whether the only difference is that the source is not available."""

    def __str__(self) -> str:
        lines = [self.where, f"  locked: {self.locked}", f"  found:  {self.found}"]
        return "\n".join([*lines, f"  help:   {self.help}"])


def compare(lock: Lock, found: CurrentLock, spec: Path) -> tuple[Difference, ...]:
    """Return every difference between a lock and the present state of a spec.

    Args:
        spec: the path of the spec, for the commands that fix a difference.
    """
    again = lock_command(spec, found.lock.overrides)
    return (
        *_spec(lock, found.lock, spec, again),
        *_versions(lock.versions, found.lock.versions, again),
        *(
            difference
            for path in sorted({*lock.sources, *found.lock.sources, *found.missing})
            for difference in _source(
                path.replace(".", " "),
                lock.sources.get(path),
                found.missing.get(path) or found.lock.sources.get(path),
                again,
            )
        ),
    )


def lock_command(spec: Path, overrides: Mapping[str, str]) -> str:
    """Return the command that locks a spec with these values."""
    return _command("lock", spec, overrides)


def refuse(differences: Sequence[Difference], where: Path, what: str) -> None:
    """Raise an error that lists every difference, if there is one.

    Raises:
        UnavailableError: the only differences are sources that are not available.
        LockError: there are other differences.
    """
    if not differences:
        return
    listed = "\n".join(str(difference) for difference in differences)
    indented = "\n".join(f"  {line}" for line in listed.split("\n"))
    count = "1 difference" if len(differences) == 1 else f"{len(differences)} differences"
    text = f"{what}: {count}\n{indented}"
    if all(difference.missing for difference in differences):
        raise UnavailableError(text, where=str(where))
    raise LockError(text, where=str(where), differences=tuple(differences))


def _spec(lock: Lock, found: Lock, spec: Path, again: str) -> Iterator[Difference]:
    if lock.spec == found.spec:
        return
    sets = lock.overrides != found.overrides
    as_locked = f"run it as locked: {_command('run --locked', spec, lock.overrides)}"
    yield Difference(
        "the spec",
        f"{lock.spec}{_with(lock.overrides) if sets else ''}",
        f"{found.spec}{_with(found.overrides) if sets else ''}",
        f"{as_locked if sets else 'undo the change'}; to accept the change, lock again: {again}",
    )


def _with(overrides: Mapping[str, str]) -> str:
    given = [f"--set {path}={value}" for path, value in sorted(overrides.items())]
    return f", with {' '.join(given)}" if given else ", without --set"


def _versions(
    locked: Mapping[str, str], found: Mapping[str, str], again: str
) -> Iterator[Difference]:
    names = sorted(name for name in {*locked, *found} if locked.get(name) != found.get(name))
    if not names:
        return
    ways = []
    if "python" in names and "python" in locked:
        ways.append(f"use Python {locked['python']}")
    packages = [f"{name}=={locked[name]}" for name in names if name in locked and name != "python"]
    if packages:
        ways.append(f"in a separate environment, pip install {' '.join(packages)}")
    yield Difference(
        "versions",
        ", ".join(f"{name} {locked.get(name, _NOTHING)}" for name in names),
        ", ".join(f"{name} {found.get(name, _NOTHING)}" for name in names),
        f"{'; '.join([*ways, 'or lock again'])}: {again}",
    )


def _source(
    where: str, locked: Pinned | None, found: Pinned | RecoverdslError | None, again: str
) -> Iterator[Difference]:
    if locked is None:
        new = "not available" if isinstance(found, RecoverdslError) else found and found.source
        yield Difference(where, _NOTHING, str(new), f"lock again: {again}")
    elif isinstance(found, RecoverdslError):
        said = ": ".join(filter(None, [found.where, found.what]))
        found_text = f"{said} ({found.why})" if found.why else said
        missing = isinstance(found, UnavailableError)
        help = found.help or f"{_RESTORE}, lock again: {again}"
        yield Difference(where, locked.source, found_text, help, missing)
    elif found is None:
        yield Difference(where, locked.source, _NOTHING, f"lock again: {again}")
    else:
        for part, before, now in _facts(locked, found):
            # A file of the locked commit cannot have changed; it was never fetched to this machine.
            missing = now is None and locked.commit is not None and found.commit == locked.commit
            help = (
                "run with network access, so that it is fetched"
                if missing
                else f"{_RESTORE}, lock again: {again}"
            )
            yield Difference(f"{where}, {part}", before or _NOTHING, now or _NOTHING, help, missing)


def _facts(locked: Pinned, found: Pinned) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield the facts in which two entries of the same name differ, as locked and as found."""
    for name in ("source", "repository", "commit", "sha256"):
        before, now = getattr(locked, name), getattr(found, name)
        if before != now:
            yield name, before, now
    if found.files is not None:
        files = locked.files or {}
        for name in sorted({*files, *found.files}):
            if files.get(name) != found.files.get(name):
                yield name, files.get(name), found.files.get(name)


def _command(command: str, spec: Path, overrides: Mapping[str, str]) -> str:
    given = [f"--set {shlex.quote(f'{path}={value}')}" for path, value in sorted(overrides.items())]
    return " ".join(["recoverdsl", command, shlex.quote(str(spec)), *given])
