"""Specs that cannot run yet are refused by name, and others are not."""

from __future__ import annotations

import re

import pytest

from recoverdsl.compiler.compile import compile_spec
from recoverdsl.compiler.graph import Graph
from recoverdsl.compiler.steps import ReachAnswer, Recover
from recoverdsl.errors import NotYetError, SpecError
from recoverdsl.language import check, schema
from tests.run import answers, claims

SUFFIX = """
attack suffix { soft_suffix = 4; maximize = logprob(base_answer); steps = 5 }
"""


OTHER_CLAMP = (
    'sae late { from = folder("late"); reads = tiny.layers[2].output }\n'
    "protect fewer { in = mid; select = features(1) }\nintervene more { set = fewer; to = 0 }\n"
)


def graph_of(text: str) -> Graph:
    checked = check(text)
    assert checked.spec is not None, checked.errors
    return compile_spec(checked.spec, lambda block: str(block), {"device": "cpu"})


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a spec of generated answers, several SAEs, stages, controls and attribution."""
    return answers.write(tmp_path_factory.mktemp("answers")).read_text()


def refused(text: str) -> dict[str, str]:
    """Return the refused parts of a spec by their paths."""
    with pytest.raises(NotYetError) as caught:
        graph_of(text)
    places = re.findall(r"^  - line \d+, ([\w.]+): (.*)$", str(caught.value), re.MULTILINE)
    assert len(places) == str(caught.value).count("\n  - ")
    return dict(places)


def test_the_specs_of_the_tests_are_not_refused(generated: str) -> None:
    graph_of(claims.SPEC)
    graph = graph_of(generated)
    kinds = {node.kind for node in graph}
    assert {"MeanActivations", "RandomDirections", "SplitDelta", "FindSmallestNorm"} <= kinds
    attacks = [node.step for node in graph if isinstance(node.step, Recover)]
    assert {type(step.preserve) for step in attacks} == {
        type(None), schema.Jacobian, schema.JacobianSketch, schema.ByConstruction,
    }  # fmt: skip
    assert {step.goal for step in attacks} == {ReachAnswer("own"), ReachAnswer("another")}
    assert {len(step.stages) for step in attacks} == {1, 2}
    assert any(step.defense is None for step in attacks)


def test_a_suffix_is_not_refused(generated: str) -> None:
    assert "suffix suffix" in graph_of(generated + SUFFIX).nodes


@pytest.mark.parametrize(
    ("old", "new", "path", "what"),
    [
        ("model tiny {", 'model other { from = folder("m") }\nmodel tiny {', "model.tiny", "one model"),
        (
            "attack unconstrained {\n", OTHER_CLAMP + "attack unconstrained {\n  under = clamp\n  preserve = orthogonal(fewer)\n",
            "attack.unconstrained.preserve", "other features than the clamped ones",
        ),
        (
            "attack unconstrained {\n", OTHER_CLAMP + "attack unconstrained {\n  under = more\n",
            "attack.projected.preserve", "other features than the clamped ones",
        ),
        ("at last_token\n  holds", "at first\n  holds", "behavior.names_the_recipient.score", "positions"),
        (
            "in     = mid", "in     = [mid, again]", "protect.chosen.in", "same site",
        ),
        (
            "perturb  = mid at last_token", "perturb  = [mid at first, tiny.layers[2].input at last_token]",
            "attack.unconstrained.perturb", "one site twice",
        ),
        (
            "measure {", "attribute elsewhere { parts = [clamped] }\nmeasure {",
            "attribute.elsewhere", "without an SAE",
        ),
    ],
)  # fmt: skip
def test_parts_that_cannot_run_are_named(old: str, new: str, path: str, what: str) -> None:
    more = {
        "protect.chosen.in": "\nsae again like mid {}\n",
        "attribute.elsewhere": "\nattack elsewhere like unconstrained "
        "{ perturb = tiny.layers[3].input at last_token }\n",
    }
    assert old in claims.SPEC
    places = refused(claims.SPEC.replace(old, new, 1) + more.get(path, ""))
    assert what in places.pop(path)
    assert all("perturb" in other for other in places), places


@pytest.mark.parametrize(
    ("old", "new", "path", "what"),
    [
        (
            "holds    = not refuses", 'score = logit(" balin") at last_token\n  holds    = not refuses',
            "behavior.answers.score", "judged by its text",
        ),
        ("contrast(refusing", 'contrast("refusing.jsonl"', "protect.refusal.select", "name a data block"),
        (
            "attack staged {", "attack staged {\n  find = smallest_norm()",
            "attack.staged.find", "smallest norm of an attack in stages",
        ),
    ],
)  # fmt: skip
def test_parts_that_cannot_run_with_generated_answers_are_named(
    generated: str, old: str, new: str, path: str, what: str
) -> None:
    assert old in generated
    assert what in refused(generated.replace(old, new, 1))[path]


def test_a_constraint_binds_where_the_clamp_of_the_attack_has_an_sae() -> None:
    """`orthogonal` needs an SAE of the attack's own clamp at the site of δ; another clamp's is none."""
    late = OTHER_CLAMP.replace("in = mid", "in = late")
    text = claims.SPEC.replace(
        "attack unconstrained {\n", late + "attack unconstrained {\n  under = more\n"
    ).replace("orthogonal(chosen)", "orthogonal(fewer)")
    assert "binds nothing" in refused(text)["attack.projected.preserve"]
    graph_of(text.replace("mid at last_token", "late at last_token"))


def test_an_attack_without_a_clamp_is_named() -> None:
    text = claims.SPEC
    clamp = text[text.index("intervene") : text.index("attack unconstrained")]
    assert (
        "attack without an intervene block"
        in refused(text.replace(clamp, ""))["attack.unconstrained"]
    )


def test_a_delta_after_the_prompt_needs_an_answer_as_its_goal() -> None:
    text = claims.SPEC.replace("mid at last_token", "mid at target_tokens", 1)
    assert "after the prompt" in refused(text)["attack.unconstrained.perturb"]


def test_a_spec_without_anything_to_run_is_wrong() -> None:
    with pytest.raises(SpecError, match="expected a behavior block to run, found none"):
        graph_of(claims.SPEC[: claims.SPEC.index("behavior")])


@pytest.mark.parametrize(
    ("attack", "path", "what"),
    [
        (
            "perturb = tiny.layers[3].output at last_token; preserve = orthogonal(refusal)",
            "attack.new.preserve", "binds nothing",
        ),
        (
            "perturb = tiny.layers[3].output at last_token; preserve = jacobian(refusal)",
            "attack.new.preserve", "cannot reach",
        ),
    ],
)  # fmt: skip
def test_a_constraint_that_would_bind_nothing_is_refused(
    generated: str, attack: str, path: str, what: str
) -> None:
    new = f"attack new {{ {attack}; maximize = logprob(base_answer); limit = norm <= 2 }}\n"
    assert what in refused(generated + new)[path]


def test_stages_may_not_share_a_position(generated: str) -> None:
    def staged(first: str, second: str) -> str:
        return (
            f"attack new {{\n  stage one {{ perturb = mid at {first}; limit = norm <= 1 }}\n"
            f"  stage two {{ perturb = mid at {second}; limit = norm <= 1 }}\n"
            "  maximize = logprob(base_answer)\n}\n"
        )

    for first, second in (
        ("last_token", "last_token"),
        ("every_token", "last_token"),
        ("target_tokens", "every_generated_token"),
    ):
        assert "same position" in refused(generated + staged(first, second))["attack.new.stage"]
    graph_of(generated + staged("last_token", "target_tokens"))


def test_a_target_of_one_token_at_the_target_alone_is_refused(generated: str) -> None:
    new = (
        "attack new { perturb = mid at target_tokens; maximize = logprob(base_answer, tokens = 1); "
        "limit = norm <= 2 }\n"
    )
    assert "one token" in refused(generated + new)["attack.new.maximize"]
