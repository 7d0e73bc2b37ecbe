"""Names from a spec or from the output of another program, made safe."""

from __future__ import annotations

from recoverdsl.errors import SpecError


def plain(path: str, what: str) -> str:
    """Return the path if it is a plain relative one, with forward slashes, that leaves no folder."""
    parts = path.split("/")
    if not path.isprintable() or any(
        part in ("", ".", "..") or set(part) & set("\\:") for part in parts
    ):
        raise SpecError(
            f"{path!r} cannot be a {what}",
            why="it must be relative, with forward slashes, and without `..`",
        )
    return path


def printable(line: str) -> str:
    """Return a line of output without the characters that control a terminal."""
    return "".join(character if character.isprintable() else " " for character in line).strip()
