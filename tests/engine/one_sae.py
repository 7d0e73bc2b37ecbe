"""A small random model with one SAE and prompts of different lengths, and steps to run on it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from attrs import evolve

from recoverdsl.compiler.steps import (
    Behavior,
    Defense,
    Place,
    RandomDirections,
    ReachBehavior,
    Recover,
    Stage,
)
from recoverdsl.engine.attack.problem_factory import ProblemFactory
from recoverdsl.engine.defense.autoencoders import Autoencoder
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.model.families import adapt
from recoverdsl.engine.model.loaded_model import LoadedModel
from recoverdsl.engine.resources import Resources
from recoverdsl.language.schema import (
    Adam,
    Comparison,
    Orthogonal,
    Positions,
    Score,
    SetTo,
    Term,
)
from recoverdsl.sources.data import Example
from recoverdsl.sources.fetcher import Fetcher
from tests.models import jumprelu, tokenizer

BOUNDARY = 2
LAST = Positions(("last_token",))
LATER = Positions(("every_token",), ("first",))
IDS = [1, 5, 9, 23, 40, 63]
POSITIVE = Comparison("score", ">", 0.0)
LOGITS = Score((Term(1.0, "logit", "{right}"), Term(-1.0, "logit", "{wrong}")), LAST)
LOGPROB = Score((Term(1.0, "logprob", "{right}"), Term(-0.5, "logit", "{wrong}")), LAST)
BEHAVIOR = Behavior(POSITIVE, score=LOGITS)
DEFENSE = Defense(SetTo(-5.0), "active", LATER)
WORDS = [f" w{index}" for index in range(1, 61)]


def problems(model: Any, count: int = 6, seed: int = 0, sae: Any = None) -> ProblemFactory:
    """Return prompts of 2 to 11 tokens, each with a right and a wrong next word."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 12, (count,), generator=generator).tolist()
    rows = [torch.randint(1, 61, (n,), generator=generator).tolist() for n in lengths]
    examples = []
    for at, row in enumerate(rows):
        right, wrong = torch.randperm(60, generator=generator)[:2].tolist()
        prompt = "".join(WORDS[id - 1] for id in row)
        fields = {"right": WORDS[right], "wrong": WORDS[wrong]}
        examples.append(Example(f"example-{at}", prompt, fields))
    made = Resources(None, Fetcher(Path()), torch.device("cpu"), busy=lambda _: nullcontext())  # type: ignore[arg-type]
    made.model = LoadedModel(adapt(model), tokenizer(WORDS))
    made.examples = examples
    made.prompts = made.model.encode_prompts(examples, chat=False)
    made.autoencoders = {"mid": Autoencoder(sae or jumprelu(), BOUNDARY)}
    assert made.prompts == rows
    return ProblemFactory(made)


def protected(made: ProblemFactory, ids: list[int] = IDS) -> Protected:
    """Return some features of the only SAE, which the defense clamps."""
    return Protected({BOUNDARY: made.resources.features("mid", ids)})


def recovery(
    positions: Positions = LATER,
    *,
    score: Score = LOGITS,
    steps: int = 12,
    limit: float = 3.0,
    **changes: Any,
) -> Recover:
    """Return an attack in the null space of the features, at every token but the first."""
    place = Place(BOUNDARY, "input", positions)
    behavior = evolve(BEHAVIOR, score=score)
    return Recover(
        **{
            "defense": DEFENSE, "behavior": behavior, "goal": ReachBehavior(behavior),
            "stages": (Stage((place,), Adam(0.05), steps, limit),), "preserve": Orthogonal(""),
            **changes,
        }
    )  # fmt: skip


def noise(draws: int = 2, seed: int = 0) -> RandomDirections:
    return RandomDirections(recovery(), draws, seed)
