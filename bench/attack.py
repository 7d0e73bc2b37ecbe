"""Measures the speed of the attack's optimization steps, on the real model and on this machine.

    python bench/attack.py [--examples 64] [--steps 20] [--baseline-steps 3] [--threads 2]

One run reports the seconds per step and example of the engine, the same of a straightforward
baseline, their ratio, and the share of the machine's measured matrix-product throughput that the
steps reach.

The baseline does the same as published code: one example at a time, the whole model over the whole
sequence at every step, logits of the whole vocabulary at every position, gradients of the weights
too, and the clamp by an SAE in a forward hook.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")

import torch

import recoverdsl
from recoverdsl.compiler.steps import Recover
from recoverdsl.engine.attack.constraints import constraint_of
from recoverdsl.engine.attack.optimizers import Adam
from recoverdsl.engine.attack.problem_factory import ProblemFactory
from recoverdsl.engine.attack.search import Attack, recover
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.resources import Resources
from recoverdsl.engine.steps.observer import Silent

SPEC = Path(__file__).parent.parent / "specs" / "ioi.rec"


def matrix_product_rate(seconds: float = 2.0) -> float:
    """Measure the floating-point operations per second of large float32 matrix products."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    a @ b
    rates = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        a @ b
        rates.append(2 * 2048**3 / (time.perf_counter() - began))
    return statistics.median(rates)


def step_operations(family, boundary: int) -> int:
    """Count the operations of one step of one example with one perturbed position: per weight 2 in the
    forward pass and 2 for the gradient of its input."""
    weights = sum(
        parameter.numel() for layer in family.layers[boundary:] for parameter in layer.parameters()
    )
    return 4 * weights


def engine_seconds(problem, attack: Attack, limit: float, repeats: int) -> list[float]:
    """Measure the seconds per step and example, once per repeat."""
    limits = torch.full((len(problem),), limit)
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        recover(problem, attack, limits)
        # There is one evaluation more than steps, since the last δ is judged too.
        took.append((time.perf_counter() - began) / (attack.steps + 1) / len(problem))
    return took


def baseline_seconds(
    resources: Resources, features, prompts: list[list[int]], steps: int
) -> list[float]:
    """Measure the seconds per step of each prompt with the method of published code."""
    model, autoencoder = resources.model.family.model, features.autoencoder
    sae = autoencoder.sae
    ids_S = features.ids_S
    model.requires_grad_(True)
    layer = model.model.layers[autoencoder.boundary - 1]
    took = []
    for row in prompts:
        ids = torch.tensor([row])
        delta = torch.zeros(resources.model.family.d_model, requires_grad=True)
        optimizer = torch.optim.Adam([delta], lr=0.1)

        def hook(_module, _inputs, output, delta=delta):
            h = output[0] if isinstance(output, tuple) else output
            z = sae.encode(h)
            clamped = z.clone()
            clamped[..., ids_S] = torch.where(z[..., ids_S] > 0, -5.0, z[..., ids_S])
            edited = sae.decode(clamped) + (h - sae.decode(z))
            return torch.cat([edited[:, :-1], edited[:, -1:] + delta], dim=1)

        handle = layer.register_forward_hook(hook)
        for _ in range(steps):
            began = time.perf_counter()
            optimizer.zero_grad()
            logits = model(ids).logits
            (logits[0, -1, 1] - logits[0, -1, 2]).neg().backward()
            optimizer.step()
            with torch.no_grad():
                delta.mul_(min(1.0, 20 / delta.norm().item()))
            took.append(time.perf_counter() - began)
        handle.remove()
    model.requires_grad_(False)
    model.zero_grad(set_to_none=True)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--baseline-examples", type=int, default=4)
    parser.add_argument("--baseline-steps", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)

    audit = recoverdsl.load(SPEC)
    resources = Resources(audit.spec, audit.fetcher, torch.device("cpu"), busy=Silent().busy)
    graph = audit.graph("cpu")
    step = next(
        node.step for node in graph if isinstance(node.step, Recover) and "projected" in node.key
    )
    # The speed depends on the number of ids only.
    features = resources.features(next(iter(resources.autoencoders)), list(range(64)))
    boundary = features.autoencoder.boundary
    indices = list(range(args.examples))
    protected = Protected({boundary: features})
    problem = ProblemFactory(resources).problem(step, protected, indices, None)
    attack = Attack(
        optimizer=lambda _: Adam(0.1), constraint=constraint_of(step.preserve, problem),
        steps=args.steps, stop_when_recovered=False,
    )  # fmt: skip

    rate_before = matrix_product_rate()
    ours = engine_seconds(problem, attack, 20.0, args.repeats)
    baseline = baseline_seconds(
        resources,
        features,
        [resources.prompts[i] for i in indices[: args.baseline_examples]],
        args.baseline_steps,
    )
    rate = statistics.median([rate_before, matrix_product_rate()])
    seconds, slow = statistics.median(ours), statistics.median(baseline)
    operations = step_operations(resources.model.family, boundary)
    print(
        json.dumps(
            {
                "machine": {
                    "processor": platform.processor() or platform.machine(),
                    "threads": torch.get_num_threads(),
                    "torch": torch.__version__,
                },
                "examples": args.examples,
                "seconds_per_step_and_example": round(seconds, 6),
                "seconds_per_step_of_the_batch": round(seconds * args.examples, 4),
                "baseline_seconds_per_step_and_example": round(slow, 4),
                "times_faster_than_baseline": round(slow / seconds, 1),
                "matrix_product_gflops": round(rate / 1e9, 1),
                "step_gflops": round(operations / seconds / 1e9, 1),
                "share_of_matrix_products": round(operations / seconds / rate, 3),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
