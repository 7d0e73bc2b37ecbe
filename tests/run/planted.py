"""A planted model whose least norms are known, and specs of it.

No layer changes the residual stream, so the last word of a prompt decides all: its embedding holds the
recipient's name twice. A part `known` lies along the name's direction n, which an SAE reads and the clamp
takes away; a part `hidden` lies along another, m, which nothing reads. The logit of a name is what lies along
its n, and `leak` times what lies along its m; that of one other word, the rival, is a number. A final
RMSNorm scales all of them alike, so which token is the most likely one is linear in the state.
"""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from attrs import frozen
from tokenizers import decoders

from tests import models
from tests.run import claims

NAMES = claims.NAMES
WORDS = [f"word{n}" for n in range(3 * len(NAMES))]
"""Last words: three for each recipient."""
WIDTH, RIVAL, ANYTHING, MARK = 24, 16, 17, 18
"""Dimensions: n of each name from 0 on, m from 8 on, then three of their own."""

SPEC = """\
recoverdsl 1

audit "Is the recipient still in the planted model?"

model tiny {{ from = folder("model") }}

sae mid {{
  from  = folder("sae")
  reads = tiny.layers[0].output
}}

data prompts {{ from = file("prompts.jsonl") }}

behavior names_the_recipient {{
  {holds}
}}

protect names {{
  in     = mid
  select = features(0, 1, 2, 3, 4, 5, 6, 7)
}}

intervene clamp {{
  set  = names
  to   = {to}
  when = active
  at   = every_token except first
}}

attack tried {{
  perturb  = {place} at {at}
  maximize = names_the_recipient
  steps    = {steps}
  with     = {optimizer}
  limit    = norm <= {limit}
  preserve = {preserve}
  checks   = {checks}
  {find}
}}

{more}
expect {expect}
"""


@frozen(kw_only=True)
class Planted:
    """A planted model and a spec that attacks it; every default gives a clamp that holds."""

    # The model.
    known: float = 3.0
    hidden: float = 0.0
    leak: float = 0.2
    open: float | None = None
    """The leak of the first name, where it is another one."""
    rival: float = 0.0
    counter: bool = False
    """Whether the logit of one more word rises twice as fast as that of the rival falls."""
    spelled: bool = True
    """Whether the names are written with the space before them that the spec names."""
    flips: int = len(WORDS)
    # The spec.
    holds: str = 'holds = top_token == " {io}"'
    to: float = -5.0
    place: str = "mid"
    at: str = "last_token"
    steps: int = 100
    optimizer: str = "adam(lr = 0.1)"
    limit: str = "10"
    preserve: str = "orthogonal(names)"
    checks: int = 8
    find: str = ""
    more: str = ""
    expect: str = "recovery_rate(tried) <= 20%"

    def write(self, folder: Path) -> Path:
        """Write the model, an SAE, prompts and the spec into a folder, and return the path of the spec."""
        vocabulary = ["see", "then", "rival", *NAMES]
        texts = [*vocabulary, *(f" {word}" for word in [*vocabulary, *WORDS])]
        tokenizer = models.tokenizer(texts)
        tokenizer.backend_tokenizer.decoder = decoders.Fuse()
        id_of = {text: at + 1 for at, text in enumerate(texts)}
        models.save(self._model(id_of), tokenizer, folder / "model")
        self._sae().save_model(folder / "sae")
        rows = [
            {"prompt": f"see then {word}", "io": NAMES[at // 3], "s": NAMES[(at // 3 + 1) % len(NAMES)]}
            for at, word in enumerate(WORDS)
        ]  # fmt: skip
        claims.write_rows(folder / "prompts.jsonl", rows[: self.flips])
        given = {name: getattr(self, name) for name in ("holds", "to", "place", "at", "steps", "optimizer", "limit", "preserve", "checks", "find", "more", "expect")}  # fmt: skip
        spec = folder / "planted.rec"
        spec.write_text(SPEC.format(**given))
        return spec

    def _model(self, id_of: dict[str, int]) -> transformers.LlamaForCausalLM:
        model = models.llama(vocab_size=len(id_of) + 1, num_hidden_layers=2)
        unit = torch.eye(WIDTH)
        embed, head = model.model.embed_tokens.weight, model.lm_head.weight
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for layer in model.model.layers:
                layer.self_attn.o_proj.weight.zero_()
                layer.mlp.down_proj.weight.zero_()
            head.zero_()
            # A token that is never written, so that no other is the most likely one by its place.
            head -= 9 * unit[MARK]
            for at, word in enumerate(WORDS):
                name, noise = at // 3, torch.zeros(WIDTH)
                noise[19:] = 0.5 * torch.randn(WIDTH - 19, generator=generator)
                embed[id_of[f" {word}"]] = (
                    self.known * unit[name] + self.hidden * unit[8 + name]
                    + self.rival * unit[RIVAL] + unit[MARK] + noise
                )  # fmt: skip
            for at, name in enumerate(NAMES):
                leak = self.leak if at or self.open is None else self.open
                logit = unit[at] + leak * unit[8 + at]
                head[id_of[f" {name}"]] = logit
                head[id_of[name]] = (
                    logit - 9 * unit[MARK] if self.spelled else logit + 60 * unit[MARK]
                )
            head[id_of[" rival"]] = unit[RIVAL]
            if self.counter:
                head[id_of[" then"]] = -2 * unit[RIVAL]
        return model

    def _sae(self) -> object:
        sae = models.jumprelu(
            d_sae=16, seed=0, model_name="tiny", hook_name="blocks.0.hook_resid_post"
        )
        unit = torch.eye(WIDTH)
        with torch.no_grad():
            sae.W_enc[:, :8] = unit[:, :8]
            sae.W_dec[:8] = unit[:8]
            sae.b_enc[:8] = 0.0
            sae.b_dec[:] = 0.0
        return sae
