"""The files that other programs read around the package: workflows, forms, hooks, the citation, the changelog."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import recoverdsl
from recoverdsl.cli import app

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted(
    path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"
)


def read(path: str | Path) -> Any:
    """The content of a YAML file."""
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


def steps(workflow: Any) -> list[dict[str, Any]]:
    """All steps of a workflow."""
    return [step for job in workflow["jobs"].values() for step in job.get("steps", [])]


# --- Workflows --------------------------------------------------------------------------------


def test_the_commands_of_the_readme_run_on_every_python_that_is_declared() -> None:
    job = read(".github/workflows/ci.yml")["jobs"]["readme"]
    (commands,) = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    shown = [line.partition("#")[0].strip() for line in commands.splitlines()]
    assert [step["run"] for step in job["steps"] if "run" in step] == shown
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = [
        found[1]
        for kind in project["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", kind))
    ]
    assert job["strategy"]["matrix"]["python"] == declared
    assert project["requires-python"] == f">={declared[0]}"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_asks_for_no_more_than_it_needs(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] in ({}, {"contents": "read"})
    writes = {
        (name, what)
        for name, job in workflow["jobs"].items()
        for what, how in job.get("permissions", {}).items()
        if how == "write"
    }
    assert writes <= {("publish", "id-token"), ("github-release", "contents")}
    assert "concurrency" in workflow
    for step in steps(workflow):
        assert re.fullmatch(r"[\w-]+/[\w-]+@[\w/.-]+", step.get("uses", "a/b@v1"))
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        # An expression within a script is how a name of a branch becomes a command.
        assert "${{" not in step.get("run", "")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_what_a_workflow_makes_is_in_the_makefile(path: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    made = {name for step in steps(read(path)) for name in re.findall(r"\bmake (\w+)", step.get("run", ""))}  # fmt: skip
    assert made <= targets


def test_the_notes_of_a_release_are_the_part_of_the_changelog_under_its_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    for heading in headings[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading)
    for name in re.findall(r"^## \[(.*?)\]", text, re.MULTILINE):
        assert re.search(rf"^\[{re.escape(name)}\]: https://", text, re.MULTILINE)


# --- Forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_a_form_asks_for_something(path: Path) -> None:
    form = read(path)
    assert {"name", "description", "body"} <= set(form)
    asked = [item for item in form["body"] if item["type"] != "markdown"]
    assert len({item["id"] for item in asked}) == len(asked)
    assert all(item["attributes"]["label"] for item in asked)
    assert any(item.get("validations", {}).get("required") for item in asked)


def test_there_is_a_form_for_each_kind_of_report() -> None:
    assert [path.stem for path in FORMS] == ["bug", "docs", "proposal", "verdict"]
    assert read(".github/ISSUE_TEMPLATE/config.yml")["blank_issues_enabled"] is False


# --- Hooks and the citation -------------------------------------------------------------------


def test_hooks_are_command_lines_that_the_tool_understands() -> None:
    (local,) = read(".pre-commit-config.yaml")["repos"]
    hooks = [*local["hooks"], *read(".pre-commit-hooks.yaml")]
    entries = [shlex.split(hook["entry"]) for hook in hooks]
    ours = [words[1:] for words in entries if words[0] == "recoverdsl"]
    assert len(ours) == 4
    for name, *arguments in ours:
        app.commands[name].make_context(name, [*arguments, "a.rec"], parent=click.Context(app))
    for hook in hooks:
        if hook["entry"].startswith("recoverdsl"):
            assert re.search(hook["files"], "specs/ioi.rec")
            assert not re.search(hook["files"], "specs/ioi.rec.lock")


def test_the_citation_names_the_tool_and_the_paper() -> None:
    citation = read("CITATION.cff")
    assert citation["authors"] == [{"name": "recoverdsl contributors"}]
    (paper,) = citation["references"]
    assert paper["url"] == "https://arxiv.org/abs/2606.18322"
    # The version is written in one place.
    assert "version" not in citation
    assert recoverdsl.__version__ not in (ROOT / "pyproject.toml").read_text("utf-8")
