"""SARIF: valid by the official schema, with the places and fixes of the diagnostics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator

from recoverdsl.language import CODES, check
from recoverdsl.language.diagnostics.sarif import render_sarif
from tests.language.texts import DIAGNOSTICS, HERE, IOI, SMALL
from tests.run.commands import cli

SCHEMA = Draft4Validator(
    json.loads((HERE / "sarif" / "sarif-2.1.0-rtm.5.json").read_text(encoding="utf-8"))
)
BROKEN = sorted(DIAGNOSTICS.glob("*.rec"))


def log_of(text: str, file: str = "specs/a spec.rec", **more: Any) -> Any:
    return json.loads(render_sarif(check(text, file, **more).diagnostics))


def test_the_schema_refuses_what_is_no_log() -> None:
    log = log_of(IOI)
    log["runs"][0]["results"] = [{"ruleId": "REC101"}]
    assert not SCHEMA.is_valid(log)


def test_all_fixtures_are_valid_sarif() -> None:
    found = [d for path in BROKEN for d in check(path.read_text(encoding="utf-8"), path.name).diagnostics]  # fmt: skip
    log = json.loads(render_sarif(found))
    SCHEMA.validate(log)
    (run,) = log["runs"]
    assert len(run["results"]) == len(found)
    assert any("fixes" in result for result in run["results"])
    assert any("relatedLocations" in result for result in run["results"])
    assert {result["level"] for result in run["results"]} == {"error", "warning"}


def test_rules_are_the_pages() -> None:
    rules = log_of(IOI)["runs"][0]["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(CODES)
    for rule, (code, kind) in zip(rules, CODES.items(), strict=True):
        assert rule["shortDescription"]["text"] == kind.title
        assert rule["defaultConfiguration"]["level"] == kind.severity
        assert rule["help"]["markdown"].startswith(f"# {code}")


def test_a_result_has_its_place_and_its_fix() -> None:
    (result,) = log_of(SMALL + "expect drit(go) <= 5%\n")["runs"][0]["results"]
    place = {"startLine": 9, "startColumn": 8, "endLine": 9, "endColumn": 12}
    assert result["message"]["text"] == "there is no metric `drit`; did you mean `drift`?"
    assert list(CODES)[result["ruleIndex"]] == result["ruleId"] == "REC210"
    physical = result["locations"][0]["physicalLocation"]
    assert physical["artifactLocation"]["uri"] == "specs/a%20spec.rec"
    assert physical["region"] == {**place, "snippet": {"text": "expect drit(go) <= 5%"}}
    (change,) = result["fixes"][0]["artifactChanges"]
    assert change["artifactLocation"] == physical["artifactLocation"]
    assert change["replacements"] == [
        {"deletedRegion": place, "insertedContent": {"text": "drift"}}
    ]


def test_what_is_set_is_in_no_file() -> None:
    log = log_of(SMALL, overrides={"go.steps": "0"})
    SCHEMA.validate(log)
    (result,) = log["runs"][0]["results"]
    assert "locations" not in result
    assert result["message"]["text"].startswith("--set go.steps = 0: ")


def test_an_absolute_path_is_a_uri(tmp_path: Path) -> None:
    path = tmp_path / "ä.rec"
    (result,) = log_of("recoverdsl 2\n", str(path))["runs"][0]["results"]
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == path.as_uri()


@pytest.mark.parametrize("text", [IOI, "recoverdsl 2\n"], ids=["right", "wrong"])
def test_the_command(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    path.write_text(text, encoding="utf-8")
    done = cli("check", path, "--format", "sarif")
    log = json.loads(done.out)
    SCHEMA.validate(log)
    assert done.code == (2 if log["runs"][0]["results"] else 0)
