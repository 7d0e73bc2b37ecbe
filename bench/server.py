"""How long the language server takes to answer, in milliseconds of processor time.

    python bench/server.py

Each ability is asked about each of the shipped specs as if it had just been opened, so that checking
the text is a part of every answer; the least of five tries is shown.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from recoverdsl.language import check
from recoverdsl.server.completion import complete
from recoverdsl.server.diagnostics import diagnose
from recoverdsl.server.document import Document
from recoverdsl.server.format import format_document
from recoverdsl.server.hover import hover
from recoverdsl.server.navigation import definitions, highlights, references
from recoverdsl.server.outline import folds, symbols

WHOLE = (diagnose, symbols, folds, format_document)
HERE = (complete, hover, definitions, references, highlights)


def milliseconds(text: str, ability: partial[object]) -> float:
    """Return the least time that an answer takes."""
    took = []
    for _ in range(5):
        document = Document(text)
        start = time.process_time()
        ability(document)
        took.append(1000 * (time.process_time() - start))
    return min(took)


def main() -> None:
    check("")
    for path in sorted((Path(__file__).parents[1] / "specs").glob("*.rec")):
        text = path.read_text("utf-8")
        abilities = {a.__name__: partial(a) for a in WHOLE}
        abilities |= {a.__name__: partial(a, offset=len(text) // 2) for a in HERE}
        print(
            f"{path.name:20s}",
            *(f"{name} {milliseconds(text, ability):.1f}" for name, ability in abilities.items()),
        )


if __name__ == "__main__":
    main()
