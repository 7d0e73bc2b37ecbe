"""Changes that change the digest of a step, and changes that do not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pytest

from recoverdsl.compiler.compile import compile_spec
from recoverdsl.compiler.graph import Graph
from recoverdsl.compiler.steps import FromAttack, RandomDirections
from recoverdsl.language import check
from recoverdsl.language.schema import Data, Model, Sae
from recoverdsl.language.schema.canonical import canonical
from tests.run import claims

SPEC = claims.SPEC.replace(">= 0%", ">= 1%")
"""Its first expectation says something of recovery, which takes checks and an unrelated target."""

PLATFORM = {"device": "cpu", "torch": "2.13.0", "transformers": "5.1.0", "sae-lens": "6.54.0"}


def graph_of(
    text: str = SPEC,
    *,
    platform: Mapping[str, str] = PLATFORM,
    pins: Mapping[type, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Graph:
    checked = check(text, overrides=overrides)
    assert checked.spec is not None, checked.errors
    pinned = {Model: "model", Sae: "sae", Data: "data", **(pins or {})}
    return compile_spec(checked.spec, lambda block: pinned[type(block)], platform)


def digests(graph: Graph) -> dict[str, str]:
    return {node.key: node.digest for node in graph}


def stored(graph: Graph) -> set[str]:
    return {node.digest for node in graph if node.stored}


def changed(before: Graph, after: Graph) -> set[str]:
    """Return the keys of the steps whose digest is new."""
    known = set(digests(before).values())
    return {key for key, digest in digests(after).items() if digest not in known}


def dependents(graph: Graph, *keys: str) -> set[str]:
    """Return the steps and all that take from them, directly or not."""
    found = set(keys)
    for node in graph:
        if found & set(node.inputs.values()):
            found.add(node.key)
    return found


def reordered(text: str) -> str:
    """Return a spec with its last block first."""
    kinds = "model|sae|data|behavior|protect|intervene|attack|control|measure"
    head, *blocks = re.split(rf"\n(?=(?:{kinds}) )", text[: text.index("expect")])
    return "\n".join([head, *reversed(blocks), text[text.index("expect") :]])


# --- Changes that change no digest ---


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda text: text.replace("\nattack", "\n# a remark\nattack"), id="a comment"),
        pytest.param(
            lambda text: text.replace("=", "   =  ").replace("<   =", "<=").replace(">   =", ">="),
            id="spacing",
        ),
        pytest.param(lambda text: text.replace("-5.0", "-5"), id="another way to write a number"),
        pytest.param(
            lambda text: text.replace('"Does the clamp', '"Would the clamp'), id="the question"
        ),
        pytest.param(reordered, id="order of blocks"),
        pytest.param(
            lambda text: text.replace("model tiny", "param level = 1\n\nmodel tiny").replace(
                "layers[1]", "layers[level]"
            ),
            id="a param in place of its value",
        ),
        pytest.param(
            lambda text: text.replace(
                "attack unconstrained {", "attack unconstrained {\n  stop = recovered"
            ),
            id="a default written out",
        ),
        pytest.param(
            lambda text: text.replace(
                "attack projected like unconstrained {",
                "attack projected {\n  perturb = mid at last_token\n  maximize = names_the_recipient\n"
                "  steps = 12\n  with = adam(lr = 0.3)",
            ),
            id="like written out",
        ),
    ],
)
def test_a_cosmetic_edit_changes_no_digest(edit: Callable[[str], str]) -> None:
    edited = edit(SPEC)
    assert edited != SPEC
    assert digests(graph_of(edited)) == digests(graph_of())


@pytest.mark.parametrize(
    "name",
    ["tiny", "mid", "prompts", "names_the_recipient", "chosen", "clamp", "unconstrained", "projected", "noise"],
)  # fmt: skip
def test_renaming_a_block_changes_no_stored_digest(name: str) -> None:
    renamed = re.sub(rf'(?<!["\w]){name}(?![\w."])', "another", SPEC)
    renamed = renamed.replace(f"{name}.layers", "another.layers")
    assert "another" in renamed
    graph = graph_of(renamed)
    assert any("another" in node.key for node in graph)
    assert stored(graph) == stored(graph_of())


# --- Changes that change some digests ---


def test_another_limit_changes_only_the_attack_at_it_and_what_takes_from_that() -> None:
    before = graph_of()
    after = graph_of(overrides={"projected.limit": "norm <= [2, 4, 9]"})
    assert changed(before, after) == {
        "recover projected at norm 9",
        "find smallest norm, projected",
        "control noise at norm 9",
        "control noise without its constraint at norm 9",
        "try harder, projected at norm 9",
        "reach harder, projected unrelated at norm 9",
        "control projected unrelated at norm 9",
        "control projected unrelated unclamped at norm 9",
        "find smallest norm, projected unrelated",
        "measure",
        "judge",
    }


def test_limits_that_differ_in_a_late_digit_are_steps_of_their_own() -> None:
    graph = graph_of(overrides={"unconstrained.limit": "norm <= [2.00000001, 2.00000002]"})
    keys = [key for key in graph.nodes if key.startswith("recover unconstrained")]
    assert len({graph[key].digest for key in keys}) == len(keys) == 2


def test_one_more_limit_keeps_the_steps_at_the_others() -> None:
    before, after = graph_of(), graph_of(overrides={"projected.limit": "norm <= [1, 2, 4, 8]"})
    assert changed(before, after) == {
        "recover projected at norm 1",
        "control noise at norm 1",
        "control noise without its constraint at norm 1",
        "control projected unrelated at norm 1",
        "measure",
        "judge",
    }


def test_the_limit_of_an_attack_leaves_other_attacks_alone() -> None:
    before, after = graph_of(), graph_of(overrides={"unconstrained.limit": "norm <= 7"})
    assert changed(before, after) == {"recover unconstrained at norm 7", "measure", "judge"}


PROJECTED = {
    f"{what} at norm {limit}"
    for what in ("recover projected", "control projected unrelated")
    for limit in (2, 4, 8)
} | {"control projected unrelated unclamped at norm 8"}
"""The steps that search by the attack `projected`, and by its budget for an unrelated target; without the
clamp only at the limit that the expectation is about."""

CLAMPED = {
    "run defended, clamp", "measure on ordinary text, clamp", "measure moved states, clamp", "read features, clamp",
}  # fmt: skip
"""The steps that run the model under the clamp without δ."""


@pytest.mark.parametrize(
    ("path", "value", "first"),
    [
        ("projected.steps", "13", PROJECTED),
        ("unconstrained.with", "adam(lr = 0.2)", {"recover unconstrained at norm 6", *PROJECTED}),
        ("clamp.to", "-4.0", CLAMPED),
        ("clamp.when", "always", CLAMPED),
        ("clamp.ordinary_texts", "39", {"measure on ordinary text, clamp"}),
        ("chosen.select", "features(1, 2)", {"select features chosen"}),
        ("projected.find", "smallest_norm(within = 5%)", {"find smallest norm, projected", "find smallest norm, projected unrelated"}),
        ("noise.seed", "1", {f"control noise {which}at norm {limit}" for which in ("", "without its constraint ") for limit in (2, 4, 8)}),
        ("noise.draws", "3", {f"control noise {which}at norm {limit}" for which in ("", "without its constraint ") for limit in (2, 4, 8)}),
        ("prompts.limit", "20", {"load data prompts"}),
        ("tiny.dtype", "bfloat16", {"load model tiny"}),
        ("measure.drift", "bootstrap(90%)", {"measure"}),
    ],
)  # fmt: skip
def test_a_changed_value_changes_the_steps_that_it_means_and_their_dependents(
    path: str, value: str, first: set[str]
) -> None:
    before, after = graph_of(), graph_of(overrides={path: value})
    expected = dependents(after, *first)
    assert changed(before, after) == expected
    assert expected < set(after.nodes)


def test_another_expectation_changes_only_the_judgement() -> None:
    before, after = graph_of(), graph_of(SPEC.replace(">= 1%", ">= 2%"))
    assert changed(before, after) == {"judge"}


@pytest.mark.parametrize(
    ("block", "loader", "untouched"),
    [
        (Model, "load model tiny", {"load data prompts", "load SAE mid"}),
        (Sae, "load SAE mid", {"load model tiny", "load data prompts", "run base, names_the_recipient"}),
        (Data, "load data prompts", {"load model tiny", "load SAE mid"}),
    ],
)  # fmt: skip
def test_other_content_of_a_source_changes_all_that_takes_from_it(
    block: type, loader: str, untouched: set[str]
) -> None:
    before, after = graph_of(), graph_of(pins={block: "other"})
    assert changed(before, after) == dependents(after, loader) == set(after.nodes) - untouched


@pytest.mark.parametrize("part", ["torch", "transformers", "sae-lens", "device"])
def test_another_version_or_device_changes_every_digest(part: str) -> None:
    after = graph_of(platform={**PLATFORM, part: "another"})
    assert changed(graph_of(), after) == set(after.nodes)


def test_a_step_of_a_newer_version_has_another_digest(monkeypatch: pytest.MonkeyPatch) -> None:

    before = graph_of()
    monkeypatch.setattr(RandomDirections, "version", RandomDirections.version + 1)
    after = graph_of()
    assert changed(before, after) == dependents(after, *before.keys_of(RandomDirections))


def test_the_behavior_of_an_attack_is_once_in_the_steps_that_start_from_it() -> None:
    steps = [node.step for node in graph_of() if isinstance(node.step, FromAttack)]
    assert steps
    for step in steps:
        assert step.behavior is step.recover.behavior
        plain = canonical(step)
        assert "behavior" not in plain
        assert plain["recover"] == canonical(step.recover)
