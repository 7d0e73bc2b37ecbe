"""Restarts: more starts for what has not recovered, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attrs import evolve
from torch import Tensor

from recoverdsl.compiler.steps import Recover
from recoverdsl.engine.attack import search
from recoverdsl.engine.attack.constraints.free import Free
from recoverdsl.engine.attack.geometry import norm
from recoverdsl.engine.attack.optimizers import Apgd
from recoverdsl.engine.attack.search import Attack, Outcome, random_start, recover
from recoverdsl.engine.steps import recovery
from recoverdsl.language.schema import Jacobian, Orthogonal, Preserve
from recoverdsl.measure.columns import cells
from tests.engine.attack.test_search import (
    B,
    basis_of,
    linear_problem,
    orthogonal,
    violation,
)
from tests.engine.attack.two_basins import two_basins
from tests.engine.rigs import ENDING, LAST, TARGET, Rig, rig, stage

CHOSEN = {2: [0, 2, 40], 3: [4, 11, 30, 63, 7]}


@pytest.fixture(scope="module")
def made() -> Rig:
    return rig(chosen=CHOSEN)


def step(made: Rig, **changes: Any) -> Recover:
    # A limit that lets some examples recover, so that others are restarted beside them.
    return made.recover(
        stage((2, ENDING), (3, ENDING), limit=1.5, steps=6, lr=0.2),
        **{"preserve": Orthogonal(""), **changes},
    )


def rows(made: Rig, step: Recover, indices: list[int] | None = None) -> list[dict[str, Any]]:
    found = recovery.recover(made.problems(), step, made.protected, made.batch(indices))
    deltas = norm(found.delta_BLPD)
    return [{**cells(row), "δ": float(size)} for row, size in zip(found.rows, deltas, strict=True)]


# --- Starts -----------------------------------------------------------------------------------


def test_a_start_is_within_the_limit_keeps_the_constraint_and_differs_by_seed() -> None:
    problem, constraint = linear_problem(), orthogonal()
    limit_B = torch.linspace(1, 20, B)
    starts = [
        random_start(problem, constraint, limit_B, list(range(at, at + B)))
        for at in range(0, 60 * B, B)
    ]
    shares_NB = torch.stack([norm(start) / limit_B for start in starts])
    assert (shares_NB <= 1 + 1e-5).all()
    # Uniform: mean 1/2, standard deviation of the mean of 360 draws 0.015.
    assert abs(float(shares_NB.mean()) - 0.5) < 0.08
    assert shares_NB.min() < 0.1 and shares_NB.max() > 0.9
    assert max(violation(basis_of(constraint), start) for start in starts) < 1e-6
    assert torch.equal(starts[0][:, :, 1], torch.zeros(B, 1, problem.zero_BLQD.shape[-1]))


def test_restarts_find_a_basin_that_the_first_gradient_does_not_lead_to() -> None:
    problem = two_basins()
    attack = Attack(lambda limit_B: Apgd(limit_B, 25), Free(), steps=25)
    # Between the two distances: only the far basin, to which no gradient at 0 leads, is within reach.
    limit_B = 0.6 * problem.near_B
    first = recover(problem.problem, attack, limit_B)
    assert not first.recovered_B.any()
    found = first
    for draw in range(40):
        open_R = (~found.recovered_B).nonzero().squeeze(1)
        if not len(open_R):
            break
        live = problem.problem.take(open_R)
        seeds = [1000 * draw + int(row) for row in open_R]
        start = random_start(live, Free(), limit_B[open_R], seeds)
        found = found.improved(open_R, recover(live, attack, limit_B[open_R], start))
    assert found.recovered_B.all()


def test_a_better_start_replaces_a_worse_one_and_steps_add_up() -> None:
    def outcome(score: list[float], recovered: list[bool], failed: list[bool]) -> Outcome:
        size = len(score)
        return Outcome(
            torch.tensor(score)[:, None, None, None].expand(size, 1, 1, 2).clone(),
            torch.tensor(score),
            torch.tensor(recovered),
            torch.full((size,), 10),
            torch.tensor(failed),
        )

    first = outcome([1.0, 1.0, 1.0, 5.0, 0.0], [False, False, False, True, False], [False] * 4 + [True])  # fmt: skip
    again = outcome([2.0, 0.5, 0.5, -9.0], [False, False, True, False], [False] * 4)
    found = first.improved(torch.tensor([0, 1, 2, 4]), again)
    assert found.score_B.tolist() == [2.0, 1.0, 0.5, 5.0, -9.0]
    assert found.delta_BLQD[:, 0, 0, 0].tolist() == [2.0, 1.0, 0.5, 5.0, -9.0]
    assert found.recovered_B.tolist() == [False, False, True, True, False]
    assert found.steps_B.tolist() == [20, 20, 20, 10, 20]
    assert found.failed_B.tolist() == [False] * 5
    lost = outcome([3.0], [False], [True])
    assert first.improved(torch.tensor([0]), lost).score_B[0] == 1.0


# --- The step ---------------------------------------------------------------------------------


def test_only_what_has_not_recovered_is_restarted(made: Rig) -> None:
    """δ of an earlier start that recovered is kept, and nothing more is spent on it."""
    once, again = rows(made, step(made)), rows(made, step(made, restarts=3))
    recovered = [row["reached"] for row in once]
    assert any(recovered) and not all(recovered)
    for a, b in zip(once, again, strict=True):
        if a["reached"]:
            assert a == b
            continue
        assert b["steps"] > a["steps"]
        assert b["forward_passes"] > a["forward_passes"]
        assert b["score_recovered"] >= a["score_recovered"] or b["reached"]
        assert b["δ"] <= 1.5 * (1 + 1e-5)


@pytest.mark.parametrize("preserve", [Orthogonal(""), Jacobian("")], ids=["orthogonal", "jacobian"])
def test_every_pass_of_every_start_is_counted(
    made: Rig, preserve: Preserve, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recoverdsl.engine.attack import problem as problem_module

    counted = 0
    run = problem_module.run_layers

    def counting(*args: Any, **options: Any) -> Any:
        nonlocal counted
        counted += 1
        return run(*args, **options)

    batch = made.batch([0])
    hard = evolve(step(made, preserve=preserve, restarts=2, stop="never"))
    hard = evolve(hard, stages=(evolve(hard.stages[0], limit=0.1),))
    problems = made.problems()
    recovery.problem_of(problems, hard, made.protected, batch)
    monkeypatch.setattr(problem_module, "run_layers", counting)
    monkeypatch.setattr(recovery, "evaluate", lambda *_, efforts, **__: (efforts, counted))
    efforts, passes = recovery.recover(problems, hard, made.protected, batch)  # type: ignore[misc]
    assert efforts[0].forward_passes == passes
    assert passes >= 3 * 7


def test_restarts_stay_within_the_budget_of_forward_passes(made: Rig) -> None:
    hard = evolve(step(made).stages[0], limit=0.1)
    for budget in (6, 7, 8, 10, 15):
        held = made.recover(hard, preserve=Orthogonal(""), restarts=5, forward_passes=budget)
        for row in rows(made, held):
            assert row["forward_passes"] <= budget
            assert row["reached"] or row["forward_passes"] >= budget - 1


def test_a_start_does_not_depend_on_the_batch(made: Rig) -> None:
    restarted = step(made, restarts=2)
    together = rows(made, restarted)
    for index in range(len(made.prompts)):
        (alone,) = rows(made, restarted, [index])
        assert alone["steps"] == together[index]["steps"]
        assert alone["score_recovered"] == pytest.approx(
            together[index]["score_recovered"], abs=1e-3
        )


def test_restarts_go_through_all_stages(made: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = stage((2, LAST), limit=0.5, steps=2), stage((2, TARGET), limit=0.2, steps=3)
    starts: list[Tensor | None] = []
    search_once = search.recover

    def watched(problem: Any, attack: Any, limit_B: Any, start: Any = None, **options: Any) -> Any:
        starts.append(start)
        return search_once(problem, attack, limit_B, start, **options)

    monkeypatch.setattr(search, "recover", watched)
    found = rows(made, made.recover(first, second, preserve=Orthogonal(""), restarts=1))
    assert len(starts) == 4
    assert starts[0] is None and starts[1] is None
    assert starts[2] is not None and starts[3] is not None
    assert (norm(starts[2]) <= 0.5 + 1e-5).all() and (norm(starts[3]) <= 0.2 + 1e-5).all()
    # The draws of the two stages are apart: they act at different positions.
    assert not ((starts[2] != 0) & (starts[3] != 0)).any()
    assert all(row["steps"] == 10 for row in found if not row["reached"])


def test_a_search_without_restarts_has_the_digest_that_it_had() -> None:
    from recoverdsl.language.schema.canonical import canonical

    made = rig(chosen=CHOSEN)
    assert "restarts" not in canonical(step(made))
    assert canonical(step(made, restarts=1))["restarts"] == 1
