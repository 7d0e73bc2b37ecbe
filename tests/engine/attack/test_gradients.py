"""The gradient that an attack follows, against finite differences and the unmodified model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from recoverdsl.engine.attack.problem import AttackProblem
from recoverdsl.engine.attack.problem_factory import ProblemFactory
from recoverdsl.language.schema import Positions, Score
from tests.engine.one_sae import (
    BOUNDARY,
    IDS,
    LAST,
    LATER,
    LOGITS,
    LOGPROB,
    problems,
    protected,
    recovery,
)
from tests.models import gpt2, llama

MODELS = {"llama": llama, "gpt2": gpt2}
PLACES = {"last_token": LAST, "every_token except first": LATER}
SCORES = {"logits": LOGITS, "logprob": LOGPROB}

each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
each_place = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
each_score = pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)


def problem_of(made: ProblemFactory, place: Positions, score: Score) -> AttackProblem:
    step = recovery(place, preserve=None, score=score)
    everyone = list(range(len(made.resources.examples)))
    return made.problem(step, protected(made), everyone, None)


def some_delta(problem: AttackProblem) -> Tensor:
    shape = problem.zero_BLQD.shape
    delta = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return 0.3 * delta * problem.where_BLQ[..., None]


def gradient_of(problem: AttackProblem, delta: Tensor) -> tuple[Tensor, Tensor]:
    delta = delta.clone().requires_grad_(True)
    score_B, _ = problem.score(delta)
    (gradient,) = torch.autograd.grad(score_B.sum(), delta)
    return score_B.detach(), gradient * problem.where_BLQ[..., None]


@each_model
@each_place
@each_score
def test_the_gradient_of_the_score_equals_finite_differences(
    model: Callable[[], Any], place: Positions, score: Score
) -> None:
    made = problems(model().double())
    problem = problem_of(made, place, score)
    assert problem.first > 0
    assert problem.prefix.keys
    delta = some_delta(problem).double()
    _, gradient = gradient_of(problem, delta)
    length_B = gradient.flatten(1).norm(dim=1)
    generator = torch.Generator().manual_seed(2)
    for _ in range(4):
        direction = (
            torch.randn(delta.shape, generator=generator).double() * problem.where_BLQ[..., None]
        )
        direction = direction / direction.flatten(1).norm(dim=1)[:, None, None, None]
        step = 2e-3 * direction
        up_B, down_B = problem.score(delta + step)[0], problem.score(delta - step)[0]
        measured_B = (up_B.double() - down_B) / 4e-3
        predicted_B = (gradient * direction).flatten(1).sum(1)
        assert ((measured_B - predicted_B).abs() <= 1e-3 * length_B).all()


@contextmanager
def hooked(model: Any, edit: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Return the model with the output of the layer below the boundary edited."""
    layers = model.model.layers if hasattr(model, "model") else model.transformer.h

    def hook(_module: Any, _inputs: Any, output: Any) -> Any:
        return (edit(output[0]), *output[1:]) if isinstance(output, tuple) else edit(output)

    handle = layers[BOUNDARY - 1].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@each_model
@each_place
@each_score
def test_score_and_gradient_are_those_of_the_unmodified_model_under_hooks(
    model: Callable[[], Any], place: Positions, score: Score
) -> None:
    whole = model()
    made = problems(whole)
    resources = made.resources
    problem = problem_of(made, place, score)
    delta = some_delta(problem)
    score_B, gradient = gradient_of(problem, delta)
    delta_BQD, gradient_BQD, where_BQ = delta[:, 0], gradient[:, 0], problem.where_BLQ[:, 0]
    (sae,) = resources.autoencoders.values()
    for at, ids in enumerate(resources.prompts):
        length, width = len(ids), delta_BQD.shape[1]
        own = torch.zeros(length, 24)
        columns = min(length, width)
        own[length - columns :] = delta_BQD[at, width - columns :]
        own.requires_grad_(True)

        def edit(h_1TD: Tensor, own: Tensor = own) -> Tensor:
            z_1TF = sae.encode(h_1TD)
            clamped_1TF = z_1TF.clone()
            for feature in IDS:
                for position in range(1, h_1TD.shape[1]):
                    if z_1TF[0, position, feature] > 0:
                        clamped_1TF[0, position, feature] = -5.0
            return sae.decode(clamped_1TF) + (h_1TD - sae.decode(z_1TF)) + own

        with hooked(whole, edit):
            logits_V = whole(torch.tensor([ids]), use_cache=False).logits[0, -1]
        value = torch.zeros(())
        for term in score.terms:
            (token,) = resources.model.encode_text(
                resources.examples[at].fields[term.token.strip("{}")]
            )
            source = logits_V.log_softmax(0) if term.quantity == "logprob" else logits_V
            value = value + term.weight * source[token]
        (expected,) = torch.autograd.grad(value, own)
        assert float(score_B[at]) == pytest.approx(float(value.detach()), abs=1e-4)
        kept = where_BQ[at, width - columns :, None]
        found = torch.zeros(length, 24)
        found[length - columns :] = gradient_BQD[at, width - columns :]
        expected = expected.clone()
        expected[length - columns :] *= kept
        expected[: length - columns] = 0.0
        assert found.norm() > 0
        assert (found - expected).norm() <= 1e-4 * expected.norm()


@each_model
def test_no_gradient_reaches_one_example_from_another(model: Callable[[], Any]) -> None:
    problem = problem_of(problems(model()), LATER, LOGITS)
    delta = some_delta(problem).requires_grad_(True)
    (gradient,) = torch.autograd.grad(problem.score(delta)[0][2], delta)
    others = torch.arange(len(problem)) != 2
    assert gradient[2].norm() > 0
    assert torch.equal(gradient[others], torch.zeros_like(gradient[others]))
