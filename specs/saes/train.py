"""Trains the sparse autoencoders (SAEs) that the specs use, on text sampled from the model itself.

    python specs/saes/train.py --model FOLDER --gguf FILE --layers 14 --out specs/saes/smollm2-135m

The corpus is made here, so its licence is clean: answers of the model to plain requests, its
continuations of neutral openings, and indirect-object prompts from the shipped template under
another seed than the specs use. Activations are taken while the text is sampled, at the output of
each named decoder layer. The first token of a text is left out, because its norm is a hundred times
that of any other, and so is the system prompt, which is the same in every request.

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

from recoverdsl.engine.templates import ioi

TEMPLATE_SEED = 90_210  # the specs use seed 0

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


def prompts(count: int, tokenizer, seed: int) -> list[tuple[list[int], int]]:
    """Token ids of `count` prompts, and from which position their activations are kept."""
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
        ids = tokenizer(text).input_ids
        before = tokenizer(text[: text.index(request)]).input_ids
        made.append((ids, len(before)))
    return made


@torch.no_grad()
def harvest(model, tokenizer, layers: list[int], tokens: int, seed: int) -> dict[int, torch.Tensor]:
    """Samples text and returns the activations met on the way, one (tokens, d_model) per layer."""
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
    templated = [record["prompt"] for record in ioi(tokens // 150, TEMPLATE_SEED)]  # an eighth of all
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
        drawn = sorted(prompts(128, tokenizer, seed + bunch), key=lambda p: len(p[0]))
        bunch += 1
        # Openings are short and requests long: two batches without much padding between them.
        for half in (drawn[:64], drawn[64:]):
            width = max(len(ids) for ids, _ in half)
            ids_BT = torch.tensor([[0] * (width - len(ids)) + ids for ids, _ in half])
            mask_BT = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids, _ in half])
            keep_BT = torch.tensor(
                [[0] * (width - len(ids) + start) + [1] * (len(ids) - start) for ids, start in half]
            ).bool()
            cache = transformers.DynamicCache(config=model.config)
            alive_B = torch.ones(len(half), dtype=torch.bool)
            for step in range(96):
                output = model(
                    input_ids=ids_BT, attention_mask=mask_BT, past_key_values=cache,
                    position_ids=(mask_BT.cumsum(1) - 1).clamp(min=0)[:, -ids_BT.shape[1] :],
                    logits_to_keep=1,
                )  # fmt: skip
                count = keep(keep_BT if step == 0 else alive_B[:, None])
                total += count
                bar.update(count)
                best = output.logits[:, -1].float().topk(50)
                pick = torch.multinomial(best.values.softmax(-1), 1, generator=generator)
                ids_BT = best.indices.gather(1, pick)
                alive_B &= ids_BT[:, 0] != tokenizer.eos_token_id
                mask_BT = torch.cat([mask_BT, torch.ones_like(ids_BT)], dim=1)
                if not alive_B.any():
                    break
    bar.close()
    order = torch.randperm(total, generator=generator)
    return {layer: torch.cat(chunks)[order] for layer, chunks in kept.items()}


def batches(activations: torch.Tensor, size: int, seed: int) -> Iterator[torch.Tensor]:
    """Shuffled float32 batches without end."""
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
    with torch.no_grad():
        sae.b_dec.copy_(0 * sae.b_dec)
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
    """Fraction of variance unexplained, L0 and dead features on activations not trained on."""
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
    """What replacing the layer's output by its reconstruction does to next-token loss and to IOI."""
    mode = {"now": "as is"}

    def hook(_module, _inputs, output):
        h = output[0] if isinstance(output, tuple) else output
        if mode["now"] == "spliced":
            new = sae.decode(sae.encode(h))
        elif mode["now"] == "mean ablated":
            new = h[:, 1:].mean((0, 1)).expand_as(h)
        else:
            return output
        return torch.cat([h[:, :1], new[:, 1:]], dim=1)  # the first token is outside the SAE's domain

    handle = model.model.layers[layer].register_forward_hook(hook)
    records = ioi(256, TEMPLATE_SEED + 1)
    first = {name: tokenizer(" " + name).input_ids[0] for r in records for name in (r["io"], r["s"])}
    loss, accuracy = {}, {}
    for mode["now"] in ("as is", "spliced", "mean ablated"):
        right = 0
        losses = []
        for start in range(0, 256, 64):
            part = records[start : start + 64]
            texts = [f"{r['prompt']} {r['io']}" for r in part]
            batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
            logits = model(**batch).logits
            last = batch.attention_mask.sum(1) - 2
            answer = logits[torch.arange(len(part)), last]
            right += sum(
                int(answer[i, first[r["io"]]] > answer[i, first[r["s"]]]) for i, r in enumerate(part)
            )
            target = batch.input_ids.masked_fill(batch.attention_mask == 0, -100)
            losses.append(torch.nn.functional.cross_entropy(logits[:, 1:-1].flatten(0, 1), target[:, 2:].flatten()))
        loss[mode["now"]] = torch.stack(losses).mean().item()
        accuracy[mode["now"]] = right / 256
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


def save(sae, folder: Path, layer: int, provenance: dict[str, object]) -> SAE:
    """Writes float16 weights in sae_lens format and returns the SAE as a user will load it."""
    sae.cfg.metadata.hook_name = f"blocks.{layer}.hook_resid_post"
    sae.cfg.metadata.model_name = "SmolLM2-135M-Instruct"
    sae.cfg.metadata.hf_hook_name = f"model.layers.{layer}"
    folder.mkdir(parents=True, exist_ok=True)
    sae.save_inference_model(folder)
    weights = folder / "sae_weights.safetensors"
    save_file({name: value.half().contiguous() for name, value in load_file(weights).items()}, weights)
    return SAE.load_from_disk(folder, dtype="float32")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    layers = [int(layer) for layer in args.layers.split(",")]

    quantization = transformers.GgufConfig(dequantize=True) if args.gguf else None
    load = {"gguf_file": args.gguf} if args.gguf else {}
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model, **load)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        args.model, dtype=torch.bfloat16, **load, **({"quantization_config": quantization} if quantization else {})
    ).eval()

    began = time.time()
    if args.activations and args.activations.exists():
        activations = {int(name): value for name, value in load_file(args.activations).items()}
    else:
        activations = harvest(model, tokenizer, layers, args.tokens, args.seed)
        if args.activations:
            save_file({str(layer): value for layer, value in activations.items()}, args.activations)
    harvested = time.time() - began

    model = model.float()
    for layer in layers:
        began = time.time()
        held_out = activations[layer][:20_000]
        sae = train(activations[layer][20_000:], args)
        folder = args.out / f"layer{layer}"
        loaded = save(sae, folder, layer, {})
        provenance = {
            "command": "python specs/saes/train.py " + " ".join(sys.argv[1:]),
            "corpus": "text sampled from the model itself, and indirect-object prompts of the shipped template",
            "seed": args.seed,
            "tokens": len(activations[layer]),
            "training_samples": args.samples,
            **quality(loaded, held_out),
            **splice(model, tokenizer, layer, loaded),
            "seconds_harvesting": round(harvested),
            "seconds_training": round(time.time() - began),
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }
        (folder / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")
        print(json.dumps(provenance, indent=2))


if __name__ == "__main__":
    main()
