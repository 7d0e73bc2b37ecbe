"""Prompts and completions of a run that was asked to reveal them."""

from __future__ import annotations

import json
from collections.abc import Iterable

from attrs import asdict, frozen


@frozen
class Revealed:
    """One completion, with its prompt and the texts it is compared with."""

    example: str
    category: str | None
    kind: str
    """`attack`, `control` or `part`; `defended` for an example before any attack."""
    name: str | None
    """The name of the attack or control."""
    limit: float | None
    prompt: str
    base: str | None
    """The model's answer without the clamp; None where the behavior is judged by a score."""
    defended: str | None
    """Its answer with the clamp."""
    text: str | None = None
    """Its answer under the attack; None before any attack."""
    part: str | None = None
    """The part of δ; None if δ is whole."""
    how: str | None = None
    """`alone` or `without`: whether the part was replayed alone, or δ without it."""
    draw: int | None = None
    """The number of the random draw, from 0; None where nothing is drawn."""
    suffix: str | None = None
    """The text that a token suffix appends to the prompt."""
    under: str | None = None
    """The clamp; None where there is none."""


def to_lines(texts: Iterable[Revealed]) -> str:
    """Write texts as JSON lines."""
    return "".join(json.dumps(asdict(text), ensure_ascii=False) + "\n" for text in texts)


def by_example(texts: Iterable[Revealed]) -> list[tuple[list[Revealed], list[Revealed]]]:
    """Return for each example its texts before any attack, one for each clamp, and those under one."""
    found: dict[str, tuple[list[Revealed], list[Revealed]]] = {}
    for text in texts:
        found.setdefault(text.example, ([], []))[text.text is not None].append(text)
    return list(found.values())
