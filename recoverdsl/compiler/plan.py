"""The plan of a run: which steps the store has, which are to run, and which inputs make them run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Literal

from attrs import asdict, frozen

from recoverdsl.compiler.graph import Graph

State = Literal["kept", "begun", "to run", "in memory"]


@frozen
class PlanRow:
    """One step of a plan."""

    key: str
    kind: str
    state: State
    """`kept` from an earlier run, `begun` by one that stopped, `to run`, or `in memory`: loaded or
    computed when another step needs it."""
    digest: str
    needs: tuple[str, ...]
    """Keys of the inputs that are to run, because of which the step would run too."""


def plan_rows(graph: Graph, state_of: Callable[[str], State]) -> list[PlanRow]:
    """Return the plan of a graph.

    Args:
        state_of: returns the state of a step in the store by its digest.
    """
    states = {node.key: state_of(node.digest) if node.stored else "in memory" for node in graph}
    return [
        PlanRow(
            node.key, node.kind, states[node.key], node.digest,
            tuple(dict.fromkeys(key for key in node.inputs.values() if states[key] in ("to run", "begun"))),
        )
        for node in graph
    ]  # fmt: skip


def render_plan(rows: list[PlanRow], as_json: bool = False) -> str:
    """Return the plan as text, or as a JSON list."""
    if as_json:
        return json.dumps([asdict(row) for row in rows], indent=2) + "\n"
    width = max(len(row.key) for row in rows)
    lines = [f"{row.state:>9}  {row.key:<{width}}  {row.digest[:12]}" for row in rows]
    stored = [row for row in rows if row.state != "in memory"]
    to_run = sum(row.state != "kept" for row in stored)
    lines.append(
        f"{to_run} of {len(stored)} steps to run."
        if to_run
        else "Nothing to run: every step is kept."
    )
    return "\n".join(lines) + "\n"
