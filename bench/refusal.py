"""Measures the speed of generating and attacking answers, on the real model and on this machine.

    python bench/refusal.py [--examples 16] [--steps 4] [--tokens 48] [--long 1000]

One run reports
- for stage 2 of the published schedule (δ at the answer's tokens, at all three sites, the protected
  features preserved): seconds per step and example of the engine and of straightforward baselines;
- generated tokens per second under the clamp, 32 requests at once and one at a time;
- the growth of the process's memory over a thousand optimization steps.

The baseline does the same as published code: one example at a time, the whole model over the whole
sequence at every step, logits of the whole vocabulary at every position, gradients of the weights
too, and the clamps by whole SAEs in forward hooks. It is timed twice: without a constraint, and with
the published sketch of the Jacobian, 9 backward passes for its probes and 5 corrections of the drift.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import time
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")

import psutil
import torch

import recoverdsl
from recoverdsl.compiler.steps import RunDefended
from recoverdsl.engine.attack.constraints.by_construction import ByConstruction
from recoverdsl.engine.attack.optimizers import Adam
from recoverdsl.engine.attack.problem_factory import ProblemFactory
from recoverdsl.engine.attack.search import Attack, recover
from recoverdsl.engine.behavior.generation import Answers, generate
from recoverdsl.engine.defense.clamp import Clamp
from recoverdsl.engine.defense.intervention import Intervention
from recoverdsl.engine.defense.protected_features import Protected
from recoverdsl.engine.resources import Resources
from recoverdsl.engine.steps.observer import Silent

SPEC = Path(__file__).parent.parent / "specs" / "refusal.rec"
STEP_SIZE, LIMIT = 0.03, 40.0


def baseline_seconds(
    resources: Resources, protected: Protected, defense, prompts, answers, steps: int, sketch: bool
) -> list[float]:
    """Measure the seconds per step of each example with the method of published code."""
    model, family = resources.model.family.model, resources.model.family
    model.requires_grad_(True)
    took = []
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([prompt + answer])
        start = len(prompt)
        clamps = protected.intervention(defense).clamps
        deltas = {
            site: torch.zeros(len(answer), family.d_model, requires_grad=True) for site in clamps
        }
        optimizer = torch.optim.Adam(deltas.values(), lr=STEP_SIZE)
        features: dict[int, torch.Tensor] = {}

        def hook(site: int, clamp: Clamp, deltas=deltas, features=features, start=start):
            sae, value = clamp.features.autoencoder.sae, clamp.value
            ids_S = clamp.features.ids_S

            def act(_module, _inputs, output):
                h = output[0] if isinstance(output, tuple) else output
                z = sae.encode(h)
                clamped = z.clone()
                clamped[:, 1:, ids_S] = value.value_S
                edited = sae.decode(clamped) + (h - sae.decode(z))
                edited = torch.cat([edited[:, :start], edited[:, start:] + deltas[site]], dim=1)
                features[site] = sae.encode(edited)[:, start:, ids_S]
                return edited

            return act

        handles = [
            family.layers[site - 1].register_forward_hook(hook(site, clamp))
            for site, clamp in clamps.items()
        ]
        with torch.no_grad():
            model(ids)
        defended = {site: z.clone() for site, z in features.items()}

        def drift(features=features, defended=defended):
            return sum(
                (features[site] - z).square().sum() / (z.square().sum() + 1e-6)
                for site, z in defended.items()
            )

        for _ in range(steps):
            began = time.perf_counter()
            optimizer.zero_grad()
            logits = model(ids).logits
            logprob = logits[0, start - 1 : -1].log_softmax(-1)
            score = logprob.gather(1, ids[0, start:, None]).mean()
            if sketch:
                z = torch.cat([z.flatten() for z in features.values()])
                rows = []
                for _ in range(9):
                    probe = torch.randn_like(z)
                    grads = torch.autograd.grad(
                        z @ (probe / probe.norm()), list(deltas.values()), retain_graph=True
                    )
                    rows.append(torch.cat([g.flatten() for g in grads]))
                basis = torch.linalg.qr(torch.stack(rows).T)[0]
            score.neg().backward()
            if sketch:
                gradient = torch.cat([d.grad.flatten() for d in deltas.values()])
                gradient = gradient - basis @ (basis.T @ gradient)
                for d, g in zip(
                    deltas.values(),
                    gradient.split([d.numel() for d in deltas.values()]),
                    strict=True,
                ):
                    d.grad.copy_(g.view_as(d))
            optimizer.step()
            for _ in range(5 if sketch else 0):
                optimizer.zero_grad()
                model(ids)
                drift().backward()
                with torch.no_grad():
                    for d in deltas.values():
                        d -= 0.05 * d.grad
            took.append(time.perf_counter() - began)
        for handle in handles:
            handle.remove()
    model.requires_grad_(False)
    model.zero_grad(set_to_none=True)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--baseline-examples", type=int, default=2)
    parser.add_argument("--baseline-steps", type=int, default=2)
    parser.add_argument("--long", type=int, default=1000, help="steps of the memory test")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)

    audit = recoverdsl.load(SPEC)
    resources = Resources(audit.spec, audit.fetcher, torch.device("cpu"), busy=Silent().busy)
    graph = audit.graph("cpu")
    defense = next(node.step.defense for node in graph if isinstance(node.step, RunDefended))
    step = graph["recover staged at norm 50"].step
    # The speed depends on the number of ids only, not on the ids and values.
    features = {
        sae.boundary: resources.features(name, list(range(5)))
        for name, sae in resources.autoencoders.items()
    }
    protected = Protected(features, {site: torch.ones(5) for site in features})
    indices = list(range(args.examples))
    prompts = [resources.prompts[index] for index in indices]

    def speak(count: int, intervention: Intervention, rows: range) -> tuple[Answers, float]:
        began = time.perf_counter()
        answers = generate(
            resources.model.family, resources.tokens(list(rows)), intervention,
            tokens=count, ends=frozenset(),
        )  # fmt: skip
        return answers, time.perf_counter() - began

    answers, _ = speak(args.tokens, Intervention(), range(args.examples))
    problems = ProblemFactory(resources)
    problem = problems.problem(step, protected, indices, answers)
    problem = problems.stage(problem, step, 1, problem.zero_BLQD)
    limits = torch.full((len(problem),), LIMIT)

    def attack(steps: int) -> Attack:
        return Attack(
            optimizer=lambda _: Adam(STEP_SIZE), constraint=ByConstruction(), steps=steps,
            stop_when_recovered=False,
        )  # fmt: skip

    recover(problem, attack(1), limits)
    ours = []
    for _ in range(args.repeats):
        began = time.perf_counter()
        recover(problem, attack(args.steps), limits)
        ours.append((time.perf_counter() - began) / (args.steps + 1) / len(problem))
    few = slice(0, args.baseline_examples)
    plain, sketched = (
        baseline_seconds(
            resources, protected, defense, prompts[few], answers.lists()[few],
            args.baseline_steps, sketch,
        )
        for sketch in (False, True)
    )  # fmt: skip

    clamped = protected.intervention(defense)
    _, together = speak(args.tokens, clamped, range(32))
    alone = sum(speak(args.tokens, clamped, range(row, row + 1))[1] for row in range(4)) / 4

    small = problem.take(torch.arange(1))
    process = psutil.Process()
    recover(small, attack(50), limits[:1])
    gc.collect()
    before = process.memory_info().rss
    recover(small, attack(args.long), limits[:1])
    gc.collect()
    grown = process.memory_info().rss - before

    seconds = statistics.median(ours)
    print(
        json.dumps(
            {
                "machine": {
                    "processor": platform.processor() or platform.machine(),
                    "threads": torch.get_num_threads(),
                    "torch": torch.__version__,
                },
                "stage_2": {
                    "examples": args.examples,
                    "answer_tokens": args.tokens,
                    "seconds_per_step_and_example": round(seconds, 4),
                    "baseline_nothing_kept": round(statistics.median(plain), 3),
                    "times_faster": round(statistics.median(plain) / seconds, 1),
                    "baseline_published_sketch": round(statistics.median(sketched), 3),
                    "times_faster_than_sketch": round(statistics.median(sketched) / seconds, 1),
                },
                "generation": {
                    "tokens_per_second_32_at_once": round(32 * args.tokens / together, 1),
                    "tokens_per_second_one_at_a_time": round(args.tokens / alone, 1),
                    "times_faster": round(32 * alone / together, 1),
                },
                "memory": {
                    "steps": args.long,
                    "grown_megabytes": round(grown / 2**20, 1),
                },
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
