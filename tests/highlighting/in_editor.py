"""Compares the colors of VS Code's own engine with the lexer's. Needs node; run it with `make editors`."""

from __future__ import annotations

import json
import subprocess
import sys

from recoverdsl.highlighting.roles import Role, stretches
from recoverdsl.highlighting.textmate import SCOPES
from tests.highlighting.test_highlighting import ROOT

FILES = sorted(ROOT.glob("specs/*.rec")) + sorted(ROOT.glob("tests/language/**/*.rec"))


def main() -> int:
    """Return 0 if both agree in every spec of the repository, including the broken ones."""
    done = subprocess.run(
        ["node", "test/tokens.js", *map(str, FILES)],
        cwd=ROOT / "editors/vscode", stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    differ = []
    for file, line in zip(FILES, done.stdout.splitlines(), strict=True):
        ours = [
            [f"{SCOPES[role]}.recoverdsl", start, end]
            for role, start, end in stretches(file.read_text("utf-8"))
            if role is not Role.SPACE
        ]
        if json.loads(line) != ours:
            differ.append(file)
            print(f"{file}: {[pair for pair in zip(json.loads(line), ours, strict=False) if pair[0] != pair[1]][:1]}")  # fmt: skip
    print(f"{len(FILES) - len(differ)} of {len(FILES)} specs look the same.")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
