"""A stand-in for the Hugging Face hub on this machine: the few answers that its client needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

LARGE = (".safetensors", ".npz", ".gguf", ".bin", ".pt")
"""Suffixes of files that the hub keeps apart from git, and whose sha256 it therefore knows."""


@define
class Repository:
    """Commits with their files, and branches and tags with their commits."""

    commits: dict[str, Mapping[str, bytes]] = field(factory=dict)
    branches: dict[str, str] = field(factory=dict)


@define
class Hub:
    """Repositories by name; those of data sets are `datasets/owner/name`."""

    repositories: dict[str, Repository] = field(factory=dict)
    gated: set[str] = field(factory=set)
    asked: list[str] = field(factory=list)
    """The requests of the client, in order."""
    corrupt: dict[str, bytes] = field(factory=dict)
    """Names of files that are sent with another content than their commit has."""

    def commit(self, name: str, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Add a commit to a repository, and move a branch there."""
        content = [[file, hashlib.sha1(data).hexdigest()] for file, data in sorted(files.items())]
        number = hashlib.sha1(json.dumps([name, content]).encode()).hexdigest()
        repository = self.repositories.setdefault(name, Repository())
        repository.commits[number] = dict(files)
        repository.branches[branch] = number
        return number

    def fetched(self) -> list[str]:
        """Return the files whose content was requested."""
        return [path.rpartition("/")[2] for path in self.asked if "/resolve/" in path]


class _Answers(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        if self.command == "GET":
            self.hub.asked.append(path)
        api = path.startswith("api/")
        parts = path.removeprefix("api/").removeprefix("models/").split("/")
        owner = 1 if parts[0] == "datasets" else 0
        if len(parts) < owner + 2:  # Requests to the hub itself, and not to a repository.
            return self.answer(404, b"", {})
        name = "/".join(parts[: owner + 2])
        kind, revision, *file = [*parts[owner + 2 :], "main"][: 2 if api else None]
        if name in self.hub.gated:
            return self.answer(403, b"", {"X-Error-Code": "GatedRepo"})
        if name not in self.hub.repositories:
            return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        repository = self.hub.repositories[name]
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        files = repository.commits[commit]
        if not api:
            return self.file(commit, files, "/".join(file[:-1]))
        content = self.tree(files) if kind == "tree" else self.info(name, commit, files)
        return self.answer(200, json.dumps(content).encode(), {})

    do_HEAD = do_GET

    def file(self, commit: str, files: Mapping[str, bytes], name: str) -> None:
        if name not in files:
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        content = self.hub.corrupt.get(name, files[name])
        etag = hashlib.sha256(files[name]).hexdigest()
        return self.answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": commit})

    def info(self, name: str, commit: str, files: Mapping[str, bytes]) -> dict[str, Any]:
        siblings = [
            {"rfilename": file, "size": len(data), "blobId": hashlib.sha1(data).hexdigest()}
            | ({"lfs": self.stored(data, "sha256")} if file.endswith(LARGE) else {})
            for file, data in files.items()
        ]
        return {"id": name.removeprefix("datasets/"), "sha": commit, "siblings": siblings}

    def tree(self, files: Mapping[str, bytes]) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": file, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            | ({"lfs": self.stored(data, "oid")} if file.endswith(LARGE) else {})
            for file, data in files.items()
        ]

    def stored(self, data: bytes, key: str) -> dict[str, Any]:
        return {key: hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 1}

    def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(cache: Path) -> Iterator[Hub]:
    """Yield a hub without repositories, which the client takes for the real one, with a cache of
    its own."""
    from huggingface_hub import constants

    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (_Answers,), {"hub": hub}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setattr(constants, "ENDPOINT", endpoint)
        patch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            endpoint + template[template.index("/{repo_id}") :],
        )
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        yield hub
    server.shutdown()
    server.server_close()
