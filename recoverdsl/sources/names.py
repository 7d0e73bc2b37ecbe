"""Names that come from a spec or from a stranger's program, made safe."""

from __future__ import annotations

from recoverdsl.errors import SpecError


def plain(path: str, what: str) -> str:
    """The path again, if it is a plain relative one, with forward slashes, that stays where it is."""
    parts = path.split("/")
    if not path.isprintable() or any(
        part in ("", ".", "..") or set(part) & set("\\:") for part in parts
    ):
        raise SpecError(
            f"{path!r} cannot be a {what}",
            why="it has to be relative, with forward slashes, and without `..`",
        )
    return path


def printable(line: str) -> str:
    """A line of output without the characters that a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in line).strip()
