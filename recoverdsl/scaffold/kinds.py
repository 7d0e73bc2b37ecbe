"""The kinds of starting specs."""

from __future__ import annotations

KINDS = {
    "scores": "a behavior read off the logits of the next token",
    "refusal": "a behavior judged in the text that the model writes",
}
"""Kind to its description; each has a template of the same name."""
