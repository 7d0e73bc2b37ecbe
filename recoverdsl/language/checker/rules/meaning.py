"""The context that the rules share: a spec, the places of its values, and where to report."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property

from attrs import evolve

from recoverdsl.language import schema
from recoverdsl.language.diagnostics import Collector, Edit, Help, replace
from recoverdsl.language.schema import Attack, Spec
from recoverdsl.language.schema.budgets import limits_of
from recoverdsl.language.syntax.nodes import Span
from recoverdsl.language.syntax.printer import quote

GENERATE = "add `generate = greedy(tokens = 48)`"

_START = Span(0, 0, 1, 1, 1, 1)


def _has_margin(predicate: schema.Predicate) -> bool:
    """Return whether a condition is on the next token alone, so that a score follows from it."""
    return all(isinstance(leaf, schema.NextToken) for leaf in schema.leaves(predicate))


class Meaning:
    """A spec under examination.

    `partial` are the paths of blocks of which a part could not be read, `unread` the kinds of which a
    block is missing altogether.
    """

    def __init__(
        self, spec: Spec, report: Collector, partial: frozenset[str], unread: frozenset[str]
    ) -> None:
        self.spec, self.report, self.partial, self.unread = spec, report, partial, unread
        self._limits: dict[str, tuple[float, ...]] = {}

    def add(
        self,
        code: str,
        message: str,
        path: str,
        *,
        help: Help | str | None = None,
        why: str | None = None,
        related: tuple[str, str] | None = None,
    ) -> None:
        """Report at an attribute, or at the head of its block where it is not written."""
        also = [(self.span(related[0]), related[1])] if related else []
        self.report.add(code, message, self.span(path), help=help, why=why, related=also)

    def lacks(
        self,
        code: str,
        message: str,
        path: str,
        block: str,
        *,
        help: Help | str | None = None,
        why: str | None = None,
        related: tuple[str, str] | None = None,
    ) -> None:
        """Return the same for what a block does not say, which nobody can tell of one that is partly unread."""
        if block not in self.partial:
            self.add(code, message, path, help=help, why=why, related=related)

    def span(self, path: str) -> Span:
        """Return where a value is written, or the nearest thing that holds it."""
        while path not in self.spec.spans and "." in path:
            path = path.rpartition(".")[0]
        span: Span = self.spec.spans.get(path, _START)
        return span

    def in_place_of(self, word: str, path: str, other: str, help: str | None = None) -> Help:
        """Return the help that writes another word in an attribute."""
        span = self.span(path)
        found = re.search(rf"\b{re.escape(word)}\b", self.report.text_of(span))
        if found is None or span.line != span.end_line:
            return Help(help or f"write `{other}`")
        start, column = span.start + found.start(), span.column + found.start()
        end, end_column = start + len(word), column + len(word)
        place = Span(start, end, span.line, column, span.line, end_column, span.source)
        return replace(place, other, help)

    def text_for(self, text: str, path: str, other: str) -> Help:
        """Return the help that writes another text in an attribute."""
        span = self.span(path)
        literal = quote(text)
        within = self.report.text_of(span).find(literal)
        if within < 0 or span.line != span.end_line:
            return Help(f"write `{quote(other)}`")
        at, column = span.start + within, span.column + within
        place = Span(
            at, at + len(literal), span.line, column, span.line, column + len(literal), span.source
        )
        return replace(place, quote(other))

    def inside(self, block: str, attribute: str) -> Help:
        """Return the help that adds an attribute at the beginning of a block."""
        help, head = f"add `{attribute}`", self.span(block)
        brace, _, rest = self.report.text_after(head).partition("{")
        if brace.strip(" "):
            return Help(help)
        here = head.after
        at, column = here.start + len(brace) + 1, here.column + len(brace) + 1
        place = evolve(here, start=at, end=at, column=column, end_column=column)
        line = rest.partition("\n")[0].strip()
        if not line:
            return Help(help, (Edit(place, f"\n  {attribute}"),))
        return Help(help, (Edit(place, f" {attribute} " if line == "}" else f" {attribute};"),))

    # --- What several rules ask ---------------------------------------------------------------

    def limits(self, name: str, attack: Attack) -> tuple[float, ...]:
        """Return the budgets of an attack."""
        if name not in self._limits:
            self._limits[name] = limits_of(self.spec, attack)
        return self._limits[name]

    def stages(self, path: str) -> list[str]:
        """Return the paths of an attack's stages, each ending with its name or its number."""
        return list(self._stages.get(path, ()))

    @cached_property
    def _stages(self) -> Mapping[str, dict[str, None]]:
        stages: dict[str, dict[str, None]] = {}
        for path in self.spec.spans:
            kind, name, *rest = [*path.split("."), ""]
            if kind == "attack" and rest[:1] == ["stage"] and len(rest) > 2:
                attack = f"attack.{name}"
                stages.setdefault(attack, {})[f"{attack}.stage.{rest[1]}"] = None
        return stages

    @cached_property
    def generates(self) -> bool:
        """Tell whether a behavior generates a text, as far as one can tell."""
        behaviors = self.spec.behaviors
        written = [p for p in self.spec.spans if p.startswith("behavior.") and p.count(".") == 1]
        unread = (
            "behavior" in self.unread
            or len(written) > len(behaviors)
            or any(p.startswith("behavior.") for p in self.partial)
        )
        return unread or any(behavior.generate for behavior in behaviors.values())

    @property
    def only_generates(self) -> bool:
        """Tell whether every behavior generates a text, as far as one can tell."""
        behaviors = self.spec.behaviors
        written = [p for p in self.spec.spans if p.startswith("behavior.") and p.count(".") == 1]
        whole = "behavior" not in self.unread and len(written) == len(behaviors) > 0
        return whole and all(behavior.generate for behavior in behaviors.values())

    def scored(self, name: str, path: str, doing: str) -> None:
        """Report a behavior that is used for the score that it does not have, nor a margin."""
        behavior = self.spec.behaviors.get(name)
        if behavior and behavior.score is None and not _has_margin(behavior.holds):
            block = f"behavior.{name}"
            self.lacks(
                "REC407", f"`{name}` has no score that could be {doing}", path, block,
                help="give it a `score`", related=(block, f"`{name}` is defined here"),
            )  # fmt: skip

    def positions(
        self,
        path: str,
        positions: schema.Positions,
        wrong: Mapping[str, tuple[str | None, str]],
        message: str,
    ) -> None:
        """Report position words that say nothing here, each with the one to write, and the help."""
        for word, (other, help) in wrong.items():
            if word in positions.include + positions.exclude:
                said = self.in_place_of(word, path, other, help) if other else help
                self.add("REC419", f"{message} `{word}`", path, help=said)
