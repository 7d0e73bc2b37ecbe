"""What lies in a folder."""

from __future__ import annotations

from pathlib import Path


def files_in(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
