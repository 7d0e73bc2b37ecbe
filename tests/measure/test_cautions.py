"""Side effects that deserve a caution, and their neighbors that do not."""

from __future__ import annotations

import math

import pytest
from attrs import evolve

from recoverdsl.measure.cautions import CAUTIONS, HALF, KL, RATIO, Caution, cautions
from recoverdsl.measure.checks import CHECKS
from recoverdsl.measure.damage import Damage, Moved
from recoverdsl.measure.flag_pages import names, page
from recoverdsl.measure.intervals import UNDEFINED, Estimate

HARMLESS = Damage(
    kl=Estimate(0.02, 0.01, 0.03, 40), perplexity_base=12.0, perplexity_defended=12.2, texts=40, tokens=3000,
    not_finite=0, moved_examples=Moved(0.1, 3.0, 80, 100), moved_text=Moved(0.05, 2.0, 80, 100),
    texts_digest="d",
)  # fmt: skip


def of(**changes: object) -> tuple[Caution, ...]:
    return cautions(["clamp"], {"clamp": evolve(HARMLESS, **changes)})


def kl(value: float) -> Estimate:
    return Estimate(value, value, value, 40)


def test_a_harmless_clamp_deserves_none() -> None:
    assert of() == ()


@pytest.mark.parametrize("place", ["moved_examples", "moved_text"])
def test_a_clamp_that_moves_the_median_state_by_more_than_half_is_named(place: str) -> None:
    (far,) = of(**{place: Moved(HALF + 0.01, 1.38, 7, 9)})
    assert (far.name, far.clamp, far.figure) == ("moves_the_state", "clamp", HALF + 0.01)
    where = {"moved_examples": "the tested examples", "moved_text": "ordinary text"}
    assert f"by a median of 51% and at most 138% in {where.pop(place)}" in far.sentence
    assert not any(other in far.sentence for other in where.values())
    assert of(**{place: Moved(HALF, 99.0, 7, 9)}) == ()
    assert of(**{place: Moved(None, None, 0, 9)}) == ()


def test_the_figure_of_moved_states_is_the_larger_median() -> None:
    (far,) = of(moved_examples=Moved(0.6, 1.0, 1, 1), moved_text=Moved(0.8, 2.0, 1, 1))
    assert far.figure == 0.8
    assert "60% and at most 100% in the tested examples; by a median of 80%" in far.sentence


def test_a_clamp_that_changes_ordinary_text_is_named() -> None:
    (changed,) = of(kl=kl(KL + 0.05), perplexity_defended=13.0)
    assert (changed.name, changed.figure) == ("changes_ordinary_text", KL + 0.05)
    assert "by 0.15 nats per token (KL), its perplexity from 12 to 13" in changed.sentence
    assert of(kl=kl(KL)) == ()


def test_so_is_one_that_makes_it_less_likely() -> None:
    (worse,) = of(perplexity_defended=12.0 * (RATIO + 0.01))
    assert (worse.name, worse.figure) == ("changes_ordinary_text", 0.02)
    assert of(perplexity_base=10.0, perplexity_defended=10.0 * RATIO) == ()
    # A clamp that makes ordinary text likelier changes it, and does not make it worse.
    assert of(perplexity_defended=6.0) == ()
    (broken,) = of(perplexity_defended=math.inf)
    assert broken.name == "changes_ordinary_text"


def test_figures_that_are_no_numbers_are_named_whatever_the_others_say() -> None:
    (broken,) = of(not_finite=3, texts=37)
    assert (broken.name, broken.figure) == ("changes_ordinary_text", None)
    assert "on 3 of 40 ordinary texts" in broken.sentence
    (all_broken,) = of(
        not_finite=40, texts=0, kl=UNDEFINED, perplexity_base=None, perplexity_defended=None
    )
    assert "on 40 of 40" in all_broken.sentence


def test_a_clamp_that_was_not_measured_is_named() -> None:
    undefined = {"kl": UNDEFINED, "perplexity_base": None, "perplexity_defended": None, "texts": 0}
    for (unmeasured,) in (cautions(["clamp"], {}), of(**undefined)):
        assert (unmeasured.name, unmeasured.clamp, unmeasured.figure) == (
            "side_effects_unmeasured", "clamp", None,
        )  # fmt: skip


def test_each_clamp_has_cautions_of_its_own() -> None:
    found = cautions(
        ["mild", "wild", "off"], {"wild": evolve(HARMLESS, kl=kl(2.0)), "mild": HARMLESS}
    )
    assert [(one.clamp, one.name) for one in found] == [
        ("wild", "changes_ordinary_text"), ("off", "side_effects_unmeasured"),
    ]  # fmt: skip
    assert cautions([], {}) == ()


def test_every_caution_has_a_page_that_says_that_no_verdict_changes() -> None:
    assert set(names()) - set(CHECKS) == set(CAUTIONS)
    for name in CAUTIONS:
        assert "None on the verdict" in page(name).body.partition("## Effect\n")[2]
