"""The problem of an attack: its score, gradient and corrections, against the plain model under hooks."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from attrs import evolve
from torch import Tensor

from recoverdsl.compiler.steps import ReachBehavior, Recover, Stage, columns_after_prompt
from recoverdsl.engine.attack.constraints import constraint_of
from recoverdsl.engine.attack.constraints.by_construction import ByConstruction
from recoverdsl.engine.attack.constraints.orthogonal import Orthogonal
from recoverdsl.engine.attack.geometry import norm
from recoverdsl.engine.attack.optimizers import Adam
from recoverdsl.engine.attack.problem import AttackProblem
from recoverdsl.engine.attack.problem_factory import positioned_delta, stored_delta
from recoverdsl.engine.attack.search import Attack, recover
from recoverdsl.engine.behavior.generation import generate
from recoverdsl.engine.behavior.objectives import AnswerGoal
from recoverdsl.engine.defense.autoencoders import Autoencoder
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.language import schema
from recoverdsl.language.schema import Positions
from tests.bounds import PASS, assert_near, near
from tests.engine.one_sae import BOUNDARY, IDS, problems, protected, recovery
from tests.engine.rigs import (
    CLAMPED,
    ENDING,
    LAST,
    SCORED,
    TARGET,
    Rig,
    each_family,
    of_problem,
    onto,
    own_rows,
    rig,
    some,
    stage,
    two_families,
)
from tests.models import jumprelu, llama

SHARED = Positions(("every_generated_token",))
EARLIER = Positions(("every_token", "target_tokens"), ("first",))
KINDS = {
    "two sites": [stage((1, LAST), (2, EARLIER))],
    "below all clamps": [stage((1, ENDING))],
    "the top": [stage((4, ENDING), (2, LAST))],
    "one vector for all": [stage((1, LAST), (3, SHARED))],
    "a second stage": [stage((2, LAST)), stage((1, TARGET))],
}
each_kind = pytest.mark.parametrize("stages", KINDS.values(), ids=KINDS)
BY_CONSTRUCTION = schema.ByConstruction("")
each_preserve = pytest.mark.parametrize(
    "preserve", [None, BY_CONSTRUCTION], ids=["nothing", "by_construction"]
)


def problem_of(made: Rig, step: Recover, indices: list[int] | None = None) -> AttackProblem:
    """Return the problem of the last stage, with a δ of the earlier one in place."""
    indices = list(range(len(made.prompts))) if indices is None else indices
    problem = made.problem(step, indices)
    if len(step.stages) == 1:
        return problem
    whole = made.problem(step)
    fixed = whole.total(some(whole, 1.5, seed=5))
    delta = of_problem(whole, fixed).take(torch.tensor(indices))
    return made.problems().stage(problem, step, 1, onto(problem, delta))


def gradient_of(problem: AttackProblem, delta: Tensor) -> tuple[Tensor, Tensor]:
    delta = delta.clone().requires_grad_(True)
    score_B, _ = problem.score(problem.place(delta))
    (gradient,) = torch.autograd.grad(score_B.sum(), delta)
    return score_B.detach(), gradient


def target_of(problem: AttackProblem, at: int) -> list[int]:
    assert isinstance(problem.goal, AnswerGoal)
    labels: list[int] = problem.goal.labels_BA[at][problem.goal.mask_BA[at]].tolist()
    return labels


def logprob(
    made: Rig, problem: AttackProblem, at: int, total: Tensor, prompt: Sequence[int]
) -> Tensor:
    """Return the log-probability of a target by one pass of the plain model over the whole text."""
    target = target_of(problem, at)
    rows = own_rows(of_problem(problem, total), at, len(prompt))
    logits_TV = made.plain.logits([*prompt, *target[:-1]], rows)
    logprobs = logits_TV[len(prompt) - 1 :].log_softmax(1)
    return logprobs[torch.arange(len(target)), target].sum()


@each_family
@each_kind
@each_preserve
def test_the_score_is_the_log_probability_of_the_plain_model(
    kind: str, stages: list[Stage], preserve: schema.Preserve | None
) -> None:
    made = rig(kind)
    problem = problem_of(made, made.recover(*stages, preserve=preserve))
    delta = some(problem)
    score_B, _ = problem.score(delta)
    total = problem.total(delta)
    for at, prompt in enumerate(made.prompts):
        expected = logprob(made, problem, at, total, prompt)
        assert float(score_B[at]) == near(float(expected), PASS, float(score_B.abs().max()))


@each_family
def test_the_score_of_a_behavior_is_that_of_the_plain_model(kind: str) -> None:
    made = rig(kind)
    step = made.recover(stage((1, LAST), (3, LAST)), behavior=SCORED, goal=ReachBehavior(SCORED))
    problem = made.problem(step)
    delta = some(problem)
    score_B, holds_B = problem.score(delta)
    for at, prompt in enumerate(made.prompts):
        fields = made.resources.examples[at].fields
        right, wrong = (made.resources.model.encode_text(fields[k])[0] for k in ("right", "wrong"))
        logits = made.plain.logits(prompt, own_rows(of_problem(problem, delta), at, len(prompt)))[
            -1
        ]
        assert float(score_B[at]) == near(
            float(logits[right] - logits[wrong]), PASS, float(logits.abs().max())
        )
    assert torch.equal(holds_B, score_B > 0)


@two_families
@each_kind
@each_preserve
def test_the_gradient_equals_finite_differences(
    kind: str, stages: list[Stage], preserve: schema.Preserve | None
) -> None:
    made = rig(kind, double=True)
    problem = problem_of(made, made.recover(*stages, preserve=preserve))
    delta = some(problem)
    _, gradient = gradient_of(problem, delta)
    size_B = gradient.flatten(1).norm(dim=1)
    assert (size_B > 1e-3).all()
    for seed in range(4):
        direction = some(problem, seed=20 + seed)
        predicted_B = (gradient * direction).flatten(1).sum(1)
        errors = []
        # A JumpReLU feature that jumps between the two ends makes one of the differences useless.
        for step in (8e-3, 1e-3):
            higher, lower = (problem.score(delta + sign * step * direction)[0] for sign in (1, -1))
            errors.append(((higher - lower) / (2 * step) - predicted_B).abs())
        assert (torch.stack(errors).amin(0) <= 2e-3 * size_B + 1e-3).all()


@two_families
@each_kind
def test_the_gradient_is_that_of_the_plain_model(kind: str, stages: list[Stage]) -> None:
    made = rig(kind)
    problem = problem_of(made, made.recover(*stages))
    delta = some(problem)
    _, gradient = gradient_of(problem, delta)
    for at, prompt in enumerate(made.prompts):
        free = delta.clone().requires_grad_(True)
        value = logprob(made, problem, at, problem.total(problem.place(free)), prompt)
        (expected,) = torch.autograd.grad(value, free)
        assert (gradient[at] - expected[at]).norm() <= 1e-4 * expected[at].norm() + 1e-5


@two_families
@each_kind
@each_preserve
def test_an_example_alone_scores_and_is_corrected_as_in_a_batch(
    kind: str, stages: list[Stage], preserve: schema.Preserve | None
) -> None:
    made = rig(kind)
    step = made.recover(*stages, preserve=preserve)
    together = problem_of(made, step)
    delta = some(together)
    score_B, gradient = gradient_of(together, delta)
    total = together.total(delta)
    for at in range(len(made.prompts)):
        row = torch.tensor([at])
        alone = problem_of(made, step, [at])

        def own(whole: Tensor, alone: AttackProblem = alone, row: Tensor = row) -> Tensor:
            return onto(alone, of_problem(together, whole).take(row))

        one_B, one_gradient = gradient_of(alone, own(delta))
        assert float(one_B[0]) == near(float(score_B[at]), PASS, float(score_B.abs().max()))
        shared = problem_of(made, step, [at]).shared_LQ is not None
        if not shared:
            assert (one_gradient - own(gradient)).norm() <= 1e-4 * gradient[at].norm() + 1e-5
        assert (alone.total(own(delta)) - own(total)).norm() <= 1e-5 * (1 + total[at].norm())
        taken = together.take(row)
        again_B, again = gradient_of(taken, delta[row])
        assert float(again_B[0]) == near(float(score_B[at]), PASS, float(score_B.abs().max()))
        assert (again[0] - gradient[at]).norm() <= 1e-4 * gradient[at].norm() + 1e-5


@two_families
def test_shared_columns_have_one_vector_and_others_their_own(kind: str) -> None:
    made = rig(kind)
    problem = made.problem(made.recover(*KINDS["one vector for all"]))
    delta = some(problem)
    column = problem.tokens.prompt - problem.first
    after = delta[:, 1, column:]
    assert after.shape[1] > 1
    assert torch.equal(after, after[:, :1].expand_as(after))
    assert (delta[:, 0, column - 1].norm(dim=1) > 0).all()
    assert not delta[:, 0, column:].any()
    # The norm counts every column, so that a shared vector is as dear as what it does.
    assert_near(norm(delta), torch.ones(len(problem)), delta[0].numel())


@two_families
@pytest.mark.parametrize("stages", [v for k, v in KINDS.items() if k != "the top"])
def test_by_construction_leaves_every_protected_feature_where_it_was(
    kind: str, stages: list[Stage]
) -> None:
    """By one ordinary pass of the plain model, with the stored δ and no correction."""
    made = rig(kind)
    step = made.recover(*stages, preserve=BY_CONSTRUCTION)
    problem = problem_of(made, step)
    limit_B = torch.full((len(problem),), 3.0)
    free = ByConstruction().admit(problem, some(problem, 50.0), limit_B)
    added = problem.added(free)
    assert (norm(added) <= limit_B * (1 + 1e-6)).all()
    assert (norm(added) > 0.5 * limit_B).all()
    total = problem.total(free)
    kept = positioned_delta(
        step, problem.sites, stored_delta(problem, total, columns_after_prompt(step))
    )
    moved = 0.0
    for at, prompt in enumerate(made.prompts):
        text = [*prompt, *target_of(problem, at)[:-1]]
        seen: dict[int, Tensor] = {}
        defended: dict[int, Tensor] = {}
        made.plain.logits(text, own_rows(kept, at, len(prompt)), seen)
        made.plain.logits(text, {}, defended)
        first = len(prompt) - (problem.tokens.prompt - problem.first)
        touched_Q = problem.touched_BQ[at][max(0, -first) : len(text) - first]
        lowest = problem.sites[0]
        for site, ids in CLAMPED.items():
            if site < lowest:
                continue
            sae = made.plain.saes[site]
            A_DS = torch.nn.functional.normalize(sae.W_enc[:, ids], dim=0)
            change = (seen[site] - defended[site])[max(0, first) :][touched_Q]
            assert (change @ A_DS).abs().max() <= 1e-5
            assert torch.allclose(sae.encode(seen[site])[max(0, first) :][touched_Q][:, ids],
                                  sae.encode(defended[site])[max(0, first) :][touched_Q][:, ids], atol=2e-5)  # fmt: skip
            moved += float(change.norm())
    assert moved > 1.0


@each_family
def test_a_correction_is_the_smallest_one_that_does_it(kind: str) -> None:
    made = rig(kind)
    step = made.recover(stage((1, ENDING), limit=4.0), preserve=BY_CONSTRUCTION)
    problem = made.problem(step)
    delta = some(problem, 2.0)
    total = problem.total(delta)
    for at, prompt in enumerate(made.prompts):
        text = [*prompt, *target_of(problem, at)[:-1]]
        before: dict[int, Tensor] = {}
        defended: dict[int, Tensor] = {}
        made.plain.logits(text, own_rows(of_problem(problem, total), at, len(prompt)), None, before)
        made.plain.logits(text, {}, defended)
        free_rows = own_rows(of_problem(problem, delta), at, len(prompt))
        total_rows = own_rows(of_problem(problem, total), at, len(prompt))
        for site, ids in CLAMPED.items():
            A_SD = made.plain.saes[site].W_enc[:, ids].double().T
            for position in range(len(prompt) - 1, len(text)):
                free = free_rows[site][position].double()
                correction = total_rows[site][position].double() - free
                missing = (defended[site][position] - before[site][position]).double() - free
                least = torch.linalg.lstsq(A_SD, A_SD @ missing[:, None], driver="gelsd").solution
                assert least.norm() > 1e-3
                assert (correction - least[:, 0]).norm() <= 1e-4 * (1 + least.norm())


@two_families
def test_features_are_kept_at_tokens_alone_and_not_after_a_shorter_target(kind: str) -> None:
    free = rig(kind).answers().lists()
    made = rig(kind, end_ids=[free[0][2]])
    step = made.recover(stage((1, SHARED)), preserve=BY_CONSTRUCTION)
    problem = made.problem(step)
    column = problem.tokens.prompt - problem.first
    lengths = [len(target_of(problem, at)) - 1 for at in range(len(problem))]
    assert len(set(lengths)) > 1
    total = problem.total(some(problem, 2.0))
    assert problem.sites == (1, 2, 3)
    for at, length in enumerate(lengths):
        assert problem.touched_BQ[at].sum() == length
        above_QD = total[at, 1, column:]
        assert (above_QD[:length].norm(dim=1) > 1e-4).all()
        assert not above_QD[length:].any()
        assert (total[at, 0, column:].norm(dim=1) > 1e-2).all()


@two_families
def test_corrections_act_at_touched_positions_only(kind: str) -> None:
    made = rig(kind)
    problem = made.problem(made.recover(stage((1, LAST)), preserve=BY_CONSTRUCTION))
    total = problem.total(some(problem, 2.0))
    assert not total[~problem.touched_BQ[:, None].expand(total.shape[:3])].any()
    assert (total[:, :, 0].norm(dim=-1) > 1e-3).all()


@each_family
def test_by_construction_at_the_topmost_site_alone_is_orthogonality(kind: str) -> None:
    made = rig(kind)
    problem = made.problem(made.recover(stage((3, ENDING)), preserve=BY_CONSTRUCTION))
    assert problem.sites == (3,)
    delta = some(problem, 2.0)
    orthogonal = Orthogonal.to(made.protected.features[3].W_enc_DS)
    torch.testing.assert_close(problem.total(delta), orthogonal(delta), atol=1e-5, rtol=0)


# --- The generated text is the one that was optimized ---------------------------------------------


def written(made: Rig, step: Recover, problem: AttackProblem, total: Tensor) -> list[list[int]]:
    """Return the texts generated with a stored δ, each with the token that ended it."""
    delta = positioned_delta(
        step, problem.sites, stored_delta(problem, total, columns_after_prompt(step))
    )
    assert made.behavior.generate is not None
    answers = generate(
        made.resources.model.family, made.resources.tokens(list(range(len(made.prompts)))),
        made.protected.intervention(step.defense).with_delta(delta),
        tokens=made.behavior.generate, end_ids=made.resources.model.end_ids,
    )  # fmt: skip
    ends = answers.length_B + answers.ended_B
    return [ids[:end] for ids, end in zip(answers.ids_BN.tolist(), ends.tolist(), strict=True)]


WAYS = {
    "free": (KINDS["two sites"], None, None),
    "by construction": (KINDS["below all clamps"], BY_CONSTRUCTION, None),
    "its first tokens": ([stage((2, ENDING))], None, 3),
    "one vector for all": (KINDS["one vector for all"], None, None),
}


@two_families
@pytest.mark.parametrize("ending", [False, True], ids=["cut", "some end"])
@pytest.mark.parametrize(("stages", "preserve", "tokens"), WAYS.values(), ids=WAYS)
def test_a_target_is_reached_exactly_if_it_is_what_is_written(
    kind: str,
    ending: bool,
    stages: list[Stage],
    preserve: schema.Preserve | None,
    tokens: int | None,
) -> None:
    free = rig(kind).answers().lists()
    ends = [free[0][2], free[3][1]] if ending else []
    made = rig(kind, end_ids=ends)
    step = made.recover(*stages, preserve=preserve, target_tokens=tokens)
    problem = made.problem(step)
    targets = [target_of(problem, at) for at in range(len(problem))]
    assert ending == any(target[-1] in ends for target in targets)
    reached = []
    for limit in (0.5, 3.0, 12.0):
        attack = Attack(lambda _: Adam(0.4), constraint_of(step.preserve, problem), steps=20)
        outcome = recover(problem, attack, torch.full((len(problem),), limit))
        reached += outcome.recovered_B.tolist()
        texts = written(made, step, problem, outcome.delta_BLQD)
        for target, text, there in zip(targets, texts, outcome.recovered_B, strict=True):
            assert bool(there) == (text[: len(target)] == target)
    assert 2 <= sum(reached) < len(reached)


@each_family
def test_a_models_own_answer_is_reached_without_a_clamp_whatever_token_ended_it(kind: str) -> None:
    free = rig(kind).answers().lists()
    # Of several tokens that end a text a model uses the ones that it likes.
    ends = sorted({free[0][2], free[3][1], free[2][4]})
    assert len(ends) > 1
    made = rig(kind, end_ids=ends)
    answers = made.answers()
    assert answers.ended_B.any()
    problem = made.problem(made.recover(stage((2, ENDING)), defense=None))
    assert problem.score(problem.zero_BLQD)[1].all()


@two_families
def test_a_stored_delta_is_the_same_whatever_the_batch(kind: str) -> None:
    made = rig(kind)
    step = made.recover(stage((1, LAST), (3, TARGET)))
    together = made.problem(step)
    delta = some(together)
    kept = stored_delta(together, delta, columns_after_prompt(step))
    for at, prompt in enumerate(made.prompts):
        alone = made.problem(step, [at])
        own = onto(alone, of_problem(together, delta).take(torch.tensor([at])))
        one = stored_delta(alone, own, columns_after_prompt(step))
        rows = own_rows(positioned_delta(step, together.sites, kept), at, len(prompt))
        again = own_rows(positioned_delta(step, alone.sites, one), 0, len(prompt))
        length = len(prompt) + 4
        for site in (1, 3):
            assert torch.equal(rows[site][:length], again[site][:length])


@two_families
def test_a_fixed_earlier_stage_is_in_every_score(kind: str) -> None:
    made = rig(kind)
    step = made.recover(*KINDS["a second stage"])
    later = problem_of(made, step)
    zero = later.zero_BLQD
    without, _ = evolve(later, fixed_BLQD=None).score(zero)
    with_it, _ = later.score(zero)
    assert (without - with_it).abs().min() > 1e-4
    assert later.fixed_BLQD is not None
    assert torch.equal(later.total(zero), later.fixed_BLQD)
    assert not later.added(zero).any()


def test_features_of_the_same_numbers_in_another_sae_make_another_problem() -> None:
    """Two clamps of one spec may set features 1, 5, … of two SAEs at one site to the same value."""
    made, step = problems(llama()), recovery()
    own = protected(made)
    other = Protected(
        {BOUNDARY: Autoencoder(jumprelu(seed=1), BOUNDARY).features(torch.tensor(IDS))}
    )
    one, two = (made.problem(step, features, [0, 1], None) for features in (own, other))
    assert made.problem(step, own, [0, 1], None) is one
    assert not one.h_def[BOUNDARY].equal(two.h_def[BOUNDARY])
