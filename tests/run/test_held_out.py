"""Features that are ranked on other prompts than those that are tested."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import recoverdsl
from recoverdsl.report.evidence import cautions
from tests.run import claims

OVER = "attribution(names_the_recipient, over = ranking_prompts)"


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """Return the path of a claim with a second file of prompts, as `other.jsonl`."""
    path = claims.write(tmp_path)
    claims.write_rows(tmp_path / "other.jsonl", claims.rows(18, seed=1))
    return path


def selected(spec: Path, text: str) -> dict[str, Any]:
    """Return the ids and effects of the features that a spec selects, and its count of seen prompts."""
    spec.write_text(text)
    run = recoverdsl.load(spec).run(store=spec.parent / "store")
    environment = run.result.environment
    (features,) = environment["features"].values()
    return {
        **features["mid"],
        "seen": environment["ranking_prompts"],
        "cautions": cautions(run.result),
    }


def held_out(data: str, by: str = OVER) -> str:
    """Return the claim with other data blocks and another ranking, and without its attacks."""
    text = claims.SPEC.replace('data prompts { from = file("prompts.jsonl") }', data)
    text = text.replace("attribution(names_the_recipient)", by)
    return text[: text.index("attack unconstrained")]


def test_features_are_ranked_over_the_named_prompts_and_tested_on_the_others(spec: Path) -> None:
    two = 'data prompts { from = file("prompts.jsonl") }\ndata ranking_prompts { from = file("other.jsonl") }'
    only = 'data prompts { from = file("other.jsonl") }'
    found = selected(spec, held_out(two))
    other = selected(spec, held_out(only, "attribution(names_the_recipient)"))
    same = selected(spec, held_out(two.partition("\n")[0], "attribution(names_the_recipient)"))
    # Batches are of other sizes, so the effects may differ in the last digit that is kept.
    assert found["ids"] == other["ids"] != same["ids"]
    assert found["effects"] == pytest.approx(other["effects"], abs=2e-6)


def test_parts_of_one_file_rank_and_test(spec: Path) -> None:
    halves = (
        'data prompts { from = file("prompts.jsonl"); split = 50% }\n'
        "data ranking_prompts like prompts { split = rest_of(prompts) }"
    )
    ranges = (
        'data prompts { from = file("prompts.jsonl"); rows = 0..11 }\n'
        "data ranking_prompts like prompts { rows = 12..23 }"
    )
    for data in (halves, ranges):
        found = selected(spec, held_out(data))
        assert found["seen"] == {"ranking_prompts": {"seen": 0, "tested": 12}}
        assert not any("tested prompts" in said for said in found["cautions"])


def test_prompts_that_are_in_both_are_counted_and_a_caution(spec: Path) -> None:
    """Of two files nothing can be told from the spec."""
    claims.write_rows(spec.parent / "other.jsonl", [*claims.rows()[:5], *claims.rows(18, seed=1)])
    known = {row["prompt"] for row in claims.rows(18, seed=1)}
    expected = sum(at < 5 or row["prompt"] in known for at, row in enumerate(claims.rows()))
    two = 'data prompts { from = file("prompts.jsonl") }\ndata ranking_prompts { from = file("other.jsonl") }'
    text = held_out(two)
    assert recoverdsl.load(spec) and not recoverdsl.language.check(text).diagnostics
    found = selected(spec, text)
    assert found["seen"] == {"ranking_prompts": {"seen": expected, "tested": 24}}
    (said,) = [said for said in found["cautions"] if "tested prompts" in said]
    assert said == (
        f"{expected} of the 24 tested prompts were also used to rank the clamped features (data "
        "ranking_prompts): on these the clamp may do more than on unseen prompts."
    )


def test_ranking_on_the_tested_prompts_themselves_is_a_warning_and_a_caution(spec: Path) -> None:
    text = held_out(
        'data prompts { from = file("prompts.jsonl") }', "attribution(names_the_recipient)"
    )
    assert [d.code for d in recoverdsl.language.check(text).diagnostics] == ["REC430"]
    found = selected(spec, text)
    assert found["seen"] == {"prompts": {"seen": 24, "tested": 24}}
    assert any(
        said.startswith("24 of the 24 tested prompts were also used to rank")
        for said in found["cautions"]
    )
