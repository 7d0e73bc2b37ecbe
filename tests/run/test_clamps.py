"""Several clamps in one spec: each attack is under one of them, and over its flips alone."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from recoverdsl.api import load
from recoverdsl.audit.records import Run
from recoverdsl.compiler.graph import Graph
from recoverdsl.compiler.steps import KeepValidFlips, RunBase, RunDefended
from recoverdsl.engine.model.loaded_model import load_model
from recoverdsl.measure.results import Counts, from_json, to_json
from recoverdsl.report.markdown import to_markdown
from recoverdsl.report.sentences import headline
from recoverdsl.report.terminal import show
from tests.compiler.test_support import graph_of
from tests.run import answers, two_clamps
from tests.run.two_clamps import attack, clamp

EXPECT = """
expect recovery_rate(on_held) <= 30%
expect recovery_rate(on_open) <= 30%
"""
BOTH = (clamp("held"), clamp("open"), attack("held"), attack("open"))
LESS = """\
intervene less {
  set  = refusal
  to   = TO
  at   = [every_token, generated] except first
}
"""
ANSWERED = """\
attack on_NAME {
  under    = NAME
  perturb  = mid at [last_token, target_tokens]
  maximize = logprob(base_answer)
  limit    = norm <= 8
  steps    = 6
}

control un_NAME { of = on_NAME; target = base_answer of another_example }
"""
ON_CLAMP, ON_LESS = (ANSWERED.replace("NAME", name) for name in ("clamp", "less"))
OUTCOMES = (
    "on_held",
    "on_held_noise",
    "on_held_other",
    "on_open",
    "on_open_noise",
    "on_open_other",
)


def run(spec: Path, *, reveal: bool = False) -> Run:
    made = load(spec).run(store=spec.parent / "store", reveal=reveal)
    assert isinstance(made, Run)
    return made


def text_of(*blocks: str) -> str:
    return "".join([two_clamps.HEAD, *blocks, two_clamps.MEASURE])


def stored(graph: Graph) -> set[str]:
    return {node.digest for node in graph if node.stored}


def printed(result: Any) -> str:
    console = Console(file=io.StringIO(), width=200)
    show(result, console)
    shown = console.file
    assert isinstance(shown, io.StringIO)
    return shown.getvalue()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(two_clamps.write(tmp_path_factory.mktemp("both"), *BOTH, EXPECT))


# --- Figures ---


def test_the_clamp_that_holds_does_and_the_other_does_not(both: Run) -> None:
    result = both.result
    assert [(e.subject, e.outcome) for e in result.expectations] == [
        ("on_held", "met"),
        ("on_open", "broken"),
    ]
    assert (result.flags, result.verdict) == ((), "does_not_hold")
    assert result.attacks["on_held"].metrics["recovery_rate"].value == 0
    assert result.attacks["on_open"].metrics["recovery_rate"].value == 1


def test_each_outcome_names_its_clamp_and_is_over_its_flips(both: Run) -> None:
    result = both.result
    outcomes = {**result.attacks, **result.controls}
    assert tuple(sorted(n for n in outcomes if " " not in n)) == OUTCOMES
    flips = {}
    for name, outcome in outcomes.items():
        assert outcome.under is not None
        assert outcome.under in name
        counts = result.clamps[outcome.under].behaviors["names_the_recipient"].counts
        rows = both.examples[both.examples["name"] == name]
        assert rows["example"].nunique() == counts.valid_flips > 0
        assert flips.setdefault(outcome.under, set(rows["example"])) == set(rows["example"])
    assert flips["held"] != flips["open"]


def test_each_clamp_has_the_figures_that_it_has_alone(both: Run, tmp_path: Path) -> None:
    for name in ("held", "open"):
        (tmp_path / name).mkdir()
        spec = two_clamps.write(tmp_path / name, clamp(name), attack(name, alone=True))
        only = run(spec)
        for kind in ("attacks", "controls"):
            together, alone = getattr(both.result, kind), getattr(only.result, kind)
            assert alone
            assert alone == {outcome: together[outcome] for outcome in alone}
        assert only.result.clamps == {name: both.result.clamps[name]}
        assert (
            only.result.counts == only.result.clamps[name].behaviors["names_the_recipient"].counts
        )
        # Without an expectation, the run tries nothing by itself.
        names = both.examples["name"].str
        own = both.examples[names.startswith(f"on_{name}") & ~names.contains(" ")]
        assert own.reset_index(drop=True).equals(only.examples.reset_index(drop=True))


def test_the_target_under_each_clamp_is_that_of_the_plain_model(both: Run, tmp_path: Path) -> None:
    """A clamp turns the state before the final norm around along e, at every token alike."""
    two_clamps.write(tmp_path)
    family = load_model(tmp_path / "model", "float32", torch.device("cpu"))
    model = family.family.model
    lines = (tmp_path / "prompts.jsonl").read_text().splitlines()
    seen: dict[str, list[tuple[float, float, float, float]]] = {"held": [], "open": []}
    for row in map(json.loads, lines):
        io_id, s_id = (family.tokenizer(f" {row[key]}")["input_ids"][0] for key in ("io", "s"))
        hidden: list[torch.Tensor] = []
        hook = model.model.layers[3].register_forward_hook(
            lambda _, __, made, hidden=hidden: hidden.append(made[0] if isinstance(made, tuple) else made)
        )  # fmt: skip
        base_V = model(torch.tensor([family.tokenizer(row["prompt"])["input_ids"]])).logits[0, -1]
        hook.remove()
        if base_V[io_id] <= base_V[s_id]:
            continue
        for name, found in seen.items():
            e_D = two_clamps.direction(model, name)
            h_D = hidden[0].reshape(-1, hidden[0].shape[-1])[-1]
            clamped_V = model.lm_head(model.model.norm(h_D - 2 * (h_D @ e_D) * e_D))
            found.append(
                tuple(
                    figure
                    for logits_V in (base_V, clamped_V)
                    for figure in (
                        1.0 + int((logits_V > logits_V[io_id]).sum()),
                        float(logits_V.softmax(0)[io_id]),
                    )
                )  # type: ignore[arg-type]
            )
    for name, found in seen.items():
        target = both.result.clamps[name].behaviors["names_the_recipient"].target
        assert target is not None
        figures = torch.tensor(found, dtype=torch.float64)
        assert target.n == len(figures)
        assert [target.rank_base, target.rank_defended] == figures[:, ::2].quantile(
            0.5, dim=0
        ).tolist()
        assert [target.probability_base, target.probability_defended] == pytest.approx(
            figures[:, 1::2].mean(0).tolist(), rel=1e-4
        )


def test_a_clamp_without_an_attack_has_counts(tmp_path: Path) -> None:
    spec = two_clamps.write(tmp_path, clamp("held"), clamp("open"), attack("held"))
    result = run(spec).result
    assert set(result.attacks) == {"on_held"}
    free = result.clamps["open"].behaviors["names_the_recipient"]
    assert free.counts.base_holds > free.counts.valid_flips > 0
    assert free.target is not None
    assert free.target.n == free.counts.base_holds
    read = json.loads(to_json(result))["clamps"]["open"]["behaviors"]["names_the_recipient"]
    assert read["counts"]["valid_flips"] == free.counts.valid_flips
    said = f"The clamp open removes names_the_recipient from {free.counts.valid_flips} of {free.counts.base_holds} examples"
    for shown in (" ".join(printed(result).split()), to_markdown(result)):
        assert said in shown
        assert shown.count("No attack is under it.") == 1


def test_two_clamps_without_an_attack_are_counted(tmp_path: Path) -> None:
    result = run(two_clamps.write(tmp_path, clamp("held"), clamp("open"))).result
    assert result.attacks == {}
    assert {name: one.behaviors["names_the_recipient"].counts.valid_flips > 0 for name, one in result.clamps.items()} == {"held": True, "open": True}  # fmt: skip
    assert "no attack was run" in str(headline(result))


def test_without_a_clamp_there_are_the_counts_of_the_base_model(tmp_path: Path) -> None:
    result = run(two_clamps.write(tmp_path)).result
    assert (result.clamps, result.counts) == ({}, Counts(48, result.counts.base_holds, 0, 0))


@pytest.mark.parametrize(
    "to",
    [
        # Another number of flips, so that another flip's answer is that of another example.
        "12\n  when = active",
        # The same value of the same features in the spec's words, and other means.
        "3.0 * mean_when(answering)",
    ],
)
def test_generated_answers_under_two_clamps_are_those_under_each_alone(
    tmp_path: Path, to: str
) -> None:
    less = LESS.replace("TO", to)
    spec = answers.write(tmp_path, attacks=less + ON_CLAMP + ON_LESS)
    together = run(spec, reveal=True)
    whole = spec.read_text()
    first = whole[whole.index("intervene clamp") : whole.index(less)]
    for name, other in (("clamp", (less, ON_LESS)), ("less", (first, ON_CLAMP))):
        text = whole.replace(f"  under    = {name}\n", "")
        for block in other:
            assert block in text
            text = text.replace(block, "")
        alone = tmp_path / name / "answers.rec"
        alone.parent.mkdir()
        answers.write(alone.parent)
        alone.write_text(text)
        only = run(alone, reveal=True)
        assert only.result.attacks == {f"on_{name}": together.result.attacks[f"on_{name}"]}
        assert only.result.controls == {f"un_{name}": together.result.controls[f"un_{name}"]}
        assert only.result.controls[f"un_{name}"].metrics["recovery_rate"].n
        assert set(only.texts) == {one for one in together.texts if one.under == name}
    on_both = [together.result.attacks[f"on_{name}"].metrics for name in ("clamp", "less")]
    assert on_both[0] != on_both[1]


# --- Steps ---


def test_the_steps_are_those_of_each_clamp_alone_and_the_base_model_runs_once() -> None:
    together = graph_of(text_of(*BOTH))
    alone = [graph_of(text_of(clamp(name), attack(name, alone=True))) for name in ("held", "open")]
    assert stored(together) == stored(alone[0]) | stored(alone[1])
    assert together.keys_of(RunBase) == ["run base, names_the_recipient"]
    assert together.keys_of(RunDefended) == ["run defended, held", "run defended, open"]
    assert together.keys_of(KeepValidFlips) == ["keep valid flips, held", "keep valid flips, open"]
    assert alone[0].keys_of(KeepValidFlips) == ["keep valid flips"]


def test_neither_the_name_of_a_clamp_nor_their_order_changes_a_stored_digest() -> None:
    before = stored(graph_of(text_of(*BOTH, EXPECT)))
    renamed = text_of(*BOTH, EXPECT).replace("intervene open ", "intervene gentle ")
    renamed = renamed.replace("under    = open\n", "under    = gentle\n")
    assert "run defended, gentle" in graph_of(renamed).nodes
    assert stored(graph_of(renamed)) == before
    assert stored(graph_of(text_of(clamp("open"), clamp("held"), *BOTH[2:], EXPECT))) == before


def test_a_named_only_clamp_is_that_clamp() -> None:
    said, silent = (
        graph_of(text_of(clamp("held"), attack("held", alone=alone))) for alone in (False, True)
    )
    assert {node.key: node.digest for node in said} == {node.key: node.digest for node in silent}


def test_the_worst_case_is_over_the_attacks_on_one_clamp() -> None:
    graph = graph_of(
        text_of(
            *BOTH,
            "attack again like on_held { steps = 3 }\nexpect recovery_rate(strongest) <= 30%\n",
        )
    )
    assert {budget.attack for budget in graph.strength} == {"on_held", "again"}


# --- Reports ---


def test_what_is_said_names_the_clamp(both: Run) -> None:
    result = both.result
    page, text, lines = both.html(), to_markdown(result), " ".join(printed(result).split())
    said = headline(result)
    assert said.verdict == "The clamp open does not hold"
    assert said.because.startswith("at norm 4 a perturbation")
    for shown in (page, text, lines):
        assert "The clamp open does not hold" in shown
        assert "The clamp held removes names_the_recipient from 33 of 33 examples" in shown
        assert shown.count("5 examples failed in at least one step under it.") == 1
        assert "Over the n valid flips of its own clamp" in shown
    assert "while the clamp held stays on" in page
    assert "on_open (attack under open) n = 9" in text
    assert "on_open under open (n=9)" in lines
    assert from_json(to_json(result)) == result


def test_a_result_that_holds_names_the_clamp_of_its_figure(tmp_path: Path) -> None:
    held = EXPECT.replace("expect recovery_rate(on_open) <= 30%\n", "")
    said = headline(run(two_clamps.write(tmp_path, *BOTH, held)).result)
    assert said.verdict == "The claim holds against what was tried"
    assert said.because.startswith("under the clamp held, at norm 4")
