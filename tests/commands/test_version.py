"""`recoverdsl --version` prints the versions for a bug report without importing the libraries."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import version

import pytest

import recoverdsl
from tests.run.commands import cli


def test_the_versions_of_the_tool_python_and_the_libraries_are_printed() -> None:
    done = cli("--version")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"recoverdsl {recoverdsl.__version__}",
        f"python {platform.python_version()}",
        f"torch {version('torch')}",
        f"transformers {version('transformers')}",
        f"sae_lens {version('sae-lens')}",
    ]


def test_a_library_that_is_missing_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recoverdsl.commands.version.LIBRARIES", {"sae_lens": "no-such-library"})
    assert cli("--version").out.splitlines()[2:] == ["sae_lens not installed"]


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from recoverdsl.cli import app\n"
        "app.main(['--version'], standalone_mode=False)\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"attrs", "lark", "numpy", "pandas", "rich", "sae_lens", "torch", "transformers"}
    assert heavy.isdisjoint(done.stderr.split())
