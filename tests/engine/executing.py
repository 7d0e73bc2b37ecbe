"""Executors on a small random model, with an SAE and prompts of different lengths."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from recoverdsl.compiler.steps import Defense, Disturbance, RandomDirections, Recover
from recoverdsl.engine.data import Example
from recoverdsl.engine.executors import Executors
from recoverdsl.engine.families import adapt
from recoverdsl.engine.models import LoadedModel
from recoverdsl.engine.resources import Resources
from recoverdsl.engine.saes import Autoencoder
from recoverdsl.engine.sources import Fetcher
from recoverdsl.language.schema import Adam, Comparison, Positions, Score, SetTo, Term
from tests.models import jumprelu, tokenizer

BOUNDARY = 2
LAST = Positions(("last_token",))
LATER = Positions(("every_token",), ("first",))
IDS = [1, 5, 9, 23, 40, 63]
POSITIVE = Comparison("score", ">", 0.0)
LOGITS = Score((Term(1.0, "logit", "{right}"), Term(-1.0, "logit", "{wrong}")), LAST)
LOGPROB = Score((Term(1.0, "logprob", "{right}"), Term(-0.5, "logit", "{wrong}")), LAST)
DEFENSE = Defense(SetTo(-5.0), "active", LATER)
WORDS = [f" w{index}" for index in range(1, 61)]


def executors(model: Any, count: int = 6, seed: int = 0, sae: Any = None) -> Executors:
    """Prompts of 2 to 11 tokens, each with a right and a wrong next word."""
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
    made.autoencoder = Autoencoder(sae or jumprelu(), BOUNDARY)
    assert made.prompts == rows
    return Executors(made)


def recovery(**changes: Any) -> Recover:
    """An attack in the null space of the features, at every token but the first."""
    return Recover(
        **{
            "defense": DEFENSE, "score": LOGITS, "holds": POSITIVE,
            "disturbance": Disturbance(LATER, "orthogonal"), "optimizer": Adam(0.05),
            "steps": 12, "limit": 3.0, "stop": "recovered", **changes,
        }
    )  # fmt: skip


def noise(**changes: Any) -> RandomDirections:
    return RandomDirections(
        **{
            "defense": DEFENSE, "score": LOGITS, "holds": POSITIVE,
            "disturbance": Disturbance(LATER, "orthogonal"), "limit": 3.0, "draws": 2, "seed": 0,
            **changes,
        }
    )  # fmt: skip
