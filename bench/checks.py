"""Measures the share of a run that the checks of its attacks take.

    OMP_NUM_THREADS=1 python bench/checks.py [SPEC] [--set PATH=VALUE] [--store DIR]

Runs a spec (specs/ioi.rec on its first 24 prompts, if none is given) from the beginning, and prints the
processor seconds of each step and the share of those that try harder where an attack failed. With a
store of an earlier run its steps are taken from there, and count with nothing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import recoverdsl
from recoverdsl.compiler.graph import Node
from recoverdsl.compiler.steps import ReachHarder, TryHarder, TryHarderSuffix
from recoverdsl.engine.steps.observer import Silent

SPEC = Path(__file__).parent.parent / "specs" / "ioi.rec"


class Clock(Silent):
    """Notes the processor seconds between the ends of steps."""

    def __init__(self) -> None:
        self.since = time.process_time()
        self.steps: list[tuple[Node, float]] = []

    def ended(self, node: Node, state: str, seconds: float, batch_size: int | None) -> None:
        now = time.process_time()
        self.steps.append((node, now - self.since))
        self.since = now


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("spec", nargs="?", type=Path, default=SPEC)
    parser.add_argument("--set", action="append", metavar="PATH=VALUE", default=[])
    parser.add_argument("--store", type=Path)
    given = parser.parse_args()
    changes = dict(one.split("=", 1) for one in given.set)
    if given.spec == SPEC:
        changes.setdefault("prompts.rows", "0..23")
    clock = Clock()
    with tempfile.TemporaryDirectory() as empty:
        audit = recoverdsl.load(given.spec, set=changes)
        audit.run(store=given.store or Path(empty), observer=clock)
    for node, seconds in clock.steps:
        print(f"{seconds:8.1f} s  {node.key}")
    whole = sum(seconds for _, seconds in clock.steps)
    checks = sum(
        s
        for node, s in clock.steps
        if isinstance(node.step, (TryHarder, TryHarderSuffix, ReachHarder))
    )
    print(f"checks: {checks:.1f} of {whole:.1f} s of the processor, {100 * checks / whole:.0f}%")


if __name__ == "__main__":
    main()
