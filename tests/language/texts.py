"""The specs that the tests of the language share."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
DIAGNOSTICS = HERE / "diagnostics"

IOI = (HERE / "ioi.rec").read_text(encoding="utf-8")
"""The first example of the design."""

FULL = (HERE / "full.rec").read_text(encoding="utf-8")
"""The second, completed to use every block and nearly every function."""

SMALL = """recoverdsl 1

model m { from = folder("m") }
sae mid { from = folder("s"); reads = m.layers[14].output }
data rows { from = file("rows.jsonl") }
behavior says { score = logit(" {io}") at last_token; holds = score > 0 }
protect kept { in = mid; select = features(1, 2) }
attack go { perturb = mid at last_token; maximize = says; limit = norm <= 20 }
"""
"""A valid spec to add a mistake to."""
