"""The graph: steps, their inputs, and the digests that name their results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence

from attrs import evolve, field, frozen

from recoverdsl.compiler.steps import Step
from recoverdsl.language.schema.canonical import canonical
from recoverdsl.measure.keys import Budget, TableKey


@frozen
class Node:
    """One step of a graph."""

    key: str
    """Readable and unique in the graph: `recover projected at norm 20`."""
    step: Step
    inputs: Mapping[str, str]
    """Role to the key of the node that fills it."""
    digest: str
    """sha256 over the step's kind, version and content, the digests of its inputs, and the versions
    of the libraries that compute it, as 64 hexadecimal digits."""
    block: str | None = None
    """For steps that load, the name of the spec's block; no part of the digest."""

    @property
    def kind(self) -> str:
        """The name of the step's class."""
        return type(self.step).__name__

    @property
    def stored(self) -> bool:
        """Whether the store keeps its result."""
        return self.step.stored


@frozen
class Observed:
    """The keys of the steps that observe a behavior without and under a clamp."""

    base: str
    defended: str
    flips: str


@frozen
class SideEffects:
    """The keys of the steps that measure what a clamp does besides removing the behavior."""

    text: str
    """On ordinary text."""
    moves: str
    """On the states of the tested examples."""


@frozen
class Graph:
    """Nodes in an order in which each comes after its inputs."""

    platform: Mapping[str, str]
    """Versions of torch and transformers, and the device; a part of every digest."""
    nodes: dict[str, Node] = field(factory=dict)
    strength: dict[Budget, str] = field(factory=dict)
    """Budget of an attack to the key of the step that tries harder there."""
    unrelated: dict[Budget, dict[str, str]] = field(factory=dict)
    """Budget of an attack to each control that it is compared with, and the key of the step that searches
    that control's target harder there."""
    tables: dict[TableKey, str] = field(factory=dict)
    """Table of examples to the key of the step that computes its rows, in the order of the spec."""

    readings: dict[str, str] = field(factory=dict)
    """Clamp to the key of the step that reads the features that it protects."""
    behaviors: dict[str, str] = field(factory=dict)
    """Behavior that is tested to the key of the step that observes it without a clamp, in the order of
    the spec."""
    clamps: dict[str, dict[str, Observed]] = field(factory=dict)
    """Clamp to each behavior that is tested with the steps that observe it, in the order of the spec."""
    side_effects: dict[str, SideEffects] = field(factory=dict)
    """Clamp to the steps that measure its side effects; none of a clamp whose spec asks for none."""

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def __getitem__(self, key: str) -> Node:
        return self.nodes[key]

    def add(self, key: str, step: Step, /, *, of_block: str | None = None, **inputs: str) -> str:
        """Add a step after its inputs, and return its key.

        Args:
            of_block: name of the spec's block that the step loads.
            inputs: role to the key of the node that fills it.
        """
        content = {
            "kind": type(step).__name__,
            "version": step.version,
            "step": canonical(step),
            "inputs": {role: self.nodes[source].digest for role, source in inputs.items()},
            "platform": dict(self.platform),
        }
        text = json.dumps(content, sort_keys=True, ensure_ascii=False)
        digest = hashlib.sha256(text.encode()).hexdigest()
        self.nodes[key] = Node(key, step, inputs, digest, of_block)
        return key

    def saes_of(self, node: Node) -> list[str]:
        """Return the SAE blocks whose features a step reads, in the order in which its results number them."""
        loaded = (self.nodes[key] for role, key in node.inputs.items() if role.startswith("sae "))
        return [one.block for one in loaded if one.block is not None]

    def keys_of(self, *kinds: type[Step]) -> list[str]:
        """Return the keys of the nodes whose steps are of some kinds, in order."""
        return [node.key for node in self if isinstance(node.step, kinds)]


def merged(graphs: Sequence[tuple[str, Graph]]) -> Graph:
    """Return several graphs as one, in which a step that they share, by its digest, is there once.

    Args:
        graphs: each with a label, which follows the keys of its steps where another graph has a
            different step of that key.
    """
    together = Graph(graphs[0][1].platform)
    keys: dict[str, str] = {}
    """Digest to the key of the merged graph."""
    several = {
        key
        for _, graph in graphs
        for key in graph.nodes
        if len({other.nodes[key].digest for _, other in graphs if key in other.nodes}) > 1
    }
    for label, graph in graphs:
        for node in graph:
            if node.digest in keys:
                continue
            key = f"{node.key} [{label}]" if node.key in several else node.key
            keys[node.digest] = key
            inputs = {role: keys[graph[source].digest] for role, source in node.inputs.items()}
            together.nodes[key] = evolve(node, key=key, inputs=inputs)
    return together
