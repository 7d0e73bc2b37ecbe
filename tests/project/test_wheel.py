"""The wheel is built the way a release builds it, from the source archive, and holds all that the tool reads."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import recoverdsl

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel of this checkout; nothing is fetched for it."""
    folder = tmp_path_factory.mktemp("dist")
    with tarfile.open(build("sdist", ROOT, folder)) as archive:
        archive.extractall(folder, filter="data")
    (source,) = (path for path in folder.iterdir() if path.is_dir())
    return zipfile.ZipFile(build("wheel", source, folder))


def build(target: str, source: Path, folder: Path) -> Path:
    """Builds an archive and returns its path."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)],
        cwd=source, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob({"sdist": "*.tar.gz", "wheel": "*.whl"}[target])
    return path


def test_every_file_of_the_package_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "recoverdsl").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == package | {"recoverdsl/language/recover.lark"}


def test_the_wheel_holds_the_marker_of_types_the_grammar_and_the_templates(
    wheel: zipfile.ZipFile,
) -> None:
    held = wheel.namelist()
    assert "recoverdsl/py.typed" in held
    assert {"report.html", "scores.rec.jinja"} <= {Path(name).name for name in held}
    grammar = (ROOT / "grammar/recover.lark").read_bytes()
    assert wheel.read("recoverdsl/language/recover.lark") == grammar


def test_the_metadata_has_the_version_of_the_package_and_leads_to_the_project(
    wheel: zipfile.ZipFile,
) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(wheel.read(name).decode())
    assert metadata["Version"] == recoverdsl.__version__
    assert metadata["Author"] == "recoverdsl contributors"
    assert metadata["License-Expression"] == "Apache-2.0"
    labels = {line.partition(",")[0] for line in metadata.get_all("Project-URL", [])}
    assert labels == {"Homepage", "Documentation", "Repository", "Issues", "Changelog"}
