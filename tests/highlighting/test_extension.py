"""The VS Code extension is consistent: everything that its manifest names exists and belongs to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import recoverdsl
from recoverdsl.highlighting.textmate import SCOPE
from tests.highlighting.test_highlighting import GRAMMAR

FOLDER = Path(__file__).parents[2] / "editors/vscode"


def manifest() -> Any:
    return json.loads((FOLDER / "package.json").read_text())


def test_the_extension_has_the_version_of_the_tool() -> None:
    assert manifest()["version"] == recoverdsl.__version__


def test_every_file_that_the_manifest_names_is_there() -> None:
    contributes = manifest()["contributes"]
    named = [manifest()["main"]]
    named += [language["configuration"] for language in contributes["languages"]]
    named += [grammar["path"] for grammar in contributes["grammars"]]
    assert all((FOLDER / name).is_file() for name in named)
    json.loads((FOLDER / "language-configuration.json").read_text())


def test_language_and_grammar_belong_together() -> None:
    contributes = manifest()["contributes"]
    (language,), (grammar,) = contributes["languages"], contributes["grammars"]
    assert grammar["language"] == language["id"]
    assert grammar["scopeName"] == SCOPE == json.loads(GRAMMAR.read_text("utf-8"))["scopeName"]
    assert language["extensions"] == [".rec"]


def test_what_the_extension_uses_is_declared() -> None:
    code = (FOLDER / "extension.js").read_text()
    contributes = manifest()["contributes"]
    for command in contributes["commands"]:
        assert f'"{command["command"]}"' in code
    for setting in contributes["configuration"]["properties"]:
        assert f'"{setting}"' in code
