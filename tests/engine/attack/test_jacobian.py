"""The null space of the protected features' Jacobian, against the dense matrix and planted features."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from attrs import evolve
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from recoverdsl.compiler.steps import ReachBehavior
from recoverdsl.engine.attack.constraints import constraint_of
from recoverdsl.engine.attack.constraints.free import Free
from recoverdsl.engine.attack.constraints.jacobian import (
    Jacobian,
    linearize,
    preactivation_change,
    room,
)
from recoverdsl.engine.attack.constraints.jacobian_sketch import JacobianSketch
from recoverdsl.engine.attack.geometry import norm
from recoverdsl.engine.attack.meter import UNCOUNTED
from recoverdsl.engine.attack.optimizers import Adam
from recoverdsl.engine.attack.problem import AttackProblem
from recoverdsl.engine.attack.search import Attack, recover
from recoverdsl.language import schema
from recoverdsl.language.schema import Positions, SetTo
from tests.bounds import GRADIENT, assert_near, near
from tests.engine.rigs import (
    CLAMPED,
    ENDING,
    LAST,
    SCORED,
    TARGET,
    Rig,
    of_problem,
    onto,
    own_rows,
    rig,
    some,
    stage,
    two_families,
)
from tests.models import jumprelu

EARLIER = Positions(("every_token", "target_tokens"), ("first",))
SHORT = [[5, 9, 33], [41, 7], [12, 60, 7, 18]]
EXACT = Jacobian(iterations=400, tolerance=1e-7)


def small(
    kind: str = "llama", *, size: float = 0.5, threshold: float = 0.05
) -> tuple[Rig, AttackProblem, Tensor]:
    """Return two monitored boundaries, δ below both and at the upper one, and some δ."""
    chosen = {site: CLAMPED[site] for site in (2, 3)}
    saes = {site: jumprelu(seed=site, threshold=threshold) for site in chosen}
    made = rig(kind, prompts=SHORT, chosen=chosen, saes=saes, tokens=3)
    problem = made.problem(
        made.recover(stage((1, ENDING), (3, LAST)), preserve=schema.Jacobian(""))
    )
    return made, problem, some(problem, size)


def whole_jacobian(function: Callable[[Tensor], Tensor], delta: Tensor) -> Tensor:
    made: Tensor = torch.autograd.functional.jacobian(function, delta.clone())  # type: ignore[no-untyped-call]
    return made


def dense(problem: AttackProblem, delta: Tensor) -> Tensor:
    """Return J (B, R, N) of each example, N entries of its δ."""
    with sdpa_kernel(SDPBackend.MATH):
        whole = whole_jacobian(
            lambda d: preactivation_change(problem, problem.trace(problem.place(d))), delta
        )
    rows = range(len(problem))
    return torch.stack([whole[at, :, at].flatten(1) for at in rows])


@two_families
def test_preactivation_changes_are_those_of_the_plain_model(kind: str) -> None:
    made, problem, delta = small(kind)
    phi_BR = preactivation_change(problem, problem.trace(delta))
    assert isinstance(phi_BR, Tensor)
    width = problem.where_BLQ.shape[2]
    for at, prompt in enumerate(made.prompts):
        goal = problem.goal
        target = goal.labels_BA[at][goal.mask_BA[at]].tolist()  # type: ignore[attr-defined]
        text = [*prompt, *target[:-1]]
        rows = own_rows(of_problem(problem, delta), at, len(prompt))
        moved_to, start = states_of(made, text, rows), states_of(made, text, {})
        offset = 0
        # δ is at boundary 1 and, for the last token, at 3: there features are read after it too.
        for site, when in ((2, "unclamped"), (3, "unclamped"), (3, "seen")):
            ids = CLAMPED[site]
            A_DS = torch.nn.functional.normalize(made.plain.saes[site].W_enc[:, ids], dim=0)
            phi_QS = phi_BR[at, offset : offset + width * len(ids)].view(width, len(ids))
            offset += width * len(ids)
            change_TS = (moved_to[when][site] - start[when][site]) @ A_DS
            for column in range(width):
                position = len(prompt) - (problem.tokens.prompt - problem.first) + column
                last = column == problem.tokens.prompt - 1 - problem.first
                if problem.touched_BQ[at, column] and (when == "unclamped" or last):
                    torch.testing.assert_close(
                        phi_QS[column], change_TS[position], atol=1e-5, rtol=1e-4
                    )
                else:
                    assert not phi_QS[column].any()
        assert offset == phi_BR.shape[1]


def states_of(made: Rig, text: list[int], rows: dict[int, Tensor]) -> dict[str, dict[int, Tensor]]:
    """Return the states of the plain model by boundary: after δ, and before the clamp."""
    states: dict[str, dict[int, Tensor]] = {"seen": {}, "unclamped": {}}
    made.plain.logits(text, rows, states["seen"], None, states["unclamped"])
    return states


@two_families
def test_pull_and_push_are_products_with_the_dense_jacobian(kind: str) -> None:
    _, problem, delta = small(kind)
    linear = linearize(problem, delta)
    J_BRN = dense(problem, delta)
    generator = torch.Generator().manual_seed(3)
    y_BR = torch.randn(linear.phi_BR.shape, generator=generator)
    v_BLQD = torch.randn(delta.shape, generator=generator)
    pulled = torch.einsum("brn,br->bn", J_BRN, y_BR)
    pushed = torch.einsum("brn,bn->br", J_BRN, v_BLQD.flatten(1))
    assert pulled.norm() > 1 and pushed.norm() > 1
    assert_near(linear.pull(y_BR).flatten(1), pulled, GRADIENT)
    assert_near(linear.push(v_BLQD), pushed, GRADIENT)
    torch.testing.assert_close(
        linear.phi_BR, preactivation_change(problem, problem.trace(delta)).detach()
    )


@two_families
def test_the_tangent_of_a_gradient_is_the_dense_projection(kind: str) -> None:
    _, problem, delta = small(kind)
    gradient = problem.place(torch.randn(delta.shape, generator=torch.Generator().manual_seed(4)))
    active_BR, up_BR = room(problem)
    phi_BR = preactivation_change(problem, problem.trace(delta))
    J_BRN = dense(problem, delta)
    rising_BR = torch.einsum("brn,bn->br", J_BRN, gradient.flatten(1)) > 0
    held_BR = active_BR | ((phi_BR >= up_BR) & rising_BR)
    found = EXACT.tangent(problem, delta, gradient, 0).flatten(1)
    for at in range(len(problem)):
        J_HN = J_BRN[at][held_BR[at]].double()
        # Rows of positions that are not perturbed are zero, and say nothing.
        g_N = gradient[at].flatten().double()
        expected = g_N - J_HN.T @ torch.linalg.pinv(J_HN @ J_HN.T, rtol=1e-7) @ (J_HN @ g_N)
        assert 0.1 * g_N.norm() < expected.norm() < 0.99 * g_N.norm()
        assert (found[at] - expected).norm() <= 2e-3 * g_N.norm()
        assert (J_HN @ found[at].double()).norm() <= 2e-3 * (J_HN @ g_N).norm()


@two_families
def test_an_admitted_delta_is_within_its_limit_and_leaves_features_closer(kind: str) -> None:
    _, problem, delta = small(kind, size=3.0)
    limit_B = torch.tensor([3.0, 1.0, 0.2])
    before, after = (kept.admit(problem, delta, limit_B) for kept in (Free(), Jacobian()))
    assert (norm(after) <= limit_B * (1 + 1e-6)).all()
    active_BR, up_BR = room(problem)

    def excess(x: Tensor) -> Tensor:
        phi_BR = preactivation_change(problem, problem.trace(x))
        return norm(torch.where(active_BR, phi_BR, (phi_BR - up_BR).clamp(min=0)))

    assert (excess(before) > 0.02).all()
    assert (excess(after) < 0.1 * excess(before)).all()
    assert (norm(after) > 0.3 * limit_B).all()
    assert not after[~problem.where_BLQ].any()


@two_families
@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_an_attack_under_it_moves_no_active_feature_and_wakes_no_other(
    kind: str, threshold: float
) -> None:
    # With a threshold a clamp between δ and a feature jumps where δ carries a feature across it.
    _, problem, _ = small(kind, threshold=threshold)
    limit_B = torch.full((len(problem),), 3.0)
    found, free = (
        recover(problem, Attack(lambda _: Adam(0.2), kept, 15, False), limit_B)
        for kept in (Jacobian(), Free())
    )
    start_B, _ = problem.score(problem.zero_BLQD)
    assert (found.score_B > start_B + 0.05).all()
    assert (norm(found.delta_BLQD) <= limit_B * (1 + 1e-5)).all()
    z_def_BR = activations(problem, problem.zero_BLQD)
    active_BR = z_def_BR > 0
    kept_BR, free_BR = (activations(problem, way.delta_BLQD) for way in (found, free))
    assert (kept_BR - z_def_BR)[active_BR].abs().max() <= 1e-4
    assert not kept_BR[~active_BR].any()
    assert (free_BR - z_def_BR)[active_BR].abs().max() >= 0.05
    assert free_BR[~active_BR].any()


def reactivating() -> tuple[AttackProblem, Tensor, int]:
    """Return features that read one direction each; the third one is inactive, and δ points along it."""
    basis = torch.linalg.qr(torch.randn(24, 8, generator=torch.Generator().manual_seed(0)))[0]
    sae = jumprelu(d_sae=8, threshold=0.5)
    with torch.no_grad():
        sae.W_enc.copy_(basis)
        sae.W_dec.copy_(basis.T)
        sae.b_enc.zero_()
        sae.b_dec.zero_()
    made = rig(saes={2: sae}, chosen={2: [0, 1, 2, 3]}, to=SetTo(-1.0), prompts=SHORT)
    step = made.recover(
        stage((2, LAST)), behavior=SCORED, goal=ReachBehavior(SCORED), preserve=schema.Jacobian("")
    )
    problem = made.problem(step)
    direction = torch.zeros_like(problem.zero_BLQD)
    column = problem.tokens.prompt - 1 - problem.first
    direction[:, 0, column] = basis[:, 2] + 0.5 * basis[:, 5] + 0.25 * basis[:, 6]
    return problem, direction, column


def test_a_feature_that_is_inactive_when_defended_stays_so() -> None:
    problem, direction, column = reactivating()
    features = problem.features[2]
    assert (features.encode(problem.h_def[2])[:, column] <= 0).all()
    limit_B = torch.full((len(problem),), 8.0)
    free = Free().admit(problem, 8 * direction, limit_B)
    assert (features.encode(problem.states(free)[2])[:, column, 2] > 0).all()
    for size in (0.5, 1.0, 2.0, 4.0, 8.0, 20.0, 100.0):
        kept = Jacobian().admit(problem, size * direction, limit_B)
        assert (features.encode(problem.states(kept)[2])[:, column] <= 0).all()
        assert (norm(kept) <= limit_B * (1 + 1e-6)).all()
    assert norm(kept).min() > 1


def test_activations_alone_do_not_see_an_inactive_feature_coming() -> None:
    """The bound on pre-activations is needed: here the feature is as high as it may be."""
    problem, direction, column = reactivating()
    limit_B = torch.full((len(problem),), 8.0)
    delta = Jacobian().admit(problem, 8 * direction, limit_B)
    sketch = JacobianSketch(probes=6, scale=1.0)
    assert torch.equal(sketch.tangent(problem, delta, direction, 0), direction)
    column_D = problem.features[2].W_enc_DS[:, 2]
    assert (direction[:, 0, column] @ column_D > 0.9).all()
    kept = Jacobian().tangent(problem, delta, direction, 0)
    assert (kept[:, 0, column] @ column_D).abs().max() < 1e-5
    assert norm(kept).min() > 0.5
    # Down it may go.
    assert torch.equal(Jacobian().tangent(problem, delta, -direction, 0), -direction)


def test_a_feature_may_fall_below_its_threshold_as_far_as_it_likes() -> None:
    problem, direction, _ = reactivating()
    limit_B = torch.full((len(problem),), 8.0)
    down = -3 * direction
    assert torch.equal(Jacobian().admit(problem, down, limit_B), down)
    assert torch.equal(Jacobian().tangent(problem, down, -direction, 0), -direction)


# --- The published sketch -------------------------------------------------------------------------


def activations(problem: AttackProblem, delta: Tensor) -> Tensor:
    """Return the protected features (B, R), zero at positions that are not perturbed."""
    z, _ = JacobianSketch(probes=1, scale=1.0)._activations(
        problem, problem.place(delta), UNCOUNTED
    )
    return z


@two_families
def test_a_sketch_takes_as_many_directions_as_probes_from_the_row_space_of_activations(
    kind: str,
) -> None:
    _, problem, delta = small(kind)
    J_BRN = whole_jacobian(lambda d: activations(problem, d), delta)
    rows = [J_BRN[at, :, at].flatten(1).double() for at in range(len(problem))]
    units = torch.eye(delta[0].numel()).view(-1, *delta.shape[1:])
    # Three tokens to a target, over which the mean is taken.
    sketch = JacobianSketch(probes=3, scale=3.0, penalty=0.0)
    kept = problem.place(torch.ones_like(delta))[0].flatten() > 0
    made = []
    for unit in units[kept]:
        gradient = unit.expand_as(delta)
        made.append(sketch.tangent(problem, delta, gradient, 2).flatten(1))
    P_BNN = torch.stack(made, dim=2).double()[:, kept]
    for at, row in enumerate(rows):
        own = (problem.place(torch.ones_like(delta))[at].flatten() > 0)[kept]
        P_NN = P_BNN[at][own][:, own]
        removed = torch.eye(len(P_NN), dtype=torch.float64) - P_NN
        rounded = 4 * len(P_NN)
        # An orthogonal projection onto three probes and the drift, inside the row space.
        assert_near(removed @ removed, removed, rounded, 1.0)
        assert float(removed.trace()) == near(4.0, rounded)
        J_RN = row[:, kept][:, own]
        inside = J_RN.T @ torch.linalg.pinv(J_RN @ J_RN.T, rtol=1e-9) @ J_RN
        assert_near(inside @ removed, removed, rounded, 1.0)


def test_a_sketch_draws_anew_for_every_step_and_the_same_for_the_same_one() -> None:
    _, problem, delta = small()
    gradient = some(problem, seed=8)
    sketch = JacobianSketch(probes=2, scale=5.0)
    first, again, other = (sketch.tangent(problem, delta, gradient, step) for step in (0, 0, 1))
    assert torch.equal(first, again)
    assert (first - other).flatten(1).norm(dim=1).min() > 1e-3


def test_a_sketch_of_an_example_does_not_depend_on_its_batch() -> None:
    chosen = {site: CLAMPED[site] for site in (2, 3)}
    end = small()[0].answers().lists()[0][1]
    made = rig(prompts=SHORT, chosen=chosen, tokens=3, end_ids=[end])
    assert len(set(made.answers().length_B.tolist())) > 1
    step = made.recover(stage((1, EARLIER), (3, TARGET)), preserve=schema.JacobianSketch("", 2))
    problem = made.problem(step)
    delta, gradient = some(problem, 0.5), some(problem, seed=8)
    sketch = constraint_of(step.preserve, problem)
    # Their targets are of different lengths, and what is weighed is the mean over tokens.
    together = sketch.tangent(problem, delta, gradient, 3)
    for at in range(len(problem)):
        row = torch.tensor([at])
        alone = made.problem(step, [at])
        own = [onto(alone, of_problem(problem, x).take(row)) for x in (delta, gradient, together)]
        found = constraint_of(step.preserve, alone).tangent(alone, own[0], own[1], 3)
        assert (found - own[2]).norm() <= 1e-3 * own[2].norm()


def test_a_sketch_pulls_features_back_and_stays_within_the_limit() -> None:
    _, problem, delta = small(size=2.0)
    limit_B = torch.full((len(problem),), 1.5)
    sketch = JacobianSketch(probes=2, scale=5.0)

    def drift(x: Tensor) -> Tensor:
        z_def = activations(problem, problem.zero_BLQD)
        return norm(activations(problem, x) - z_def)

    free = Free().admit(problem, delta, limit_B)
    found = sketch.admit(problem, delta, limit_B)
    assert (drift(found) < drift(free)).all()
    assert (norm(found) <= limit_B * (1 + 1e-6)).all()


def test_stages_before_count_into_what_has_moved() -> None:
    made, _, _ = small()
    step = made.recover(stage((1, LAST)), stage((1, TARGET)), preserve=schema.Jacobian(""))
    problem = made.problem(step)
    fixed = some(problem, 1.0)
    later = evolve(problem, fixed_BLQD=fixed)
    torch.testing.assert_close(
        preactivation_change(later, later.trace(later.zero_BLQD)),
        preactivation_change(problem, problem.trace(fixed)),
        atol=1e-6,
        rtol=1e-5,
    )
