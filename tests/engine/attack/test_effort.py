"""The cost of an attack: counted for each example, whatever its batch, and held to its budget."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from recoverdsl.compiler.steps import RandomDirections, Recover
from recoverdsl.engine.attack import problem as problem_module
from recoverdsl.engine.attack import search
from recoverdsl.engine.attack.constraints import constraint_of
from recoverdsl.engine.attack.constraints.jacobian import Jacobian as Projection
from recoverdsl.engine.attack.meter import Meter
from recoverdsl.engine.attack.optimizers import Adam
from recoverdsl.engine.steps.random_directions import random_directions
from recoverdsl.engine.steps.recovery import recover
from recoverdsl.language.schema import (  # fmt: skip
    ByConstruction,
    Jacobian,
    JacobianSketch,
    Orthogonal,
    Preserve,
)
from recoverdsl.measure.columns import cells
from tests.engine.rigs import ENDING, LAST, TARGET, Rig, rig, stage

KEPT: dict[str, Preserve | None] = {
    "nothing": None,
    "orthogonal": Orthogonal(""),
    "by_construction": ByConstruction(""),
    "jacobian": Jacobian(""),
    "jacobian_sketch": JacobianSketch("", probes=2),
}
each_kept = pytest.mark.parametrize("preserve", KEPT.values(), ids=KEPT)
CHOSEN = {2: [0, 2, 40], 3: [4, 11, 30, 63, 7]}
COST = ("forward_passes", "gradient_steps", "steps")


@pytest.fixture(scope="module")
def made() -> Rig:
    return rig(chosen=CHOSEN)


def attack(made: Rig, preserve: Preserve | None, **changes: Any) -> Recover:
    # A limit that is soon met, so that some examples need corrections and others do not.
    place = (2, ENDING), (3, ENDING)
    return made.recover(
        stage(*place, limit=1.5, steps=5), preserve=preserve, stop="never", **changes
    )


def rows(made: Rig, step: Recover, indices: list[int]) -> list[dict[str, Any]]:
    found = recover(made.problems(), step, made.protected, made.batch(indices))
    return [cells(row) for row in found.rows]


@each_kept
def test_an_example_is_charged_what_was_computed(
    made: Rig, preserve: Preserve | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Count at the two places that all computing passes through, with each example alone."""
    counted = {"forward_passes": 0, "gradient_steps": 0}

    def counting(name: str, function: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            counted[name] += 1
            return function(*args, **options)

        return call

    step = attack(made, preserve)
    problems = [made.problem(step, [index]) for index in range(len(made.prompts))]
    monkeypatch.setattr(
        problem_module, "run_layers", counting("forward_passes", problem_module.run_layers)
    )
    monkeypatch.setattr(torch.autograd, "grad", counting("gradient_steps", torch.autograd.grad))
    for problem in problems:
        counted.update(forward_passes=0, gradient_steps=0)
        kept = constraint_of(step.preserve, problem)
        how = search.Attack(lambda _: Adam(0.1), kept, 5, False)
        meter = Meter.of(1, torch.device("cpu"))
        search.recover(problem, how, torch.tensor([1.5]), meter=meter)
        # The last pass of `by_construction` reads off all that was added, when the search is over.
        passes = counted["forward_passes"] - isinstance(preserve, ByConstruction)
        assert meter.forward_passes_B.tolist() == [passes]
        assert meter.gradients_B.tolist() == [counted["gradient_steps"]]


@each_kept
def test_the_cost_of_an_example_does_not_depend_on_its_batch(
    made: Rig, preserve: Preserve | None
) -> None:
    step = attack(made, preserve)
    everyone = list(range(len(made.prompts)))
    together = rows(made, step, everyone)
    for index in everyone:
        (alone,), with_others = rows(made, step, [index]), together[index]
        if preserve != Jacobian(""):
            assert [alone[name] for name in COST] == [with_others[name] for name in COST]
            continue
        # A batch changes rounding, and rounding decides where a solve ends: an iteration sooner or
        # later, and whether the last correction of a step was needed. A correction is two passes, a
        # linearization and a solve; an iteration is two products.
        passes = abs(alone["forward_passes"] - with_others["forward_passes"])
        products = abs(alone["gradient_steps"] - with_others["gradient_steps"])
        assert alone["steps"] == with_others["steps"]
        assert passes <= 2 * alone["steps"]
        solves = alone["forward_passes"] // 2
        assert products <= passes // 2 * (2 + 2 * Projection().iterations) + 2 * solves


@each_kept
def test_no_example_spends_more_passes_than_it_may_and_none_stops_long_before(
    made: Rig, preserve: Preserve | None
) -> None:
    everyone = list(range(len(made.prompts)))
    free = rows(made, attack(made, preserve), everyone)
    most = max(row["forward_passes"] for row in free)
    a_step = most / 5
    for budget in (most // 2, most - 1):
        held = rows(made, attack(made, preserve, forward_passes=budget), everyone)
        for row, other in zip(held, free, strict=True):
            assert row["steps"] <= other["steps"]
            # The cost of a step is known when it is over, and a correction may take longer than the last.
            assert row["forward_passes"] <= budget + a_step
            assert row["forward_passes"] >= min(other["forward_passes"], budget) - 2 * a_step
    assert any(a["steps"] < b["steps"] for a, b in zip(held, free, strict=True))


def test_without_corrections_a_pass_is_a_step(made: Rig) -> None:
    for row in rows(made, attack(made, None, forward_passes=4), [0, 1, 2]):
        assert (row["forward_passes"], row["gradient_steps"], row["steps"]) == (4, 4, 3)


@pytest.mark.parametrize("preserve", [None, ByConstruction("")], ids=["nothing", "by_construction"])
def test_random_directions_in_stages_spend_each_stage_where_it_acts(
    made: Rig, preserve: Preserve | None
) -> None:
    first, second = stage((2, LAST), limit=1.0), stage((2, TARGET), limit=2.0)
    step = RandomDirections(made.recover(first, second, preserve=preserve), draws=1, seed=3)
    batch = made.batch()
    found = random_directions(made.problems(), step, made.protected, batch).delta_BLPD
    problem = made.problem(step.recover)
    last = found.shape[2] - (made.behavior.generate or 0)
    opening, answer = found[:, :, last], found[:, :, last + 1 :]
    assert not found[:, :, :last].any()
    torch.testing.assert_close(
        opening.flatten(1).norm(dim=1), torch.ones(len(found)), atol=0.01, rtol=0
    )
    if preserve is None:
        sizes = answer.flatten(1).norm(dim=1)
        torch.testing.assert_close(sizes, torch.full((len(found),), 2.0), atol=0.01, rtol=0)
        # Another stage, another draw.
        directions = torch.nn.functional.normalize(
            torch.stack([opening[0, 0], answer[0, 0, 0]]), dim=-1
        )
        assert (directions[0] @ directions[1]).abs() < 0.95
    assert problem.sites[0] == 2
