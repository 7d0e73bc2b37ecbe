"""Several behaviors in one spec: one that ranks, others that are tested."""

from __future__ import annotations

from pathlib import Path

import pytest

from recoverdsl.api import load
from recoverdsl.audit.records import Run
from recoverdsl.compiler.steps import KeepValidFlips, RunBase, RunDefended
from recoverdsl.errors import NotYetError
from recoverdsl.measure.results import from_json, to_json
from tests.compiler.test_support import graph_of
from tests.run import answers, claims

RANKED = """\
behavior ranked {
  holds = rank(" {io}") <= 12
}

protect chosen {"""
ATTACK = """\
attack by_rank like unconstrained {
  maximize = ranked
}

control quiet {
  of   = by_rank
  with = random_direction
}

measure {"""


def spec_of(folder: Path, *, more: bool = True) -> Path:
    """Write the claim with a second behavior and attacks on it, and return its path."""
    spec = claims.write(folder)
    if more:
        text = claims.SPEC.replace("protect chosen {", RANKED).replace("measure {", ATTACK)
        spec.write_text(text)
    return spec


def run(spec: Path) -> Run:
    made = load(spec).run(store=spec.parent / "store")
    assert isinstance(made, Run)
    return made


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(spec_of(tmp_path_factory.mktemp("both")))


def test_each_behavior_has_the_counts_that_it_has_alone(both: Run, tmp_path: Path) -> None:
    result = both.result
    assert list(result.behaviors) == ["names_the_recipient", "ranked"]
    assert result.counts == result.behaviors["names_the_recipient"]
    assert result.behaviors["ranked"].valid_flips != result.counts.valid_flips
    only = run(spec_of(tmp_path, more=False)).result
    assert only.behaviors == {}
    assert only.counts == result.counts
    assert only.attacks == {name: result.attacks[name] for name in only.attacks}


def test_every_attack_and_control_names_its_behavior_and_is_over_its_flips(both: Run) -> None:
    outcomes = {**both.result.attacks, **both.result.controls}
    assert {name: outcome.behavior for name, outcome in outcomes.items()} == {
        "unconstrained": "names_the_recipient", "projected": "names_the_recipient",
        "noise": "names_the_recipient", "by_rank": "ranked", "quiet": "ranked",
    }  # fmt: skip
    for name, outcome in outcomes.items():
        assert outcome.behavior is not None
        flips = both.result.behaviors[outcome.behavior].valid_flips
        assert outcome.metrics["recovery_rate"].n == flips
        rows = both.examples[both.examples["name"] == name]
        assert rows["example"].nunique() == flips
    ranked = both.examples[both.examples["name"] == "by_rank"]
    assert (ranked["rank_base"] <= 12).all()
    assert (ranked["rank_defended"] > 12).all()
    assert ranked["recovered"].eq(ranked["rank_recovered"] <= 12).all()


def test_a_result_with_several_behaviors_is_read_back(both: Run) -> None:
    assert from_json(to_json(both.result)) == both.result


def test_a_behavior_that_only_ranks_is_not_tested(tmp_path: Path) -> None:
    text = claims.SPEC.replace("protect chosen {", RANKED).replace(
        "maximize = names_the_recipient", "maximize = ranked"
    )
    graph = graph_of(text)
    assert list(graph.behaviors) == ["ranked"]
    assert graph.keys_of(RunBase) == ["run base, ranked"]
    assert graph.keys_of(KeepValidFlips) == ["keep valid flips"]
    spec = claims.write(tmp_path)
    spec.write_text(text)
    result = run(spec).result
    assert (result.behaviors, result.attacks["projected"].behavior) == ({}, "ranked")


def test_the_steps_of_one_behavior_keep_their_keys_and_digests_beside_another() -> None:
    alone = graph_of(claims.SPEC)
    text = claims.SPEC.replace("protect chosen {", RANKED).replace("measure {", ATTACK)
    together = graph_of(text)
    assert together.keys_of(RunDefended) == [
        "run defended, clamp, names_the_recipient", "run defended, clamp, ranked",
    ]  # fmt: skip
    for table, key in alone.tables.items():
        assert together[together.tables[table]].digest == alone[key].digest


def test_what_is_not_used_is_not_run() -> None:
    graph = graph_of(claims.SPEC.replace("protect chosen {", RANKED))
    assert graph.nodes.keys() == graph_of(claims.SPEC).nodes.keys()


def test_attacks_on_two_behaviors_at_one_place_do_not_share_a_problem(both: Run) -> None:
    found = both.examples[both.examples["kind"] == "attack"]
    scores = found.groupby("name")["score_recovered"].first()
    assert scores["unconstrained"] != scores["by_rank"]


def test_two_behaviors_that_are_judged_by_their_texts_are_refused(tmp_path: Path) -> None:
    text = answers.write(tmp_path).read_text()
    again = "behavior again { generate = greedy(tokens = 3); holds = refuses }\n"
    with pytest.raises(
        NotYetError, match=r"behavior\.again: more than one behavior that is judged"
    ):
        graph_of(text + again)


def test_a_score_ranks_and_a_text_is_tested(tmp_path: Path) -> None:
    spec = answers.write(tmp_path, attacks=answers.ATTACKS.split("attack staged")[0])
    text = spec.read_text().replace(
        "protect refusal {", 'behavior says { holds = top_token == " balin" }\n\nprotect refusal {'
    )
    text = text.replace("behavior answers {", "behavior answers {\n  over = requests")
    text = text.replace(
        "top(2, by = contrast(refusing, against = answering), each = true)",
        "top(2, by = attribution(says), each = true)",
    )
    spec.write_text(text)
    result = run(spec).result
    assert result.behaviors == {}
    assert result.attacks["recover"].behavior == "answers"
    assert result.counts.base_holds


def test_behaviors_over_other_rows_are_refused() -> None:
    other = 'data others { from = file("others.jsonl") }\n\nbehavior ranked {\n  over = others\n'
    text = claims.SPEC.replace("protect chosen {", RANKED).replace("measure {", ATTACK)
    text = text.replace("behavior ranked {\n", other).replace(
        "  holds = score > 0", "  holds = score > 0\n  over = prompts"
    )
    with pytest.raises(NotYetError, match="behaviors over different examples"):
        graph_of(text)
