"""Suffix attacks that an expectation leans on: searched again, and compared with an unrelated answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import decoders

import recoverdsl
from recoverdsl.compiler.steps import Suffix, TryHarder, TryHarderSuffix
from recoverdsl.measure.results import Result
from tests import models
from tests.compiler.test_support import graph_of
from tests.run import answers

ATTACK = """\
attack tried {{
  {suffix}
  maximize = logprob(base_answer, tokens = 2)
  steps    = {steps}
  checks   = {checks}
}}
"""
EXPECT = "expect recovery_rate(tried) <= 5% by estimate\n"
SOFT, TYPED = (
    "soft_suffix = 6\n  with = adam(lr = 0.3)",
    "token_suffix = gcg(tokens = 6, candidates = 12, top = 40)",
)

Judged = Callable[..., Result]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    folder = tmp_path_factory.mktemp("suffixes")

    def run(suffix: str = SOFT, steps: int = 40, checks: int = 8) -> Result:
        spec = write(folder, suffix, steps, checks)
        return recoverdsl.load(spec).run(None, store=folder / "store").result

    return run


def write(folder: Path, suffix: str, steps: int, checks: int) -> Path:
    spec = answers.write(folder, ATTACK.format(suffix=suffix, steps=steps, checks=checks))
    words = [*answers.WORDS, *(f" {word}" for word in answers.WORDS)]
    tokenizer = models.tokenizer(words)
    tokenizer.backend_tokenizer.decoder = decoders.Fuse()
    tokenizer.save_pretrained(folder / "model")
    spec.write_text(spec.read_text() + EXPECT)
    return spec


def flags(result: Result) -> set[str]:
    return {flag.name for flag in result.flags}


def test_one_step_is_too_few_and_forty_are_not(judged: Judged) -> None:
    assert flags(judged(steps=1)) == {"starved", "more_steps_recover"}
    assert flags(judged(steps=40)) == set()


@pytest.mark.parametrize("suffix", [SOFT, TYPED])
def test_an_unrelated_answer_is_searched_alike(suffix: str, judged: Judged) -> None:
    result = judged(suffix, steps=4)
    unrelated = result.controls["tried unrelated"]
    assert (unrelated.of, unrelated.method, unrelated.limit) == ("tried", "another_example", None)
    assert unrelated.metrics["recovery_rate"].n == result.counts.valid_flips
    (compared,) = result.specificities
    assert [(at.norm, at.n) for at in compared.budgets] == [(None, result.counts.valid_flips)]
    # Three flips are too few to show that the own answer is easier.
    assert result.verdict == "inconclusive"
    (expectation,) = result.expectations
    assert "also reaches an unrelated target (tried unrelated)" in (expectation.reason or "")


@pytest.mark.parametrize("suffix", [SOFT, TYPED])
def test_an_unrelated_answer_is_searched_harder_where_only_the_own_was_elicited(
    suffix: str, judged: Judged
) -> None:
    (compared,) = judged(suffix, steps=4).specificities
    (pair,), (again,) = compared.budgets, compared.harder
    assert again.norm is None
    # Where the own text is back without being the base answer, it is searched too.
    assert again.searched >= pair.only_own
    assert again.reached == again.pair.other - pair.other


def test_without_checks_the_strength_is_said_to_be_unchecked(judged: Judged) -> None:
    result = judged(checks=0)
    assert flags(result) == {"unchecked"}
    (flag,) = result.flags
    assert flag.sentence.startswith("No other search checks how strong the attack tried is")


def test_an_attack_that_nothing_is_expected_of_is_as_before(tmp_path: Path) -> None:
    text = write(tmp_path, TYPED, 4, 8).read_text()
    leaning, alone = graph_of(text), graph_of(text.replace(EXPECT, ""))
    assert [node.key for node in alone if isinstance(node.step, (Suffix, TryHarderSuffix))] == ["suffix tried"]  # fmt: skip
    assert leaning["suffix tried"].digest == alone["suffix tried"].digest
    added = [node.key for node in leaning if node.key not in alone.nodes]
    assert added == [
        "control tried unrelated",
        "try harder, tried",
        "reach harder, tried unrelated",
    ]
    assert not leaning.keys_of(TryHarder)
