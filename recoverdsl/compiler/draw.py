"""Drawings of a graph: Mermaid, Graphviz dot, and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from recoverdsl.compiler.graph import Graph
from recoverdsl.language.schema.canonical import canonical


def mermaid(graph: Graph) -> str:
    """Return a Mermaid flowchart, as Markdown renderers draw it."""
    ids = {key: f"s{index}" for index, key in enumerate(graph.nodes)}
    lines = ["flowchart TD"]
    lines += [f'  {ids[node.key]}["{_plain(node.key)}"]' for node in graph]
    lines += [
        f"  {ids[source]} --> {ids[node.key]}" for node in graph for source in _sources(node.inputs)
    ]
    return "\n".join(lines) + "\n"


def dot(graph: Graph) -> str:
    """Return a Graphviz digraph."""
    lines = ["digraph recoverdsl {", "  node [shape=box, fontname=sans];"]
    lines += [f'  "{_plain(node.key)}";' for node in graph]
    lines += [
        f'  "{_plain(source)}" -> "{_plain(node.key)}";'
        for node in graph
        for source in _sources(node.inputs)
    ]
    return "\n".join([*lines, "}"]) + "\n"


def as_json(graph: Graph) -> str:
    """Return a JSON document: the platform, and each step with kind, version, digest, inputs and
    content."""
    steps = [
        {
            "key": node.key, "kind": node.kind, "version": node.step.version, "digest": node.digest,
            "inputs": dict(node.inputs), "step": canonical(node.step),
        }
        for node in graph
    ]  # fmt: skip
    return (
        json.dumps({"platform": dict(graph.platform), "steps": steps}, indent=2, ensure_ascii=False)
        + "\n"
    )


def _sources(inputs: Mapping[str, str]) -> list[str]:
    return list(dict.fromkeys(inputs.values()))


def _plain(text: str) -> str:
    """Return a name without quotes and backslashes, which another program might interpret."""
    return text.replace("\\", "/").replace('"', "'")


DRAWINGS: dict[str, Callable[[Graph], str]] = {"mermaid": mermaid, "dot": dot, "json": as_json}
