"""An interpreter of TextMate grammars of `match` rules, as in an editor.

It is independent of the lexer: it works line by line and applies at each place the rule that matches
next, the first where several do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

Stretch = tuple[str, int, int]
"""A scope without the language's name, where it starts in the text, and where it ends."""


def stretches(grammar: str, text: str) -> Iterator[Stretch]:
    """Yield the stretches of a text that have a scope, in order."""
    patterns = json.loads(grammar)["patterns"]
    offset = 0
    for line in text.split("\n"):
        for scope, start, end in _line(patterns, f"{line}\n", 0, len(line) + 1, ""):
            if scope:
                yield scope.removesuffix(".recoverdsl"), offset + start, offset + end
        offset += len(line) + 1


def _line(
    patterns: list[dict[str, Any]], line: str, at: int, stop: int, around: str
) -> Iterator[Stretch]:
    while at < stop:
        found = [(re.compile(p["match"]).search(line, at, stop), p) for p in patterns]
        # An empty match would never get anywhere.
        nearest = [(m.start(), i, m, p) for i, (m, p) in enumerate(found) if m and m[0]]
        if not nearest:
            break
        start, _, match, pattern = min(nearest, key=lambda one: one[:2])
        if start > at:
            yield around, at, start
        scope = pattern.get("name", around)
        inner = pattern.get("captures", {}).get("0", {}).get("patterns", [])
        yield from _line(inner, line, start, match.end(), scope)
        at = match.end()
    if at < stop:
        yield around, at, stop
