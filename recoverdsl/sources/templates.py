"""Prompt templates that ship with the tool, and the rows drawn from them as a source."""

from __future__ import annotations

import difflib
import hashlib
import json
import random
from collections.abc import Callable
from typing import Any, TypeAlias

from attrs import frozen

from recoverdsl.errors import SpecError
from recoverdsl.language.schema import Template
from recoverdsl.sources.contents import Contents, Look
from recoverdsl.sources.fetcher import Fetcher
from recoverdsl.sources.source import Source, Table
from recoverdsl.sources.tables import MOST_ROWS

Draw: TypeAlias = Callable[[int, int], list[dict[str, str]]]
"""Draws a number of rows with a seed."""

VERSION = 1
"""Part of the digest of every data block drawn from a template: raise it when a template changes."""

_NAMES = [
    "Aaron",
    "Adam",
    "Alan",
    "Alex",
    "Alice",
    "Amy",
    "Andrew",
    "Anna",
    "Anne",
    "Arthur",
    "Barbara",
    "Ben",
    "Betty",
    "Blake",
    "Bob",
    "Brian",
    "Bruce",
    "Carl",
    "Carol",
    "Charles",
    "Chris",
    "Christine",
    "Clara",
    "Daniel",
    "David",
    "Dean",
    "Diana",
    "Donald",
    "Dorothy",
    "Edward",
    "Elizabeth",
    "Ellen",
    "Emily",
    "Emma",
    "Eric",
    "Ethan",
    "Frank",
    "Fred",
    "Gary",
    "George",
    "Grace",
    "Grant",
    "Harry",
    "Helen",
    "Henry",
    "Howard",
    "Ian",
    "Jack",
    "Jacob",
    "James",
    "Jane",
    "Jason",
    "Jean",
    "Jennifer",
    "Jeremy",
    "Jessica",
    "Jim",
    "Joe",
    "John",
    "Jonathan",
    "Joseph",
    "Joshua",
    "Julia",
    "Justin",
    "Karen",
    "Kate",
    "Keith",
    "Kelly",
    "Kevin",
    "Larry",
    "Laura",
    "Lee",
    "Leon",
    "Lewis",
    "Linda",
    "Lisa",
    "Louis",
    "Lucy",
    "Luke",
    "Margaret",
    "Maria",
    "Mark",
    "Martha",
    "Martin",
    "Mary",
    "Matthew",
    "Max",
    "Michael",
    "Michelle",
    "Mike",
    "Nancy",
    "Neil",
    "Nick",
    "Oliver",
    "Oscar",
    "Patrick",
    "Paul",
    "Peter",
    "Philip",
    "Rachel",
    "Ralph",
    "Ray",
    "Rebecca",
    "Richard",
    "Robert",
    "Roger",
    "Ron",
    "Rose",
    "Roy",
    "Ruth",
    "Ryan",
    "Sam",
    "Sandra",
    "Sara",
    "Sarah",
    "Scott",
    "Sean",
    "Simon",
    "Sophie",
    "Stephen",
    "Steve",
    "Susan",
    "Thomas",
    "Tim",
    "Tom",
    "Tony",
    "Victoria",
    "Vincent",
    "Walter",
]

_PLACES = [
    "store",
    "park",
    "school",
    "office",
    "station",
    "library",
    "restaurant",
    "hospital",
    "garden",
    "museum",
]
_OBJECTS = [
    "drink",
    "book",
    "ring",
    "key",
    "gift",
    "basketball",
    "snack",
    "necklace",
    "bone",
    "computer",
]

# `{a}` and `{b}` introduce the two people, one of whom is also the giver `{s}`.
_IOI_SENTENCES = (
    "When {a} and {b} went to the {place}, {s} gave a {object} to",
    "Then, {a} and {b} had a long talk at the {place}. Afterwards {s} gave a {object} to",
    "Then, {a} and {b} went to the {place}. {s} gave a {object} to",
    "Then, {a} and {b} were working at the {place}. {s} decided to give a {object} to",
    "The {place} {a} and {b} went to had a {object}. {s} gave it to",
    "As {a} and {b} left the {place}, {s} gave a {object} to",
)


def ioi(prompts: int, seed: int) -> list[dict[str, str]]:
    """Draw indirect-object-identification prompts (Wang et al. 2022), in both name orders.

    Each record has `prompt`, the indirect object `io` (the right answer), the subject `s` (the
    giver, named twice), and `template` and `order` for grouping. Sentences and orders alternate, so
    every count of prompts is balanced over them. Prompts are distinct.

    Args:
        prompts: how many; at least 1.
        seed: any integer; the same seed gives the same prompts, and a larger count with the same
            seed begins with the prompts of the smaller one.
    """
    rng = random.Random(seed)
    records: list[dict[str, str]] = []
    seen: set[str] = set()
    while len(records) < prompts:
        index = len(records)
        template = index % len(_IOI_SENTENCES)
        order = "ABBA" if (index // len(_IOI_SENTENCES)) % 2 == 0 else "BABA"
        io, s = rng.sample(_NAMES, 2)
        a, b = (io, s) if order == "ABBA" else (s, io)
        prompt = _IOI_SENTENCES[template].format(
            a=a, b=b, s=s, place=rng.choice(_PLACES), object=rng.choice(_OBJECTS)
        )
        if prompt in seen:
            continue
        seen.add(prompt)
        records.append(
            {"prompt": prompt, "io": io, "s": s, "template": str(template), "order": order}
        )
    return records


TEMPLATES: dict[str, Draw] = {"ioi": ioi}
"""Name of a template, as a spec writes it, to the function that draws its records."""


@frozen
class DrawnRows(Source[Template]):
    """Rows that are drawn from a template."""

    def pin(self, fetcher: Fetcher) -> str:
        self._template()
        call = self.call
        drawn: list[Any] = ["template", VERSION, call.name, call.prompts, call.seed]
        return hashlib.sha256(json.dumps(drawn).encode()).hexdigest()

    def contents(self, fetcher: Fetcher, look: Look) -> Contents:
        rows = self._template()(self.call.prompts, self.call.seed)
        lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
        return Contents(sha256=hashlib.sha256(lines.encode()).hexdigest())

    def tables(self, fetcher: Fetcher, limit: int | None) -> list[Table]:
        count = min(self.call.prompts, limit or self.call.prompts)
        rows = self._template()(count, self.call.seed)
        return [Table(f"template({self.call.name!r})", enumerate(rows, start=1))]

    def _template(self) -> Draw:
        name = self.call.name
        if name not in TEMPLATES:
            close = difflib.get_close_matches(name, TEMPLATES, n=1, cutoff=0.5)
            raise SpecError(
                f"there is no template {name!r}",
                why=f"templates: {', '.join(sorted(TEMPLATES))}",
                help=f"did you mean {close[0]!r}?" if close else None,
            )
        if self.call.prompts > MOST_ROWS:
            raise SpecError(f"expected at most {MOST_ROWS:,} prompts, found {self.call.prompts:,}")
        return TEMPLATES[name]
