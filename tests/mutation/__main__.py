"""Runs mutmut: changes the code in one place at a time, and asks whether a test notices.

`python -m tests.mutation` takes the arguments of `mutmut`; its configuration is in pyproject.toml.
With MUTANTS=n in the environment n mutants are tried, drawn at random with seed 0.
"""

from __future__ import annotations

import os
import random
import sys
from typing import Any

import libcst as cst
from mutmut import __main__ as mutmut
from mutmut.mutation import file_mutation

PURE = ("property", "cache", "torch.no_grad()")
"""Decorators that may be left off a copy of a function and put around what chooses between copies."""


def _decorated_purely(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.FunctionDef) and all(
        cst.Module([]).code_for_node(decorator.decorator) in PURE for decorator in node.decorators
    )


class Visitor(file_mutation.MutationVisitor):
    """Enters decorated functions too, which mutmut leaves alone."""

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        if _decorated_purely(node):
            node = cst.ensure_type(node, cst.FunctionDef).with_changes(decorators=())
        return super()._skip_node_and_children(node)


def arranged(function: cst.FunctionDef, mutants: Any, class_name: str | None) -> Any:
    """Like mutmut's, with the decorators of the function around its trampoline alone."""
    if not _decorated_purely(function):
        return _arranged(function, mutants, class_name)
    declared, nodes, assigned, names = _arranged(
        function.with_changes(decorators=()), mutants, class_name
    )
    trampoline = nodes[0]
    nodes[0] = trampoline.with_changes(decorators=[*function.decorators, *trampoline.decorators])
    return declared, nodes, assigned, names


def sampled(*, mutant_names: Any) -> Any:
    """Collects mutants like mutmut, and keeps as many of them as are asked for."""
    mutants, by_path = _collect(mutant_names=mutant_names)
    if count := os.environ.get("MUTANTS"):
        mutants = random.Random(0).sample(sorted(mutants, key=lambda mutant: mutant[1]), int(count))
    return mutants, by_path


_arranged = file_mutation.function_trampoline_arrangement
file_mutation.MutationVisitor = Visitor  # type: ignore[misc]
file_mutation.function_trampoline_arrangement = arranged
_collect, mutmut.collect_source_file_mutation_data = (
    mutmut.collect_source_file_mutation_data,
    sampled,
)

if __name__ == "__main__":
    mutmut.cli(sys.argv[1:])
