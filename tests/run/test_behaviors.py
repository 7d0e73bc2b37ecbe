"""Several behaviors in one spec: one that ranks, others that are tested."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from recoverdsl.api import load
from recoverdsl.audit.records import Run
from recoverdsl.compiler.steps import KeepValidFlips, RunBase, RunDefended
from recoverdsl.errors import NotYetError
from recoverdsl.measure.intervals import Estimate
from recoverdsl.measure.results import Counts, from_json, to_json
from recoverdsl.report.markdown import to_markdown
from recoverdsl.report.sentences import headline
from recoverdsl.report.strength import strength
from tests.compiler.test_support import graph_of
from tests.report.test_report import printed
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


def test_reports_say_how_the_flips_of_each_behavior_were_found(both: Run) -> None:
    result = both.result
    page, text, lines = both.html(), to_markdown(result), " ".join(printed(result).split())
    for name, counts in result.behaviors.items():
        said = (
            f"Without the clamp {counts.base_holds} of them show {name}; the clamp removes it from "
            f"{counts.valid_flips} of these."
        )
        for shown in (page, text.replace("\\", ""), lines):
            assert said in shown
    for shown in (page, text, lines):
        assert "valid flips of its own behavior" in shown
        assert "Only these valid flips are tested" not in shown


def test_the_headline_is_over_the_flips_of_the_attack_that_it_is_about(both: Run) -> None:
    """Nothing of the first behavior was removed, and seven of nine flips of the second come back."""
    result = both.result
    none, some = Counts(40, 30, 0, 0), Counts(40, 30, 9, 0)
    by_rank = result.attacks["by_rank"]
    rate = {"recovery_rate": Estimate(7 / 9, 0.45, 0.94, 9)}
    no_rate = {"recovery_rate": Estimate(None, None, None, 0)}
    made = evolve(
        result, counts=none, behaviors={"names_the_recipient": none, "ranked": some}, expectations=(),
        controls={}, attacks={"by_rank": evolve(by_rank, metrics=rate),
                              "projected": evolve(result.attacks["projected"], metrics=no_rate)},
    )  # fmt: skip
    said = str(headline(made))
    assert "recovers the behavior ranked in 7 of 9" in said
    assert "nothing to recover" not in said
    assert "nothing was attacked" not in strength(made).summary
    (e,) = [e for e in result.expectations if e.subject == "projected"][:1]
    other = evolve(made, expectations=(evolve(e, outcome="undecided", reason="…"),))
    assert "removes the behavior names_the_recipient from none of the 30 examples" in str(
        headline(other)
    )


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
