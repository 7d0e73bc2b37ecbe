"""An audit of two clamps in a folder, one of which holds by construction and the other does not.

Both clamps act on the state h under the final norm, where the sign of d·h decides between two names, and
turn around its part along one direction e: h − 2(e·h)e. An attack that may not move e·h can still raise
d·h by sin(θ) for each unit of norm, where θ is the angle between d and e. For the clamp `held` sin(θ) is
0.02: a δ that brings the name back has to be tens of times as long as what the clamp changed. For `open`
it is 0.9.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests import models
from tests.run import claims

NAMES = ("Ottoline", "Marzipan")
SINES = {"held": 0.02, "open": 0.9}

HEAD = """\
recoverdsl 1

audit "Which of the two clamps stops the tiny model from naming the recipient?"

model tiny { from = folder("model") }
data prompts { from = file("prompts.jsonl") }

behavior names_the_recipient {
  score = logit(" {io}") - logit(" {s}") at last_token
  holds = score > 0
}

behavior names_another { holds = top_token == " Caspian" }
"""

CLAMP = """
sae {sae} {{ from = folder("{sae}"); reads = tiny.layers[3].output }}
protect {features} {{ in = {sae}; select = features(0, 1) }}
intervene {clamp} {{ set = {features}; to = -1 * activation }}
"""

ATTACK = """
attack {attack} {{
{under}  perturb  = {sae} at last_token
  maximize = names_the_recipient
  preserve = orthogonal({features})
  limit    = norm <= {limit}
  steps    = 60
  with     = adam(lr = 0.2)
}}

control {attack}_noise {{ of = {attack}; with = random_direction; draws = 2 }}
control {attack}_other {{ of = {attack}; target = names_another }}
"""

MEASURE = """
measure { recovery_rate = wilson(95%); drift = bootstrap(95%, resamples = 200) }
"""


def clamp(name: str) -> str:
    """Return the blocks of a clamp."""
    return CLAMP.format(sae=f"{name}_sae", features=f"{name}_features", clamp=name)


def attack(name: str, *, alone: bool = False, limit: float = 4) -> str:
    """Return an attack on a clamp, and its control; alone, the only one, which is not named."""
    under = "" if alone else f"  under    = {name}\n"
    return ATTACK.format(
        attack=f"on_{name}",
        under=under,
        sae=f"{name}_sae",
        features=f"{name}_features",
        limit=limit,
    )


def write(folder: Path, *blocks: str) -> Path:
    """Write model, SAEs, prompts and `claim.rec` into a folder, and return the path of the spec."""
    words = claims.vocabulary()
    model = models.llama(seed=8, vocab_size=len(words) + 1)
    models.save(model, models.tokenizer(words), folder / "model")
    for name in SINES:
        _sae(direction(model, name)).save_model(folder / f"{name}_sae")
    claims.write_rows(folder / "prompts.jsonl", _rows())
    spec = folder / "claim.rec"
    spec.write_text("".join([HEAD, *blocks, MEASURE]))
    return spec


def _rows(count: int = 48) -> list[dict[str, str]]:
    draw, made = random.Random(0), []
    for index in range(count):
        io, s = draw.sample(NAMES, 2)
        prompt = claims.SENTENCES[index % len(claims.SENTENCES)].format(
            a=io, b=s, s=s, place=draw.choice(claims.PLACES), thing=draw.choice(claims.THINGS)
        )
        made.append({"prompt": prompt, "io": io, "s": s})
    return made


def direction(model: Any, name: str) -> Tensor:
    """Return the direction e (D,) along which a clamp turns the state around, of length 1."""
    words = claims.vocabulary()
    # The first token of the tokenizer is the unknown one.
    one, other = (model.lm_head.weight[words.index(f" {name}") + 1] for name in NAMES)
    d_D = torch.nn.functional.normalize(one - other, dim=0)
    x_D = torch.randn(len(d_D), generator=torch.Generator().manual_seed(0))
    x_D = torch.nn.functional.normalize(x_D - (x_D @ d_D) * d_D, dim=0)
    return (1 - SINES[name] ** 2) ** 0.5 * d_D + SINES[name] * x_D


def _sae(e_D: Tensor) -> Any:
    """Return an SAE whose features 0 and 1 are the two sides of a direction."""
    sae = models.jumprelu(threshold=1e-4, model_name="tiny", hook_name="blocks.3.hook_resid_post")
    for weights in (sae.W_enc, sae.W_dec, sae.b_enc, sae.b_dec):
        weights.data.zero_()
    sae.W_enc.data[:, :2] = torch.stack([e_D, -e_D], dim=1)
    sae.W_dec.data[:2] = torch.stack([e_D, -e_D])
    return sae
