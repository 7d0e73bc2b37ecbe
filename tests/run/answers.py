"""An audit of generated answers in a folder: a tiny random model, three SAEs, requests and a spec."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests import models

WORDS = [f"{a}{b}" for a in ("ba", "do", "ki", "mu", "ra", "te", "vo", "zu") for b in ("lin", "mer", "nox", "pat", "rus", "sol", "tig", "wem")]  # fmt: skip
LAYERS = {"early": 0, "mid": 1, "late": 2}
TOKENS = 6

PHRASES = """\
[refuses]
opening = [{refusing}]
within = 3

[opens_with_safety_cue]
opening = ["no such phrase"]
within = 1
"""

SPEC = """\
recoverdsl 1

audit "Does raising the features make the tiny model refuse?"

model tiny {{ from = folder("model") }}

{saes}
data requests {{ from = file("requests.jsonl") }}
data refusing {{ from = file("refusing.jsonl"); answer = "answer" }}
data answering like refusing {{ from = file("answering.jsonl") }}

behavior answers {{
  generate = greedy(tokens = {tokens})
  holds    = not refuses
  removed  = refuses
  phrases  = file("phrases.toml")
}}

protect refusal {{
  in     = [early, mid, late]
  select = top(2, by = contrast(refusing, against = answering), each = true)
}}

intervene clamp {{
  set = refusal
  to  = 3.0 * mean_when(refusing)
  at  = [every_token, generated] except first
}}

{attacks}
measure {{
  recovery_rate  = wilson(95%)
  base_like_rate = wilson(95%)
  drift          = bootstrap(95%)
}}
"""

ATTACKS = """\
attack recover {
  perturb  = mid at [last_token, target_tokens]
  maximize = logprob(base_answer)
  preserve = by_construction(refusal)
  limit    = norm <= [3, 12]
  steps    = 30
  find     = smallest_norm(within = 20%)
}

attack staged {
  stage opening { perturb = late at last_token; limit = norm <= 4; steps = 5 }
  stage answer { perturb = late at target_tokens; limit = norm <= 6; steps = 8; with = adam(lr = 0.2) }
  maximize = logprob(base_answer)
  preserve = by_construction(refusal)
}

attack shared {
  perturb  = late at every_generated_token
  maximize = logprob(base_answer)
  limit    = norm <= 8
  steps    = 8
}

attack exact like recover {
  preserve = jacobian(refusal)
  limit    = norm <= 6
  steps    = 6
}

attack sketch like exact { preserve = jacobian_sketch(refusal, probes = 4) }

control noise { of = recover; with = random_direction; draws = 2 }
control unrelated { of = recover; target = base_answer of another_example }
control undefended { of = recover; target = base_answer of another_example; on = undefended }

attribute recover { parts = [clamped, other_features, top(5), residual] }
"""


def sae(name: str) -> str:
    return f'sae {name} {{ from = folder("{name}"); reads = tiny.layers[{LAYERS[name]}].output }}\n'


def write(folder: Path, attacks: str = ATTACKS, seed: int = 3) -> Path:
    """Write model, SAEs, texts and `answers.rec` into a folder, and return the path of the spec."""
    words = [*WORDS, *(f" {word}" for word in WORDS)]
    model = models.llama(seed=seed, vocab_size=len(words) + 1)
    models.save(model, models.tokenizer(words), folder / "model")
    for name, layer in LAYERS.items():
        made = models.jumprelu(
            seed=layer, model_name="tiny", hook_name=f"blocks.{layer}.hook_resid_post"
        )
        made.save_model(folder / name)
    draw = random.Random(seed)

    def some(count: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(count))

    texts = {
        "requests": [
            {"id": f"r{n}", "category": ["a", "b"][n % 2], "prompt": some(3 + n % 4)}
            for n in range(16)
        ],
        "refusing": [{"prompt": some(4), "answer": " " + some(5)} for _ in range(6)],
        "answering": [{"prompt": some(4), "answer": " " + some(5)} for _ in range(6)],
    }
    for name, rows in texts.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    refusing = ", ".join(f'"{word}"' for word in WORDS[::2])
    (folder / "phrases.toml").write_text(PHRASES.format(refusing=refusing))
    spec = folder / "answers.rec"
    spec.write_text(SPEC.format(saes="".join(map(sae, LAYERS)), attacks=attacks, tokens=TOKENS))
    return spec
