"""What a starting spec may be about."""

from __future__ import annotations

KINDS = {
    "scores": "a behavior read off the logits of the next token",
    "refusal": "a behavior judged in the text that the model writes",
}
"""Each kind has a template of its name."""
