"""Errors for the person who can mend them. One base class; each kind has its exit code."""

from __future__ import annotations

EXIT_CODES = {
    0: "done, and every expectation holds",
    1: "done, and the answer is no: an expectation does not hold, a file is not formatted, or a lock is out of date",
    2: "the command or the spec is wrong",
    3: "something that is needed cannot be had: model, SAE, data, memory, disk; or a bug",
    4: "stopped part way; run again to resume",
}
"""What every command ends with. They are stable: scripts rely on them."""


class RecoverdslError(Exception):
    """Base of every error that the tool raises on purpose.

    Args:
        what: what went wrong, in one sentence.
        where: the file, option or block that it is about.
        why: what was found, or what was looked for.
        help: how to mend it.
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
    """The spec is wrong. `diagnostics` holds every mistake that was found."""

    def __init__(
        self, what: str, *, diagnostics: tuple[object, ...] = (), **more: str | None
    ) -> None:
        super().__init__(what, **more)
        self.diagnostics = diagnostics


class NotYetError(SpecError):
    """The spec is right, and asks for something that this version cannot execute."""


class LockError(RecoverdslError):
    """The lock of a spec is missing, cannot be read, or says something else than what is found.

    `differences` holds every one.
    """

    def __init__(
        self, what: str, *, differences: tuple[object, ...] = (), **more: str | None
    ) -> None:
        super().__init__(what, **more)
        self.differences = differences


class UnavailableError(RecoverdslError):
    """Something that the spec names cannot be had, or does not fit."""

    exit_code = 3


class StoppedError(RecoverdslError):
    """Stopped part way; what is done is kept."""

    exit_code = 4


class BugError(RecoverdslError):
    """The tool has noticed that it is wrong itself, and has done nothing."""

    exit_code = 3
