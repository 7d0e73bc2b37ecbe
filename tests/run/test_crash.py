"""A bug in the tool: no traceback on the terminal, and no exit code that reads as a verdict."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recoverdsl import cli


def test_a_crash_is_one_message_and_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**_: object) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr(cli.app, "main", broken)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 3
    said = capsys.readouterr().err
    assert "bug in recoverdsl" in said and "Traceback" not in said
    found = re.search(r"where: (\S+)", said)
    assert found is not None
    file = Path(found[1])
    assert "list index out of range" in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    file.unlink()
