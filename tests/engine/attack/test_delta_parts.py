"""δ split into the part that features carry and the residual that they do not."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from recoverdsl.compiler.steps import ReachBehavior, SplitDelta, columns_after_prompt
from recoverdsl.engine.attack.delta_parts import split
from recoverdsl.engine.attack.problem import AttackProblem
from recoverdsl.engine.behavior.generation import generate
from recoverdsl.engine.defense.intervention import Delta
from recoverdsl.engine.steps.delta_split import DeltaPart, DeltaParts, split_delta
from recoverdsl.engine.steps.evaluation import Recoveries
from recoverdsl.engine.steps.recovery import recover
from recoverdsl.engine.steps.table_record import Replay
from recoverdsl.language.schema import ByConstruction, SetTo
from recoverdsl.measure.rows import Recovery
from tests.bounds import ENCODE, FEATURES, PASS, WIDTH, assert_near, near, rounding
from tests.engine.rigs import (
    CLAMPED,
    ENDING,
    LAST,
    PROMPTS,
    SCORED,
    TARGET,
    Rig,
    autoencoders,
    each_family,
    of_problem,
    own_rows,
    rig,
    some,
    stage,
)
from tests.models import jumprelu

PARTS: tuple[Literal["clamped", "other_features", "residual"] | int, ...] = (
    "clamped", "other_features", 3, "residual",
)  # fmt: skip
PLACES = {
    "one site": [(2, ENDING)],
    "two sites": [(1, LAST), (3, ENDING)],
    "two sites and a clamp between": [(1, ENDING), (3, LAST)],
}
each_place = pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)


def uneven() -> dict[int, Any]:
    """Return SAEs whose decoder rows have norms from a third to three: an activation alone does not
    say what its feature does."""
    saes = autoencoders()
    for sae in saes.values():
        order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            sae.W_dec.mul_(torch.logspace(-0.5, 0.5, 64)[order][:, None])
    return saes


def parts_of(made: Rig, problem: AttackProblem, delta: Tensor) -> dict[str, Tensor]:
    return split(problem, made.saes, delta, PARTS)


@each_family
@each_place
def test_clamped_other_and_residual_sum_to_delta(kind: str, places: list[Any]) -> None:
    made = rig(kind)
    problem = made.problem(made.recover(stage(*places)))
    delta = some(problem, 4.0)
    parts = parts_of(made, problem, delta)
    assert set(parts) == {"clamped", "other_features", "3", "residual"}
    whole = parts["clamped"] + parts["other_features"] + parts["residual"]
    assert_near(whole, delta, 4, max(float(part.abs().max()) for part in parts.values()))
    for part in parts.values():
        assert part.flatten(1).norm(dim=1).max() > 0.01
        assert not part[~problem.where_BLQ].any()


@each_family
@each_place
def test_the_parts_are_those_of_the_plain_model(kind: str, places: list[Any]) -> None:
    """By the whole SAE, around the state that δ meets when the model runs."""
    made = rig(kind, saes=uneven())
    problem = made.problem(made.recover(stage(*places)))
    delta = some(problem, 4.0)
    parts = parts_of(made, problem, delta)
    for at, prompt in enumerate(made.prompts):
        goal: Any = problem.goal
        text = [*prompt, *goal.labels_BA[at][goal.mask_BA[at]].tolist()[:-1]]
        rows = own_rows(of_problem(problem, delta), at, len(prompt))
        before: dict[int, Tensor] = {}
        made.plain.logits(text, rows, None, before)
        for number, site in enumerate(problem.sites):
            sae, own = made.plain.saes[site], CLAMPED[site]
            delta_TD = torch.nn.functional.pad(rows[site], (0, 0, 0, len(text)))[: len(text)]
            change_TF = sae.encode(before[site] + delta_TD) - sae.encode(before[site])
            change_TF = change_TF * (delta_TD != 0).any(1, keepdim=True)
            others = [f for f in range(64) if f not in own]
            size_F = change_TF.norm(dim=0) * sae.W_dec.norm(dim=1)
            strongest = sorted(others, key=lambda f: -float(size_F[f]))[:3]
            decoded = sae.decode(sae.encode(before[site] + delta_TD)) - sae.decode(sae.encode(before[site]))  # fmt: skip
            # Of states of this size what is left is small.
            size = float(before[site].abs().max())
            expected = {
                "clamped": change_TF[:, own] @ sae.W_dec[own],
                "other_features": change_TF[:, others] @ sae.W_dec[others],
                "3": change_TF[:, strongest] @ sae.W_dec[strongest],
                "residual": torch.where(
                    (delta_TD != 0).any(1, keepdim=True), delta_TD - decoded, 0.0
                ),
            }
            for name, part in parts.items():
                found = own_rows(of_problem(problem, part), at, len(prompt))[site][: len(text)]
                assert_near(found, expected[name][: len(found)], PASS + FEATURES, size)
            assert number < 2


def planted(sites: dict[int, list[int]]) -> tuple[Rig, dict[int, Tensor]]:
    """Return SAEs whose 16 features read and write one direction of an orthonormal set each; those
    that are clamped are active."""
    saes = autoencoders()
    bases = {}
    for site in sites:
        drawn = torch.randn(24, 24, generator=torch.Generator().manual_seed(site))
        bases[site] = torch.linalg.qr(drawn)[0]
        saes[site] = jumprelu(d_sae=16, threshold=0.0)
        with torch.no_grad():
            saes[site].W_enc.copy_(bases[site][:, :16])
            saes[site].W_dec.copy_(bases[site][:, :16].T)
            saes[site].b_enc.zero_()
            saes[site].b_dec.zero_()
    prompts = [ids for ids in PROMPTS if len(ids) > 1]
    return rig(saes=saes, chosen=sites, to=SetTo(20.0), prompts=prompts), bases


@pytest.mark.parametrize("sites", [{2: [0, 3]}, {1: [4], 3: [1, 2]}], ids=["one site", "two sites"])
def test_a_delta_along_a_protected_decoder_row_is_all_clamped(sites: dict[int, list[int]]) -> None:
    made, bases = planted(sites)
    problem = made.problem(made.recover(stage(*((site, ENDING) for site in sites))))
    delta = problem.zero_BLQD
    for number, (site, ids) in enumerate(sites.items()):
        delta[:, number] = 0.7 * bases[site][:, ids[0]]
    delta = problem.place(delta)
    parts = parts_of(made, problem, delta)
    assert_near(parts["clamped"], delta, ENCODE + 16, 20.0)
    for name in ("other_features", "3", "residual"):
        assert parts[name].abs().max() <= rounding(ENCODE + 16, 20.0)


@pytest.mark.parametrize("sites", [{2: [0, 3]}, {1: [4], 3: [1, 2]}], ids=["one site", "two sites"])
def test_a_delta_that_no_encoder_column_sees_is_all_residual(sites: dict[int, list[int]]) -> None:
    made, bases = planted(sites)
    problem = made.problem(made.recover(stage(*((site, ENDING) for site in sites))))
    delta = problem.zero_BLQD
    for number, site in enumerate(sites):
        delta[:, number] = 3.0 * bases[site][:, 20]
    delta = problem.place(delta)
    parts = parts_of(made, problem, delta)
    assert_near(parts["residual"], delta, ENCODE + 16, 20.0)
    for name in ("clamped", "other_features", "3"):
        assert parts[name].abs().max() <= rounding(ENCODE + 16, 20.0)


def test_the_strongest_features_are_as_many_as_asked_for_and_within_the_others() -> None:
    made = rig()
    problem = made.problem(made.recover(stage((2, LAST))))
    delta = some(problem, 4.0)
    counts = split(problem, made.saes, delta, (1, 10, 60, 1000, "other_features"))
    others = counts["other_features"]
    for few, many in (("1", "10"), ("10", "60")):
        assert ((counts[many] - others).flatten(1).norm(dim=1)
                <= (counts[few] - others).flatten(1).norm(dim=1) + 1e-5).all()  # fmt: skip
    assert_near(counts["1000"], others, FEATURES)
    own = set(CLAMPED[2])
    rows = made.plain.saes[2].W_dec
    column = problem.tokens.prompt - 1 - problem.first
    for at in range(len(problem)):
        unit = torch.nn.functional.normalize(counts["1"][at, 0, column], dim=0)
        feature = int((rows @ unit).abs().argmax())
        assert feature not in own
        assert float((rows[feature] @ unit).abs()) == near(float(rows[feature].norm()), WIDTH)


# --- Replayed -------------------------------------------------------------------------------------


def replayed(made: Rig, **changes: Any) -> tuple[Recoveries, DeltaParts]:
    """Return the record of an attack, and that of its δ split."""
    step = made.recover(**changes) if "stages" not in changes else made.recover(
        *changes.pop("stages"), **changes
    )  # fmt: skip
    batch = made.batch()
    problems = made.problems()
    found = recover(problems, step, made.protected, batch)
    return found, split_delta(
        problems, SplitDelta(step, PARTS), made.protected, made.saes, batch, found
    )


STAGED = {
    "one stage": [stage((1, ENDING), limit=6.0)],
    "two stages": [stage((1, LAST), limit=2.0), stage((3, TARGET), limit=6.0)],
}


@pytest.mark.parametrize("stages", STAGED.values(), ids=STAGED)
@pytest.mark.parametrize("preserve", [None, ByConstruction("")], ids=["nothing", "by_construction"])
def test_the_norm_of_each_replayed_part_is_that_of_the_part(stages: Any, preserve: Any) -> None:
    made = rig()
    found, record = replayed(made, stages=stages, preserve=preserve)
    delta = found.delta_BLPD
    assert list(record.parts) == list(map(str, PARTS))
    terms = delta[0].numel()
    for at, row in enumerate(found.rows):
        assert norm_of(row) == near(float(delta[at].norm()), terms)
        for part in record.parts.values():
            size = float(part.delta_BLPD[at].norm())
            rest = float((delta[at] - part.delta_BLPD[at]).norm())
            assert norm_of(part.alone.rows[at]) == near(size, terms)
            assert norm_of(part.without.rows[at]) == near(rest, terms)


def norm_of(row: Recovery) -> float:
    assert row.delta is not None
    return row.delta.norm


def test_a_part_alone_is_written_with_that_part_in_place_and_nothing_else() -> None:
    made = rig()
    found, record = replayed(made, stages=STAGED["two stages"])
    step = made.recover(*STAGED["two stages"])
    before = found.delta_BLPD.shape[2] - columns_after_prompt(step)
    sites = tuple(found.sites_BL[0].tolist())
    assert torch.equal(record.sites_BL, found.sites_BL)
    for name in map(str, PARTS):
        part = record.parts[name]
        for delta, replay in ways_of(part, found):
            answers = generate(
                made.resources.model.family, made.resources.tokens(list(range(len(made.prompts)))),
                made.intervention.with_delta(Delta(sites, delta, before)),
                tokens=5, end_ids=frozenset(),
            )  # fmt: skip
            for at, ids in enumerate(answers.lists()):
                row = replay.rows[at]
                text = made.resources.model.decode(ids)
                (expected,) = made.resources.judges.figures([""], [text])
                assert row.text is not None
                assert row.text.figures.refuses == expected.figures.refuses
                assert row.text.figures.characters == expected.figures.characters


def ways_of(part: DeltaPart, found: Recoveries) -> list[tuple[Tensor, Replay]]:
    """Return each δ that is replayed of a part, and its replay."""
    return [(part.delta_BLPD, part.alone), (found.delta_BLPD - part.delta_BLPD, part.without)]


def test_parts_of_a_scored_behavior_are_scored() -> None:
    made = rig()
    stages = [stage((2, LAST), limit=6.0, steps=20)]
    found, record = replayed(made, stages=stages, behavior=SCORED, goal=ReachBehavior(SCORED))
    assert any(row.recovered for row in found.rows)
    problem = made.problem(made.recover(*stages, behavior=SCORED, goal=ReachBehavior(SCORED)))
    for name in map(str, PARTS):
        for delta, replay in ways_of(record.parts[name], found):
            score_B, holds_B = problem.score(delta)
            for at, row in enumerate(replay.rows):
                assert row.score_recovered == near(float(score_B[at]), PASS)
                assert row.recovered == bool(holds_B[at])
