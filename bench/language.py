"""Times the checker on large texts that are made to be slow, and on the specs that ship.

    python -m bench.language [NAME ...]

Each line is the processor time of one check; a name restricts it to the texts that contain it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from recoverdsl.language import check
from tests.language.huge import SIZE, TEXTS


def seconds(text: str) -> float:
    """Return the processor time that a check takes."""
    begin = time.process_time()
    check(text)
    return time.process_time() - begin


def main(names: list[str]) -> None:
    """Prints the time of each text."""
    check("recoverdsl 1\n")
    for path in sorted(Path("specs").glob("*.rec")):
        print(f"{seconds(path.read_text(encoding='utf-8')):8.3f} s  {path}", flush=True)
    for name, text in TEXTS.items():
        if not names or any(part in name for part in names):
            print(f"{seconds(text(SIZE)):8.3f} s  {name}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
