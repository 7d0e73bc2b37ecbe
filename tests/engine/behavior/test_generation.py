"""Generation over a cache, against the plain model run again from the start for every token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from recoverdsl.engine.behavior.generation import Answers, _shared_beginning, generate
from recoverdsl.engine.defense.intervention import Delta, Intervention
from recoverdsl.engine.model.families import Family
from recoverdsl.engine.model.forward import Tokens
from recoverdsl.language.schema import Positions
from tests.bounds import PASS, assert_near
from tests.engine.rigs import PROMPTS, WIDTH, Rig, each_family, mixed, own_rows, rig

TOKENS = 9
NO_ENDS: frozenset[int] = frozenset()
WHERE = {
    "every token except first, and generated": Positions(("every_token", "generated"), ("first",)),
    "generated alone": Positions(("generated",)),
    "the prompt alone": Positions(("every_token",)),
}


def some_delta(
    before: int, after: int, sites: tuple[int, ...] = (1, 3), size: float = 0.4
) -> Delta:
    drawn = torch.randn(
        len(PROMPTS), len(sites), before + after, WIDTH,
        generator=torch.Generator().manual_seed(before + 10 * after),
    )  # fmt: skip
    return Delta(sites, size * drawn, before)


def written(
    made: Rig,
    intervention: Intervention,
    ends: frozenset[int] = NO_ENDS,
    rows: list[int] | None = None,
) -> Answers:
    prompts = [made.prompts[at] for at in rows or range(len(made.prompts))]
    return generate(
        made.resources.model.family, Tokens.pad(prompts, torch.device("cpu")), intervention,
        tokens=TOKENS, end_ids=ends,
    )  # fmt: skip


@pytest.fixture
def logits(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Return the logits (rows, vocabulary) of each generated token."""
    seen: list[Tensor] = []
    original = Family.logits

    def spy(self: Family, h_ND: Tensor, tokens_NK: Tensor | None = None) -> Tensor:
        made = original(self, h_ND, tokens_NK)
        seen.append(made)
        return made

    monkeypatch.setattr(Family, "logits", spy)
    return seen


def logits_of(logits: list[Tensor], answers: Answers) -> list[Tensor]:
    """Return the logits (N, vocabulary) of each text, up to its end."""
    taken = [
        length + ended for length, ended in zip(answers.length_B, answers.ended_B, strict=True)
    ]
    made: list[list[Tensor]] = [[] for _ in taken]
    for step, rows in enumerate(logits):
        here = [at for at, count in enumerate(taken) if step < count]
        assert len(rows) == len(here)
        for at, row in zip(here, rows, strict=True):
            made[at].append(row)
    return [torch.stack(rows) for rows in made]


@each_family
@pytest.mark.parametrize(
    ("before", "after"),
    [(1, TOKENS - 1), (2, 3), (1, 0), (8, TOKENS + 4)],
    ids=["last and answer", "two and three", "last alone", "all and more than is written"],
)
def test_tokens_and_logits_over_a_cache_are_those_of_whole_passes_without_one(
    kind: str, before: int, after: int, logits: list[Tensor]
) -> None:
    made = rig(kind)
    clamps, plain = mixed(made)
    delta = some_delta(before, after)
    answers = written(made, clamps.with_delta(delta))
    found = logits_of(logits, answers)
    for at, prompt in enumerate(made.prompts):
        rows = own_rows(delta, at, len(prompt))
        ids, expected, _ = plain.write(prompt, TOKENS, rows, NO_ENDS)
        assert answers.lists()[at] == ids
        assert_near(found[at], expected, PASS)


BEGINNING = [7, 7, 30, 11]
"""As a chat template begins every request."""


@each_family
@pytest.mark.parametrize(
    ("before", "after", "shared"), [(1, 8, 4), (3, 3, 2), (5, 0, 0), (9, 4, 0)]
)
def test_the_shared_beginning_of_prompts_is_read_once_and_changes_nothing(
    kind: str, before: int, after: int, shared: int, logits: list[Tensor]
) -> None:
    made = rig(kind, prompts=[BEGINNING + ids for ids in PROMPTS])
    clamps, plain = mixed(made)
    delta = some_delta(before, after)
    intervention = clamps.with_delta(delta)
    prompts = Tokens.pad(made.prompts, torch.device("cpu"))
    moved, columns = _shared_beginning(prompts, intervention)
    assert columns == shared
    for at, prompt in enumerate(made.prompts):
        assert moved.ids_BT[at][moved.mask_BT[at]].tolist() == prompt
        assert moved.mask_BT[at, columns:].tolist() == sorted(moved.mask_BT[at, columns:].tolist())
    answers = written(made, intervention)
    found = logits_of(logits, answers)
    for at, prompt in enumerate(made.prompts):
        ids, expected, _ = plain.write(prompt, TOKENS, own_rows(delta, at, len(prompt)), NO_ENDS)
        assert answers.lists()[at] == ids
        assert_near(found[at], expected, PASS)


@each_family
def test_clamps_and_delta_each_change_what_is_written(kind: str) -> None:
    """So that the comparison above could fail."""
    made = rig(kind)
    clamps, _ = mixed(made)
    delta = some_delta(1, TOKENS - 1)
    ways = [Intervention(), clamps, clamps.with_delta(delta), Intervention().with_delta(delta)]
    texts = [written(made, way).lists() for way in ways]
    assert all(a != b for n, a in enumerate(texts) for b in texts[:n])


@each_family
def test_delta_on_a_single_answer_token_changes_what_follows_it_and_nothing_before(
    kind: str,
) -> None:
    made = rig(kind)
    clamps, _ = mixed(made)
    delta = some_delta(1, TOKENS - 1, size=4.0)
    only = torch.zeros_like(delta.delta_BLPD)
    only[:, :, 4] = delta.delta_BLPD[:, :, 4]
    without = written(made, clamps).ids_BN
    with_it = written(made, clamps.with_delta(Delta(delta.sites, only, 1))).ids_BN
    # Column 4 is the fourth answer token, which is read to choose the fifth.
    assert torch.equal(without[:, :4], with_it[:, :4])
    assert (without[:, 4] != with_it[:, 4]).any()


@each_family
@pytest.mark.parametrize("at", WHERE.values(), ids=WHERE)
def test_clamps_act_at_the_positions_that_are_named(kind: str, at: Positions) -> None:
    made = rig(kind)
    intervention = Intervention(made.intervention.clamps, at)
    answers = written(made, intervention).lists()
    for prompt, ids in zip(made.prompts, answers, strict=True):
        plain = type(made.plain)(
            made.plain.model, made.plain.saes, made.plain.edits,
            spared=1 if at.exclude else len(prompt) if "every_token" not in at.include else 0,
            until=None if "generated" in at.include else len(prompt),
        )  # fmt: skip
        assert ids == plain.write(prompt, TOKENS, {}, NO_ENDS)[0]


@each_family
def test_without_intervention_it_writes_what_transformers_writes(kind: str) -> None:
    made = rig(kind)
    free = written(made, Intervention()).lists()
    ends = frozenset({free[0][3], free[2][1]})
    answers = written(made, Intervention(), ends)
    for at, prompt in enumerate(made.prompts):
        ids = torch.tensor([prompt])
        whole = made.plain.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=TOKENS,
            eos_token_id=sorted(ends), pad_token_id=0,
        )  # fmt: skip
        expected = whole[0, len(prompt) :].tolist()
        ended = expected[-1] in ends
        assert answers.lists()[at] == (expected[:-1] if ended else expected)
        assert bool(answers.ended_B[at]) == ended
    assert int(answers.ended_B.sum()) > 0


@each_family
def test_a_text_that_ends_is_cut_there_and_changes_no_other(
    kind: str, logits: list[Tensor]
) -> None:
    made = rig(kind)
    clamps, plain = mixed(made)
    delta = some_delta(1, TOKENS - 1)
    free = written(made, clamps.with_delta(delta))
    ends = frozenset({free.lists()[1][2], free.lists()[3][5]})
    logits.clear()
    answers = written(made, clamps.with_delta(delta), ends)
    found = logits_of(logits, answers)
    assert int(answers.ended_B.sum()) >= 2
    for at, whole in enumerate(free.lists()):
        cut = next((step for step, token in enumerate(whole) if token in ends), None)
        assert bool(answers.ended_B[at]) == (cut is not None)
        assert answers.lists()[at] == whole[:cut]
        rows = own_rows(delta, at, len(made.prompts[at]))
        _, expected, _ = plain.write(made.prompts[at], TOKENS, rows, ends)
        assert_near(found[at], expected, PASS)


@each_family
@pytest.mark.parametrize("rows", [[3], [1], [1, 3], [4, 0, 2], [4, 3, 2, 1, 0]])
def test_a_text_does_not_depend_on_its_batch(kind: str, rows: list[int]) -> None:
    made = rig(kind)
    clamps, _ = mixed(made)
    delta = some_delta(2, TOKENS - 1)
    whole = written(made, clamps.with_delta(delta))
    ends = frozenset({whole.lists()[1][2]})
    whole = written(made, clamps.with_delta(delta), ends)
    part = written(made, clamps.with_delta(delta.take(torch.tensor(rows))), ends, rows)
    assert part.lists() == [whole.lists()[at] for at in rows]
    assert part.ended_B.tolist() == whole.ended_B[rows].tolist()


def test_all_may_end_at_once_with_nothing_written() -> None:
    made = rig()
    first = frozenset(ids[0] for ids in written(made, Intervention()).lists())
    answers = written(made, Intervention(), first)
    assert answers.lists() == [[]] * len(PROMPTS)
    assert answers.ended_B.all() and not answers.broken_B.any()


def test_a_logit_that_is_no_number_breaks_its_own_text_alone() -> None:
    made = rig()
    delta = some_delta(1, TOKENS - 1)
    delta.delta_BLPD[2, 1, 3] = torch.nan
    answers = written(made, made.intervention.with_delta(delta))
    sane = written(made, made.intervention.with_delta(some_delta(1, TOKENS - 1)))
    assert answers.broken_B.tolist() == [at == 2 for at in range(len(PROMPTS))]
    others: Any = [at for at in range(len(PROMPTS)) if at != 2]
    assert torch.equal(answers.ids_BN[others], sane.ids_BN[others])


def test_the_first_tokens_of_an_answer_have_ended_only_if_the_end_is_among_them() -> None:
    answers = Answers(
        torch.tensor([[4, 5, 6], [7, 8, 0]]), torch.tensor([3, 2]),
        torch.tensor([False, True]), torch.zeros(2, dtype=torch.bool),
    )  # fmt: skip
    assert answers.first(2).lists() == [[4, 5], [7, 8]]
    assert answers.first(2).ended_B.tolist() == [False, False]
    assert answers.first(3).ended_B.tolist() == [False, True]
    assert answers.first(None).lists() == answers.lists()
