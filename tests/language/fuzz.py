"""Draws specs and other texts for minutes, and says what they break.

    python -m tests.language.fuzz --minutes 10

It ends with exit code 1 at the first property that does not hold, and shows the smallest text for
which it does not.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.language import properties
from tests.language.corpus import read
from tests.language.corpus.mutate import BASES, MUTATIONS
from tests.language.strategies import checked, grammatical
from tests.language.texts import FULL, IOI, SMALL

PIECES = [
    *"{}()[]=,;.\"'%#\\/$@!?:-+*<>|&~^`“”‘’…≤≥×−é\n\r\t\0\u200b\u00a0\ufeff",
    "..", "<=", ">=", "==", "=>", "=<", "!=", ":=", "->", "//", "/*", "*/", "--", "&&", "||", "**", "%%",
    " at ", " and ", " or ", " not ", " except ", " of ", " like ", " in ", "true", "True", "None", "5",
    "0.5", ".5", "5.", "1_000", "1e999", "95%", "%95", "5 %", "mid", "norm <= 2", "limit = norm <= 2",
    "stage", "stage s { ", "attack", "attack a like go {", "expect drift(go)", "param x = 1\n", "measure {",
    "sweep s { go.steps = [1, 2] }", "recoverdsl 1\n", 'audit "a"\n', "adam(lr = 0.1)", "It is said that", "a-b",
    "a:\n", "{a: 1}", "'a'", "“a”", '"a', "a\"",
]  # fmt: skip


@st.composite
def mutants(draw: Callable[[st.SearchStrategy[Any]], Any]) -> str:
    """A good spec with a few pieces put in, taken out, moved or doubled."""
    text = draw(st.sampled_from([SMALL, SMALL, IOI, FULL]))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        gone = draw(st.sampled_from([0, 0, 1, 1, 2, 5, 20, 100]))
        put = draw(st.one_of(st.sampled_from(PIECES), st.just(text[at : at + gone] * 2)))
        text = text[:at] + put + text[at + gone :]
    return str(text)


@st.composite
def hurried(draw: Callable[[st.SearchStrategy[Any]], Any]) -> str:
    """A good spec with one change of the kinds that hands make, as in the corpus."""
    good = read(draw(st.sampled_from(BASES)))
    lines = [line for line in good.split("\n") if line.strip() and good.count(line) == 1]
    line = draw(st.sampled_from(lines))
    mutate = MUTATIONS[draw(st.sampled_from(list(MUTATIONS)))]
    new = mutate(line, random.Random(draw(st.integers(0, 1000))))
    return good if new is None else good.replace(line, new)


_PIECES = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
PROPERTIES: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], None]]] = {
    "what the grammar derives comes back": (grammatical(), properties.comes_back),
    "what the schema allows comes back": (checked(), properties.comes_back),
    "what the schema allows means the same": (checked(), properties.means_the_same),
    "a broken spec is only explained": (mutants(), properties.is_only_explained),
    "a hurried change is only explained": (hurried(), properties.is_only_explained),
    "pieces are only explained": (_PIECES, properties.is_only_explained),
    "pieces in a block are only explained": (
        _PIECES.map(lambda t: f"{SMALL}attack a like go {{\n{t}\n}}\n"), properties.is_only_explained,
    ),
    "any text is only explained": (st.text(), properties.is_only_explained),
    "any bytes are only explained": (st.binary(), properties.is_only_explained),
}  # fmt: skip


def _holds(name: str, number: int, examples: int) -> None:
    strategy, holds = PROPERTIES[name]

    @seed(number)
    @settings(
        max_examples=examples, deadline=None, database=None, print_blob=False,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    @given(strategy)
    def run(text: Any) -> None:
        holds(text)

    run()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    number, examples = options.seed, 0
    while time.monotonic() < end:
        for name in PROPERTIES:
            _holds(name, number, 100)
            examples += 100
        number += 1
    print(f"{examples:,} texts in {number - options.seed} rounds; every property held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
