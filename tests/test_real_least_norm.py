"""Least norms on the real 135M-parameter model, under its final RMSNorm, where they have a closed form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import recoverdsl
from recoverdsl.engine.model.loaded_model import load_model
from recoverdsl.sources.data import load_examples
from recoverdsl.sources.registry import source_of
from tests.models import jumprelu

pytestmark = pytest.mark.slow

SHIPPED = (Path(__file__).parent.parent / "specs" / "ioi.rec").read_text(encoding="utf-8")
IDS = list(range(8))
TEXT = """
sae top {
  from  = folder("sae")
  reads = smollm2.layers[29].output
}

data prompts { from = template("ioi", prompts = 16, seed = 0) }

behavior names_the_recipient {
  score = logit(" {io}") - logit(" {s}") at last_token
  holds = score > 0
}

protect some {
  in     = top
  select = features(0, 1, 2, 3, 4, 5, 6, 7)
}

intervene clamp {
  set = some
  to  = 1000.0
  at  = last_token
}

attack free {
  perturb  = top at last_token
  maximize = names_the_recipient
  limit    = norm <= 6000
  with     = adam(lr = 20)
  find     = smallest_norm()
}

attack projected like free { preserve = orthogonal(some) }
attack corrected like free { preserve = by_construction(some) }
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, cores: None) -> Any:
    folder = tmp_path_factory.mktemp("top")
    model = SHIPPED[SHIPPED.index("model smollm2") : SHIPPED.index("# A sparse autoencoder")]
    jumprelu(576, 64, seed=3).save_model(folder / "sae")
    (folder / "top.rec").write_text(f"recoverdsl 1\n\n{model}{TEXT}", encoding="utf-8")
    return recoverdsl.load(folder / "top.rec").run(folder / "run", store=folder / "store")


def test_they_are_the_distance_to_a_hyperplane(run: Any) -> None:
    """logit(io) − logit(s) is w·h over the root mean square of h, with w the difference of the
    unembeddings times the norm's weight: its sign is that of w·h, so that the least δ in a subspace has
    norm |w·h| / ‖Pw‖."""
    from sae_lens import SAE

    folder = run.folder.parent
    audit = recoverdsl.load(folder / "top.rec")
    (block,) = audit.spec.models.values()
    loaded = load_model(source_of(block).locate(audit.fetcher), block.dtype, torch.device("cpu"))
    model, tokenizer = loaded.family.model, loaded.tokenizer
    sae = SAE.load_from_disk(folder / "sae", dtype="float32")
    (data,) = audit.spec.data.values()
    examples = {example.id: example for example in load_examples(data, audit.fetcher)}
    A_DS = sae.W_enc[:, IDS].double()
    null_DD = torch.eye(len(A_DS), dtype=torch.float64) - A_DS @ torch.linalg.pinv(A_DS)

    rows = run.examples[run.examples.kind == "smallest_norm"]
    assert run.result.counts.valid_flips >= 3
    for name, free_DD in (
        ("free", torch.eye(len(A_DS), dtype=torch.float64)),
        ("projected", null_DD),
        ("corrected", null_DD),
    ):
        own = rows[rows.name == name].set_index("example")
        assert own.recovered.all()
        for id, row in own.iterrows():
            example = examples[id]
            seen: list[Any] = []
            handle = model.model.norm.register_forward_pre_hook(
                lambda _, args, seen=seen: seen.append(args[0][0, -1])
            )
            with torch.no_grad():
                model(torch.tensor([tokenizer(example.prompt).input_ids]))
            handle.remove()
            (h_D,) = seen
            z_F = sae.encode(h_D[None])[0]
            clamped_F = z_F.clone()
            clamped_F[IDS] = 1000.0
            h_D = (h_D + sae.decode(clamped_F[None])[0] - sae.decode(z_F[None])[0]).double()
            io, s = (tokenizer(" " + example.fields[who]).input_ids[0] for who in ("io", "s"))
            w_D = (model.lm_head.weight[io] - model.lm_head.weight[s]).double()
            w_D = w_D * model.model.norm.weight.double()
            least = -(w_D @ h_D) / (free_DD @ w_D).norm()
            assert least > 0
            assert 0.999 * least <= row["norm"] <= 1.01 * least
