"""A whole audit in a folder: a tiny random model, an SAE, prompts and a spec, made in a second."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests import models

NAMES = ["Zephyrine", "Quillon", "Ottoline", "Bramwell", "Ysolde", "Caspian", "Marzipan", "Fenwick"]
PLACES = ["lighthouse", "orangery", "foundry", "apiary"]
THINGS = ["astrolabe", "marmalade", "bassoon", "thimble"]
NOTE = "an aside that the spec never mentions"

SENTENCES = (
    "When {a} and {b} went to the {place} {s} gave a {thing} to",
    "Then {a} and {b} had a talk at the {place} and {s} gave a {thing} to",
    "{a} and {b} left the {place} when {s} gave the {thing} to",
)

SPEC = """\
recoverdsl 1

audit "Does the clamp stop the tiny model from naming the recipient?"

model tiny { from = folder("model") }

sae mid {
  from  = folder("sae")
  reads = tiny.layers[1].output
}

data prompts { from = file("prompts.jsonl") }

behavior names_the_recipient {
  score = logit(" {io}") - logit(" {s}") at last_token
  holds = score > 0
}

protect chosen {
  in     = mid
  select = top(10, by = attribution(names_the_recipient))
}

intervene clamp {
  set  = chosen
  to   = -5.0
  when = active
  at   = every_token except first
}

attack unconstrained {
  perturb  = mid at last_token
  maximize = names_the_recipient
  steps    = 12
  with     = adam(lr = 0.3)
  limit    = norm <= 6
}

attack projected like unconstrained {
  preserve = orthogonal(chosen)
  limit    = norm <= [2, 4, 8]
  find     = smallest_norm(within = 10%)
}

control noise {
  of   = projected
  with = random_direction
}

measure {
  recovery_rate        = wilson(95%)
  drift                = bootstrap(95%)
  reactivated_fraction = bootstrap(95%)
  smallest_norm        = bootstrap(95%)
}

expect recovery_rate(projected) >= 0%
expect recovery_rate(noise) <= 100%
"""
"""Both expectations hold whatever the run finds, if there is a valid flip at all."""

HELD_OUT = SPEC.replace(
    'data prompts { from = file("prompts.jsonl") }\n',
    'data prompts { from = file("prompts.jsonl") }\n\ndata ranking_prompts { from = file("ranking.jsonl") }\n',
).replace(
    "attribution(names_the_recipient)", "attribution(names_the_recipient, over = ranking_prompts)"
)
"""The same with features that are ranked on another file of prompts."""


def rows(count: int = 24, seed: int = 0) -> list[dict[str, str]]:
    """Return prompts of three lengths, with the recipient, the giver, and a column that no step
    reads."""
    draw = random.Random(seed)
    made = []
    for index in range(count):
        io, s = draw.sample(NAMES, 2)
        prompt = SENTENCES[index % len(SENTENCES)].format(
            a=io, b=s, s=s, place=draw.choice(PLACES), thing=draw.choice(THINGS)
        )
        made.append({"prompt": prompt, "io": io, "s": s, "note": f"{NOTE}, {index}"})
    return made


def vocabulary() -> list[str]:
    """Return every word of the prompts, at the beginning of a text and after a space."""
    plain = " ".join(SENTENCES).replace("{", "").replace("}", "").split()
    words = sorted({*plain, *NAMES, *PLACES, *THINGS})
    return [*words, *(f" {word}" for word in words)]


def write(folder: Path) -> Path:
    """Write model, SAE, prompts and `claim.rec` into a folder, and return the path of the spec."""
    words = vocabulary()
    models.save(
        models.llama(seed=8, vocab_size=len(words) + 1), models.tokenizer(words), folder / "model"
    )
    sae = models.jumprelu(seed=2, model_name="tiny", hook_name="blocks.1.hook_resid_post")
    sae.save_model(folder / "sae")
    write_rows(folder / "prompts.jsonl", rows())
    spec = folder / "claim.rec"
    spec.write_text(SPEC)
    return spec


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
