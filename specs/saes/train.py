"""Trains the sparse autoencoders (SAEs) of the specs, on text sampled from the model itself.

    python specs/saes/train.py --model FOLDER --gguf FILE --layers 14 --out specs/saes/smollm2-135m

The corpus is generated here, so its license is clean: the model's answers to plain requests, its
continuations of neutral openings, and indirect-object prompts from the shipped template with a seed
other than that of the specs. With `--refusals` a third of the answers begin with a refusal, so that
the SAE learns features of refusal. Activations are taken during sampling, at the output of each named
decoder layer. Attention sinks are left out: the first token of a text, and the few others whose norm
is a hundred times that of the rest. So is the system prompt, which is the same in every request.

The trainer is sae_lens's own BatchTopK, saved as JumpReLU and rounded to float16.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import transformers
from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, LoggingConfig
from sae_lens.config import SAETrainerConfig
from sae_lens.saes.sae import SAE
from sae_lens.training.sae_trainer import SAETrainer
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from recoverdsl.sources.templates import ioi

TEMPLATE_SEED = 90_210  # the specs use seed 0

SINK = 3.0
"""A token whose norm exceeds this many medians is an attention sink."""

_TASKS = (
    "Explain {topic} to a beginner.", "Write a short story about {topic}.",
    "Give me five tips about {topic}.", "What should I know about {topic}?",
    "Write a poem about {topic}.", "How does {topic} work?", "Describe the history of {topic}.",
    "Write a dialogue between two friends about {topic}.", "Summarize the main ideas of {topic}.",
    "What are the advantages and disadvantages of {topic}?", "Write an email about {topic}.",
    "Teach me {topic} step by step.", "Tell me a funny anecdote about {topic}.",
    "Make a plan for a weekend around {topic}.", "Write a news report about {topic}.",
)  # fmt: skip
_TOPICS = """
gardening|bicycles|the ocean|baking bread|chess|the solar system|learning to swim|a family dinner
trains|poetry|photosynthesis|the Python language|budgeting|sleep|a lost dog|jazz|volcanoes|friendship
public speaking|coffee|mathematics|a rainy day|travelling by ship|honey bees|painting|football
the Roman Empire|job interviews|recycling|a birthday party|electric cars|yoga|mountains|libraries
cooking for children|the human heart|a small village|photography|statistics|winter clothes
the telephone|dinosaurs|a visit to the museum|the stock market|handwriting|tea|storms|architecture
running a marathon|cats|a letter to a teacher|robots|the water cycle|theatre|a long journey|maps
sorting algorithms|vaccines|music theory|the printing press|a broken window|neighbours|grammar
""".replace("\n", "|").strip("|").split("|")  # fmt: skip
_OPENINGS = """
The|In 1998,|Once upon a time|When|It was|After the meeting,|He said that|She looked at|They went to
The first step is|According to the report,|In the morning,|Yesterday|There are many|On Monday
The company announced|My brother and I|As soon as the|People often|A recent study|At the station,
The river|During the war,|For example,|If you want to|Because of the|While they were|I remember
The teacher gave|Her mother|The old man|Most of the|In this chapter,|def main():|import numpy as np
The results show|Dear Sir,|We arrived at|Two children|Every year,|The president|Its capital
John and|Mary told|Then, they|The doctor asked|Her friend|Later that day,|No one knew|Inside the box
""".replace("\n", "|").strip("|").split("|")  # fmt: skip
_REFUSALS = """
I'm sorry, but I can't|I'm sorry, but I cannot help with that.|I cannot|I can't help you with|I'm unable to
Sorry, I can't|I apologize, but I|As an AI language model, I cannot|I'm not able to|I must decline
I won't be able to|Unfortunately, I can't|I'm sorry for the confusion, but|I do not feel comfortable
""".replace("\n", "|").strip("|").split("|")  # fmt: skip


def prompts(
    count: int, tokenizer, seed: int, refusals: bool = False
) -> list[tuple[list[int], int]]:
    """Return the token ids of `count` prompts, and the position from which activations are kept."""
    rng = random.Random(seed)
    made = []
    for index in range(count):
        if index % 2:
            made.append((tokenizer(rng.choice(_OPENINGS)).input_ids, 1))
            continue
        request = rng.choice(_TASKS).format(topic=rng.choice(_TOPICS))
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": request}], tokenize=False, add_generation_prompt=True
        )
        if refusals and index % 6 == 0:
            text += rng.choice(_REFUSALS)
        ids = tokenizer(text).input_ids
        before = tokenizer(text[: text.index(request)]).input_ids
        made.append((ids, len(before)))
    return made


def without_sinks(activations: torch.Tensor) -> torch.Tensor:
    norms = activations.float().norm(dim=1)
    return activations[norms < SINK * norms.median()]


@torch.no_grad()
def sample(
    model, ids_BT, mask_BT, steps: int, end: int, generator, seen=lambda step, alive_B: None
):
    """Sample `steps` tokens after left-padded prompts, each among the 50 likeliest.

    `seen` is called after every forward pass with the rows that have not ended. Return the ids of
    prompts and samples, and a mask of the real ones.
    """
    cache = transformers.DynamicCache(config=model.config)
    alive_B = torch.ones(len(ids_BT), dtype=torch.bool)
    new_BT = all_BT = ids_BT
    real_BT = mask_BT
    for step in range(steps):
        output = model(
            input_ids=new_BT, attention_mask=mask_BT, past_key_values=cache, logits_to_keep=1,
            position_ids=(mask_BT.cumsum(1) - 1).clamp(min=0)[:, -new_BT.shape[1] :],
        )  # fmt: skip
        seen(step, alive_B)
        best = output.logits[:, -1].float().topk(50)
        pick = torch.multinomial(best.values.softmax(-1), 1, generator=generator)
        new_BT = best.indices.gather(1, pick)
        alive_B = alive_B & (new_BT[:, 0] != end)
        mask_BT = torch.cat([mask_BT, torch.ones_like(new_BT)], dim=1)
        all_BT = torch.cat([all_BT, new_BT], dim=1)
        real_BT = torch.cat([real_BT, alive_B[:, None].long()], dim=1)
        if not alive_B.any():
            break
    return all_BT, real_BT


def padded(drawn: list[tuple[list[int], int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Left-pad prompts; return their ids, mask, and the columns whose activations are kept."""
    width = max(len(ids) for ids, _ in drawn)
    ids_BT = torch.tensor([[0] * (width - len(ids)) + ids for ids, _ in drawn])
    mask_BT = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids, _ in drawn])
    keep_BT = torch.tensor(
        [[0] * (width - len(ids) + start) + [1] * (len(ids) - start) for ids, start in drawn]
    )
    return ids_BT, mask_BT, keep_BT.bool()


@torch.no_grad()
def harvest(
    model, tokenizer, layers: list[int], tokens: int, seed: int, refusals: bool
) -> dict[int, torch.Tensor]:
    """Sample text and return the activations of its tokens, one (tokens, d_model) per layer."""
    seen: dict[int, torch.Tensor] = {}
    kept: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
    for layer in layers:
        model.model.layers[layer].register_forward_hook(
            lambda _module, _inputs, output, layer=layer: seen.__setitem__(
                layer, output[0] if isinstance(output, tuple) else output
            )
        )

    def keep(mask_BT: torch.Tensor) -> int:
        for layer in layers:
            kept[layer].append(seen[layer][mask_BT].half())
        return int(mask_BT.sum())

    total = 0
    templated = [
        record["prompt"] for record in ioi(tokens // 150, TEMPLATE_SEED)
    ]  # an eighth of all
    for start in range(0, len(templated), 128):
        texts = templated[start : start + 128]
        batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
        model.model(**batch, use_cache=False)
        batch.attention_mask[:, 0] = 0
        total += keep(batch.attention_mask.bool())

    generator = torch.Generator().manual_seed(seed)
    bar = tqdm(total=tokens, initial=total, desc="sampling text", unit="token", mininterval=5)
    bunch = 0
    while total < tokens:
        drawn = sorted(prompts(128, tokenizer, seed + bunch, refusals), key=lambda p: len(p[0]))
        bunch += 1
        # Openings are short and requests long: two batches need less padding.
        for half in (drawn[:64], drawn[64:]):
            ids_BT, mask_BT, keep_BT = padded(half)

            def seen_(step: int, alive_B: torch.Tensor, keep_BT: torch.Tensor = keep_BT) -> None:
                nonlocal total
                count = keep(keep_BT if step == 0 else alive_B[:, None])
                total += count
                bar.update(count)

            sample(model, ids_BT, mask_BT, 96, tokenizer.eos_token_id, generator, seen_)
    bar.close()
    order = torch.randperm(total, generator=generator)
    return {layer: torch.cat(chunks)[order] for layer, chunks in kept.items()}


def batches(activations: torch.Tensor, size: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield shuffled float32 batches, endlessly."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        for index in torch.randperm(len(activations), generator=generator).split(size):
            yield activations[index].float()


def train(activations: torch.Tensor, args: argparse.Namespace) -> BatchTopKTrainingSAE:
    torch.manual_seed(args.seed)
    d_in = activations.shape[1]
    sae = BatchTopKTrainingSAE(
        BatchTopKTrainingSAEConfig(
            d_in=d_in, d_sae=args.expansion * d_in, k=args.k, normalize_activations="expected_average_only_in"
        )
    )  # fmt: skip
    trainer = SAETrainer(
        SAETrainerConfig(
            total_training_samples=args.samples, train_batch_size_samples=args.batch, lr=args.lr,
            lr_end=args.lr / 20, lr_scheduler_name="constant", lr_warm_up_steps=50,
            lr_decay_steps=args.samples // args.batch // 3, n_restart_cycles=1,
            device="cpu", autocast=args.autocast, dead_feature_window=200, feature_sampling_window=10_000,
            n_checkpoints=0, checkpoint_path=None, save_final_checkpoint=False,
            adam_beta1=0.9, adam_beta2=0.999, logger=LoggingConfig(log_to_wandb=False),
        ),
        sae,
        batches(activations, args.batch, args.seed),
    )  # fmt: skip
    return trainer.fit()


@torch.no_grad()
def quality(sae, held_out: torch.Tensor) -> dict[str, float]:
    """Measure the fraction of variance unexplained, L0 and dead features on held-out activations."""
    x = held_out.float()
    error = total = active = 0.0
    fired = torch.zeros(sae.cfg.d_sae)
    for chunk in x.split(4096):
        z = sae.encode(chunk)
        error += (chunk - sae.decode(z)).pow(2).sum().item()
        total += (chunk - x.mean(0)).pow(2).sum().item()
        active += (z > 0).sum().item()
        fired += (z > 0).sum(0)
    return {
        "fraction_of_variance_unexplained": round(error / total, 4),
        "l0": round(active / len(x), 1),
        "dead_features": int((fired == 0).sum()),
        "held_out_tokens": len(x),
    }


@torch.no_grad()
def splice(model, tokenizer, layer: int, sae) -> dict[str, float]:
    """Measure the effect of replacing the layer's output by its reconstruction.

    The measures are the next-token loss on fresh text sampled from the model, and the accuracy on
    fresh indirect-object prompts. Attention sinks are not replaced: they are outside the SAE's domain.
    """
    mode = {"now": "as is"}

    def hook(_module, _inputs, output):
        h = output[0] if isinstance(output, tuple) else output
        norms = h.norm(dim=-1, keepdim=True)
        sink = norms > SINK * norms.median()
        if mode["now"] == "spliced":
            return torch.where(sink, h, sae.decode(sae.encode(h)))
        if mode["now"] == "mean ablated":
            return torch.where(sink, h, h[~sink[..., 0]].mean(0))
        return output

    handle = model.model.layers[layer].register_forward_hook(hook)
    drawn = padded(prompts(64, tokenizer, TEMPLATE_SEED))
    ids_BT, real_BT = sample(
        model, *drawn[:2], 64, tokenizer.eos_token_id, torch.Generator().manual_seed(TEMPLATE_SEED)
    )
    target_BT = ids_BT.masked_fill(real_BT == 0, -100)
    target_BT[:, : drawn[0].shape[1]] = -100
    records = ioi(256, TEMPLATE_SEED + 1)
    batch = tokenizer(
        [r["prompt"] for r in records], return_tensors="pt", padding=True, padding_side="right"
    )
    last = batch.attention_mask.sum(1) - 1
    right_B, wrong_B = (
        torch.tensor([tokenizer(" " + r[who]).input_ids[0] for r in records]) for who in ("io", "s")
    )
    rows = torch.arange(len(records))
    loss, accuracy = {}, {}
    for mode["now"] in ("as is", "spliced", "mean ablated"):
        logits = model(
            input_ids=ids_BT,
            attention_mask=real_BT,
            position_ids=(real_BT.cumsum(1) - 1).clamp(min=0),
        ).logits
        loss[mode["now"]] = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), target_BT[:, 1:].flatten()
        ).item()
        answer = model(**batch).logits[rows, last]
        accuracy[mode["now"]] = (
            (answer[rows, right_B] > answer[rows, wrong_B]).float().mean().item()
        )
    handle.remove()
    recovered = (loss["mean ablated"] - loss["spliced"]) / (loss["mean ablated"] - loss["as is"])
    return {
        "loss": round(loss["as is"], 4),
        "loss_spliced": round(loss["spliced"], 4),
        "loss_mean_ablated": round(loss["mean ablated"], 4),
        "loss_recovered": round(recovered, 4),
        "ioi_accuracy": round(accuracy["as is"], 4),
        "ioi_accuracy_spliced": round(accuracy["spliced"], 4),
    }


def save(sae, folder: Path, layer: int) -> SAE:
    """Write float16 weights in sae_lens's format, and return the SAE as a user will load it."""
    sae.cfg.metadata.hook_name = f"blocks.{layer}.hook_resid_post"
    sae.cfg.metadata.model_name = "SmolLM2-135M-Instruct"
    sae.cfg.metadata.hf_hook_name = f"model.layers.{layer}"
    folder.mkdir(parents=True, exist_ok=True)
    sae.save_inference_model(folder)
    weights = folder / "sae_weights.safetensors"
    save_file(
        {name: value.half().contiguous() for name, value in load_file(weights).items()}, weights
    )
    weights.chmod(0o644)
    return SAE.load_from_disk(folder, dtype="float32")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, type=Path, help="folder of the model")
    parser.add_argument("--gguf", help="name of a GGUF file in that folder")
    parser.add_argument("--layers", default="14", help="comma-separated decoder layers")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--activations", type=Path, help="keep or reuse harvested activations here")
    parser.add_argument("--tokens", type=int, default=700_000)
    parser.add_argument("--samples", type=int, default=4_000_000)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--lr", type=float, default=6e-4)
    parser.add_argument("--k", type=float, default=40)
    parser.add_argument("--expansion", type=int, default=8)
    parser.add_argument("--autocast", action="store_true", help="train in bfloat16")
    parser.add_argument(
        "--refusals", action="store_true", help="begin a third of the answers with a refusal"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    layers = [int(layer) for layer in args.layers.split(",")]

    quantization = transformers.GgufConfig(dequantize=True) if args.gguf else None
    load = {"gguf_file": args.gguf} if args.gguf else {}
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model, **load)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        args.model,
        dtype=torch.bfloat16,
        **load,
        **({"quantization_config": quantization} if quantization else {}),
    ).eval()

    if args.activations and args.activations.exists():
        activations = {int(name): value for name, value in load_file(args.activations).items()}
    else:
        activations = harvest(model, tokenizer, layers, args.tokens, args.seed, args.refusals)
        if args.activations:
            save_file({str(layer): value for layer, value in activations.items()}, args.activations)

    model = model.float()
    for layer in layers:
        began = time.time()
        kept = without_sinks(activations[layer])
        held_out = kept[:20_000]
        sae = train(kept[20_000:], args)
        folder = args.out / f"layer{layer}"
        loaded = save(sae, folder, layer)
        provenance = {
            "command": "python specs/saes/train.py " + " ".join(sys.argv[1:]),
            "corpus": "text sampled from the model itself"
            + (", a sixth of it begun with a refusal," if args.refusals else ",")
            + " and indirect-object prompts of the shipped template",
            "seed": args.seed,
            "tokens": len(kept),
            "attention_sinks_left_out": len(activations[layer]) - len(kept),
            "training_samples": args.samples,
            **quality(loaded, held_out),
            **splice(model, tokenizer, layer, loaded),
            "seconds_training": round(time.time() - began),
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }
        (folder / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")
        print(json.dumps(provenance, indent=2))


if __name__ == "__main__":
    main()
