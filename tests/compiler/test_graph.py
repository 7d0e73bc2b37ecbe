"""The shape of the graph, its drawings and its plan."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recoverdsl.compiler.draw import as_json, dot, mermaid
from recoverdsl.compiler.plan import plan_rows, render_plan
from tests.compiler.test_digests import PLATFORM, graph_of
from tests.run.claims import SPEC

SMALL = """\
recoverdsl 1
model tiny { from = folder("model") }
data prompts { from = template("ioi", prompts = 4, seed = 0) }
sae mid { from = folder("sae"); reads = tiny.layers[1].output }
behavior says { score = logit(" yes") at last_token; holds = score > 0 }
protect chosen { in = mid; select = features(1, 2) }
intervene clamp { set = chosen; to = 0.0 }
attack push { perturb = mid at last_token; maximize = says; limit = norm <= 2.5 }
"""


def test_every_step_comes_after_its_inputs_and_so_there_is_no_cycle() -> None:
    seen: set[str] = set()
    for node in graph_of():
        assert set(node.inputs.values()) <= seen
        assert node.key not in seen
        seen.add(node.key)


def test_every_step_but_the_last_is_taken_by_another() -> None:
    graph = graph_of()
    taken = {key for node in graph for key in node.inputs.values()}
    assert set(graph.nodes) - taken == {"judge"}


def test_every_digest_is_one_of_its_own() -> None:
    digests = [node.digest for node in graph_of()]
    assert len(set(digests)) == len(digests)
    assert all(len(digest) == 64 for digest in digests)


def test_two_attacks_that_mean_the_same_share_their_result() -> None:
    twice = SPEC.replace(
        "attack projected", "attack again like unconstrained {}\n\nattack projected"
    )
    graph = graph_of(twice)
    assert (
        graph["recover again at norm 6"].digest == graph["recover unconstrained at norm 6"].digest
    )


def test_without_a_clamp_only_the_base_model_runs() -> None:
    text = SMALL[: SMALL.index("protect")]
    assert list(graph_of(text).nodes) == ["load model tiny", "load data prompts", "run base, says"]


# --- Drawings ---


def test_the_mermaid_drawing_is_this() -> None:
    assert mermaid(graph_of(SMALL)) == (Path(__file__).parent / "small.mmd").read_text()


def test_the_dot_drawing_is_this() -> None:
    assert dot(graph_of(SMALL)) == (Path(__file__).parent / "small.dot").read_text()


def test_the_json_drawing_is_this() -> None:
    drawn = json.loads(as_json(graph_of(SMALL)))
    assert drawn["platform"] == PLATFORM
    by_key = {step["key"]: step for step in drawn["steps"]}
    assert list(by_key) == list(graph_of(SMALL).nodes)
    assert by_key["load SAE mid"] == {
        "key": "load SAE mid",
        "kind": "LoadSae",
        "version": 1,
        "digest": graph_of(SMALL)["load SAE mid"].digest,
        "inputs": {},
        "step": {"class": "LoadSae", "layer": 1, "side": "output", "weights": "sae"},
    }
    assert by_key["keep valid flips"]["inputs"] == {
        "base": "run base, says",
        "defended": "run defended, clamp",
    }


# --- The plan ---


def test_a_plan_says_what_is_kept_begun_and_to_run_and_what_each_step_waits_for() -> None:
    graph = graph_of(SMALL)
    states = {graph["run base, says"].digest: "kept", graph["run defended, clamp"].digest: "begun"}
    rows = {row.key: row for row in plan_rows(graph, lambda digest: states.get(digest, "to run"))}
    assert rows["load model tiny"].state == "in memory"
    assert rows["run base, says"].state == "kept"
    assert rows["run defended, clamp"].state == "begun"
    assert rows["run defended, clamp"].needs == ("select features chosen",)
    assert rows["recover push at norm 2.5"].state == "to run"
    text = render_plan(list(rows.values()))
    assert text.splitlines()[-1] == "6 of 7 steps to run."
    plain = json.loads(render_plan(list(rows.values()), as_json=True))
    assert [row["key"] for row in plain] == list(rows)


def test_a_plan_of_kept_steps_says_that_nothing_is_to_run() -> None:
    text = render_plan(plan_rows(graph_of(SMALL), lambda digest: "kept"))
    assert text.splitlines()[-1] == "Nothing to run: every step is kept."


@pytest.mark.parametrize("command", ["check", "plan", "graph"])
def test_commands_that_only_read_load_no_model_library(command: str, claim: Path) -> None:
    code = (
        "import sys; from recoverdsl.commands.app import app\n"
        f"app([{command!r}, {str(claim)!r}], standalone_mode=False)\n"
        "print(sorted({'torch', 'transformers', 'sae_lens', 'pandas', 'rich.progress'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
