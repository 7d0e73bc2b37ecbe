"""Results do not depend on the batch that an example is in, and batches fit into memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve, frozen
from torch import Tensor

from recoverdsl.compiler.steps import FindSmallestNorm
from recoverdsl.engine.attack import search
from recoverdsl.engine.attack.problem_factory import ProblemFactory
from recoverdsl.engine.behavior.feature_effects import attribution
from recoverdsl.engine.behavior.observation import Observations, observe, score_of
from recoverdsl.engine.defense.intervention import Intervention
from recoverdsl.engine.model.batch_size import LARGEST, batch_size
from recoverdsl.engine.model.families import adapt
from recoverdsl.engine.steps.batches import in_batches
from recoverdsl.engine.steps.evaluation import FlipBatch, Recoveries
from recoverdsl.engine.steps.random_directions import RandomDraws, random_directions
from recoverdsl.engine.steps.recovery import find_smallest_norm, recover
from recoverdsl.errors import UnavailableError
from recoverdsl.language.schema import Orthogonal
from recoverdsl.store.records import pack
from recoverdsl.store.steps import Entry, Part, Store
from tests.bounds import GRADIENT, WIDTH, assert_near, near
from tests.engine.one_sae import (
    BEHAVIOR,
    DEFENSE,
    LATER,
    LOGITS,
    noise,
    problems,
    protected,
    recovery,
)
from tests.engine.rigs import values_of
from tests.models import gpt2, llama

COUNT = 7
STEPS_OF_ATTACK, LIMIT = 12, 3.0
"""Of `recovery()`: steps, each of which rounds a gradient, and the largest norm of δ."""
ORDER = [5, 2, 6, 0, 3, 1, 4]
Compute = Callable[[ProblemFactory, list[int]], Observations | Recoveries | RandomDraws]


def batched(compute: Compute, made: ProblemFactory, size: int, order: list[int]) -> dict[int, Any]:
    """Return each example's values and tensors, computed in batches of `size`; δ by columns from
    the right."""
    found = {}
    for start in range(0, len(order), size):
        indices = order[start : start + size]
        record = compute(made, indices)
        _, all_tensors = pack(record)
        for at, index in enumerate(indices):
            tensors = {name: tensor[at] for name, tensor in all_tensors.items()}
            if "delta_BLPD" in tensors:
                length = len(made.resources.prompts[index])
                delta_LPD = tensors["delta_BLPD"]
                assert not delta_LPD[:, :-length].any(), "δ acts on padding"
                delta_LPD = delta_LPD[:, -length:]
                missing = length - delta_LPD.shape[1]
                tensors["delta_BLPD"] = torch.nn.functional.pad(delta_LPD, (0, 0, missing, 0))
            found[index] = (values_at(record, at), tensors)
    return found


def values_at(record: Observations | Recoveries | RandomDraws, at: int) -> dict[str, Any]:
    """Return the values of an example's row, or of the rows of its draws."""
    if not isinstance(record, RandomDraws):
        return values_of(record.rows[at])
    return {
        f"{name}, draw {draw}": value
        for draw, replay in record.draws.items()
        for name, value in values_of(replay.rows[at]).items()
    }


def attack(made: ProblemFactory, indices: list[int]) -> Recoveries:
    return recover(made, recovery(), protected(made), FlipBatch(indices))


def smallest(made: ProblemFactory, indices: list[int]) -> Recoveries:
    found = attack(made, indices)
    step = FindSmallestNorm(recovery(), within=0.05, steps=8, starts=2)
    return find_smallest_norm(made, step, protected(made), FlipBatch(indices), found)


STEPS: dict[str, Compute] = {
    "base": lambda made, indices: observe(made.resources, BEHAVIOR, indices, Intervention()),
    "defended": lambda made, indices: observe(
        made.resources, BEHAVIOR, indices, protected(made).intervention(DEFENSE)
    ),
    "recover": attack,
    "smallest norm": smallest,
    "random directions": lambda made, indices: random_directions(
        made, noise(), protected(made), FlipBatch(indices)
    ),
}


@pytest.mark.parametrize("model", [llama, gpt2], ids=["llama", "gpt2"])
@pytest.mark.parametrize("step", STEPS)
def test_results_depend_neither_on_batch_size_nor_on_order(
    step: str, model: Callable[[], Any]
) -> None:
    made = problems(model(), COUNT)
    alone = batched(STEPS[step], made, 1, list(range(COUNT)))
    for size, order in ((3, list(range(COUNT))), (COUNT, list(range(COUNT))), (3, ORDER)):
        together = batched(STEPS[step], made, size, order)
        for index, (row, tensors) in alone.items():
            other_row, other_tensors = together[index]
            assert other_row.keys() == row.keys() and other_tensors.keys() == tensors.keys()
            for name, value in row.items():
                if isinstance(value, float):
                    assert other_row[name] == near(
                        value, STEPS_OF_ATTACK * GRADIENT, max(abs(value), LIMIT)
                    ), name
                else:
                    assert other_row[name] == value, name
            for name, value in tensors.items():
                assert_near(other_tensors[name], value, STEPS_OF_ATTACK * GRADIENT, LIMIT)


@pytest.mark.parametrize("model", [llama, gpt2], ids=["llama", "gpt2"])
def test_effects_are_sums_over_examples_whatever_the_batch(model: Callable[[], Any]) -> None:
    made = problems(model(), COUNT)

    def effects(indices: list[int]) -> Tensor:
        goal = score_of(made.resources, LOGITS, indices)
        saes = list(made.resources.autoencoders.values())
        (effect_F,), _ = attribution(made.resources, saes, goal, LATER, indices)
        return effect_F

    alone_BF = torch.stack([effects([index]) for index in range(COUNT)])
    for size, order in ((3, list(range(COUNT))), (COUNT, list(range(COUNT))), (3, ORDER)):
        for start in range(0, COUNT, size):
            indices = order[start : start + size]
            assert_near(effects(indices), alone_BF[indices].sum(0), GRADIENT)


def test_the_attack_of_these_tests_recovers_some_examples_and_not_others() -> None:
    rows = attack(problems(llama(), COUNT), list(range(COUNT))).rows
    assert {row.recovered for row in rows} == {True, False}
    assert len({row.steps for row in rows}) > 2


# --- Random directions ------------------------------------------------------------------------


def draw(made: ProblemFactory, indices: list[int], seed: int = 0) -> Tensor:
    """Return draws (B, P, d_model) at the only site."""
    step = noise(draws=1, seed=seed)
    return random_directions(made, step, protected(made), FlipBatch(indices)).delta_BLPD[:, 0]


def test_a_random_direction_depends_on_seed_and_example_alone() -> None:
    made = problems(llama(), COUNT)
    together = batched(STEPS["random directions"], made, COUNT, ORDER)
    alone = batched(STEPS["random directions"], made, 1, list(range(COUNT)))
    for index in range(COUNT):
        delta, other = (way[index][1]["delta_BLPD"] for way in (alone, together))
        assert_near(delta, other, 2 * WIDTH)
    assert not torch.allclose(draw(made, [0]), draw(made, [0], seed=1), atol=0.1)


def test_examples_draw_different_directions() -> None:
    made = problems(llama(), COUNT)
    last = draw(made, list(range(COUNT)))[:, -1]
    cosines = torch.nn.functional.cosine_similarity(last[:, None], last[None], dim=-1)
    assert (cosines - torch.eye(COUNT)).abs().max() < 0.95


def drawn(made: ProblemFactory, draws: int, preserve: Any = None) -> RandomDraws:
    step = noise(draws=draws)
    step = evolve(step, recover=evolve(step.recover, preserve=preserve))
    return random_directions(made, step, protected(made), FlipBatch(list(range(COUNT))))


def test_every_draw_is_kept_and_none_depends_on_how_many_there_are() -> None:
    made = problems(llama(), COUNT)
    one, many = drawn(made, 1), drawn(made, 6)
    assert list(many.draws) == list(range(6))
    assert all(replay.draw == number for number, replay in many.draws.items())
    assert many.draws[0].rows == one.draws[0].rows
    scores = [tuple(row.score_recovered for row in replay.rows) for replay in many.draws.values()]
    assert len(set(scores)) == 6


def test_the_recorded_direction_is_that_of_the_first_draw_not_of_the_best() -> None:
    made = problems(llama(), COUNT)
    one, many = drawn(made, 1), drawn(made, 6)
    assert torch.equal(many.delta_BLPD, one.delta_BLPD)
    first = many.draws[0].rows
    assert any(
        row.score_recovered > first[at].score_recovered
        for replay in many.draws.values()
        for at, row in enumerate(replay.rows)
    )


def test_directions_keep_the_constraint_of_the_attack_and_none_without_it() -> None:
    made = problems(llama(), COUNT)
    kept, free = drawn(made, 2, Orthogonal("")), drawn(made, 2)
    for replay in kept.draws.values():
        assert all(row.delta and row.delta.violation < 1e-5 for row in replay.rows)
    for replay in free.draws.values():
        assert all(row.delta and row.delta.violation > 1e-3 for row in replay.rows)


def test_a_draw_that_breaks_an_example_says_so_and_the_others_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = problems(llama(), COUNT)
    found = search.random_direction
    calls: list[int] = []

    def breaks_first(*arguments: Any) -> search.Outcome:
        outcome = found(*arguments)
        calls.append(1)
        broken = torch.ones_like(outcome.failed_B)
        return evolve(outcome, failed_B=broken) if len(calls) == 1 else outcome

    monkeypatch.setattr(search, "random_direction", breaks_first)
    two = drawn(made, 2)
    assert all(row.failed for row in two.draws[0].rows)
    assert all(row.failed is None for row in two.draws[1].rows)


# --- Memory -----------------------------------------------------------------------------------


@frozen(eq=False)
class Numbered:
    """A record whose every value says which example it is of."""

    examples: tuple[str, ...]
    value_B: Tensor


def numbered(batch: range) -> Part[Numbered]:
    values_B = torch.tensor([float(at) for at in batch])
    return Part(len(batch), Numbered(tuple(str(at) for at in batch), values_B))


class Machine:
    """Computes batches of up to `fits` examples and runs out of memory for larger ones."""

    def __init__(
        self, fits: int, error: type[Exception] = torch.OutOfMemoryError, text: str = ""
    ) -> None:
        self.fits, self.error, self.text = fits, error, text
        self.tried: list[tuple[int, int]] = []

    def __call__(self, batch: range) -> Part[Numbered]:
        self.tried.append((batch.start, batch.stop))
        if len(batch) > self.fits:
            raise self.error(self.text)
        return numbered(batch)


def entry_in(folder: Path) -> Entry:
    return Store(folder).entry("digest")


def ids(parts: list[Part[Numbered]]) -> list[str]:
    return [example for part in parts for example in part.record.examples]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory"),
        (MemoryError, ""),
        (RuntimeError, "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    ],
)
def test_a_batch_that_does_not_fit_is_halved(
    tmp_path: Path, error: type[Exception], text: str
) -> None:
    machine, done = Machine(3, error, text), []
    parts = in_batches(entry_in(tmp_path), Numbered, 10, 8, machine, done.append)
    assert machine.tried == [(0, 8), (0, 4), (0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]
    assert ids(parts) == [str(at) for at in range(10)]
    assert done == [2, 4, 6, 8, 10]


def test_a_halved_batch_size_is_remembered(tmp_path: Path) -> None:
    in_batches(entry_in(tmp_path), Numbered, 4, 8, Machine(3), lambda _: None)
    assert entry_in(tmp_path).batch_size() == 4 // 2
    again = Machine(100)
    in_batches(entry_in(tmp_path), Numbered, 8, 8, again, lambda _: None)
    assert again.tried == [(4, 6), (6, 8)]


def test_an_interrupted_run_ends_with_the_same_parts(tmp_path: Path) -> None:
    whole = in_batches(entry_in(tmp_path / "whole"), Numbered, 9, 2, Machine(2), lambda _: None)
    machine = Machine(2)

    def killed(batch: range) -> Part[Numbered]:
        if batch.start == 4:
            raise KeyboardInterrupt
        return machine(batch)

    entry = entry_in(tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        in_batches(entry, Numbered, 9, 2, killed, lambda _: None)
    resumed = Machine(9)
    # The batch size of the first run goes before one that is chosen later.
    parts = in_batches(entry, Numbered, 9, 5, resumed, lambda _: None)
    assert resumed.tried == [(4, 6), (6, 8), (8, 9)]
    assert ids(parts) == ids(whole)
    for part, other in zip(parts, whole, strict=True):
        assert torch.equal(part.record.value_B, other.record.value_B)


def test_one_example_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    machine = Machine(0)
    with pytest.raises(UnavailableError, match="not enough memory for one example") as caught:
        in_batches(entry_in(tmp_path), Numbered, 10, 4, machine, lambda _: None)
    assert machine.tried == [(0, 4), (0, 2), (0, 1)]
    assert caught.value.help


def test_another_error_is_not_taken_for_a_lack_of_memory(tmp_path: Path) -> None:
    machine = Machine(0, RuntimeError, "mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="shapes"):
        in_batches(entry_in(tmp_path), Numbered, 10, 4, machine, lambda _: None)
    assert machine.tried == [(0, 4)]


@pytest.mark.parametrize("count", [0, 1, 5, 128, 129, 300])
def test_batches_are_even_and_bounded(count: int) -> None:
    size = batch_size(adapt(llama()), tokens=10, count=count)
    assert 1 <= size <= LARGEST
    batches = -(-count // size)
    assert batches * size - count < max(batches, 1)


def test_longer_prompts_make_smaller_batches() -> None:
    family = adapt(llama())
    assert batch_size(family, tokens=10**6, count=100) < batch_size(family, tokens=10, count=100)
