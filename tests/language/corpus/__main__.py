"""Makes the mutated specs anew, and records what the broken specs give."""

from __future__ import annotations

from tests.language.corpus import FILES, load, save
from tests.language.corpus.mutate import mutated

by_hand, made = FILES
save(by_hand, load(by_hand))
save(made, mutated({case.text for case in load(by_hand)}))
for path in FILES:
    cases = load(path)
    hits = sum(case.expected[0].split()[0] == str(case.line) for case in cases)
    print(
        f"{path.name}: {len(cases)} specs, {hits / len(cases):.1%} said on the line that is broken"
    )
