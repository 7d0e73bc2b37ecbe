"""Errors, each with its fix for the user. One base class; each subclass has its exit code."""

from __future__ import annotations

EXIT_CODES = {
    0: 'done, and the verdict, if there is one, is "holds" or "not judged"',
    1: 'done, but the verdict is "does not hold" or "inconclusive", a file is not formatted, or a lock is out of date',
    2: "the command or the spec is wrong",
    3: "a model, an SAE, data, memory or disk space is not available; or the tool has a bug",
    4: "stopped part way; run again to resume",
}
"""Exit code of a command to its meaning. The codes are stable: scripts rely on them."""


class RecoverdslError(Exception):
    """Base of every error that the tool raises on purpose.

    Args:
        what: what went wrong, in one sentence.
        where: the file, option or block that it is about.
        why: what was found, or what was expected.
        help: how to fix it.
    """

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        why: str | None = None,
        help: str | None = None,
    ) -> None:
        self.what, self.where, self.why, self.help = what, where, why, help
        super().__init__(what)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        rest = [f"  why: {self.why}"] if self.why else []
        rest += [f"  help: {self.help}"] if self.help else []
        return "\n".join([head, *rest])


class UsageError(RecoverdslError):
    """The command line is wrong."""


class SpecError(RecoverdslError):
    """The spec is wrong. `diagnostics` holds every mistake."""

    def __init__(
        self, what: str, *, diagnostics: tuple[object, ...] = (), **more: str | None
    ) -> None:
        super().__init__(what, **more)
        self.diagnostics = diagnostics


class NotYetError(SpecError):
    """The spec is valid, but this version cannot execute all of it."""


class LockError(RecoverdslError):
    """The lock of a spec is missing, cannot be read, or differs from the spec and its sources.

    `differences` holds every difference.
    """

    def __init__(
        self, what: str, *, differences: tuple[object, ...] = (), **more: str | None
    ) -> None:
        super().__init__(what, **more)
        self.differences = differences


class UnavailableError(RecoverdslError):
    """A file, model, SAE or resource that is needed is not available, or does not fit the spec."""

    exit_code = 3


class StoppedError(RecoverdslError):
    """The run stopped part way; finished work is kept."""

    exit_code = 4


class BugError(RecoverdslError):
    """The tool found a bug in itself, and did nothing."""

    exit_code = 3
