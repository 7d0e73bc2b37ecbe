"""The TextMate grammar, for VS Code and other tools that read such grammars.

`python -m recoverdsl.highlighting.textmate FILE` writes it; `make generated` runs that.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from recoverdsl.highlighting.roles import Role, Rule, rules

SCOPE = "source.recoverdsl"

SCOPES: dict[Role, str | None] = {
    Role.SPACE: None,
    Role.COMMENT: "comment.line.number-sign",
    Role.TEXT: "string.quoted.double",
    Role.ESCAPE: "constant.character.escape",
    Role.COLUMN: "constant.other.placeholder",
    Role.NUMBER: "constant.numeric",
    Role.UNIT: "keyword.other.unit",
    Role.STATEMENT: "keyword.control",
    Role.LINK: "storage.modifier",
    Role.OPERATOR: "keyword.operator",
    Role.OPERATOR_WORD: "keyword.operator.word",
    Role.TRUTH: "constant.language.boolean",
    Role.PUNCTUATION: "punctuation",
    Role.BLOCK: "storage.type",
    Role.BLOCK_NAME: "entity.name.type",
    Role.KEY: "support.type.property-name",
    Role.FUNCTION: "support.function",
    Role.METRIC: "support.variable",
    Role.WORD: "support.constant",
    Role.NAME: "variable.other",
    Role.MISTAKE: "invalid.illegal",
}
"""The scopes that themes know, without the language's suffix."""


def grammar() -> str:
    """Return the grammar, as JSON."""
    return json.dumps(
        {
            "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
            "name": "recoverdsl",
            "comment": "Made by `make generated` from the grammar and the schema of recoverdsl.",
            "scopeName": SCOPE,
            "fileTypes": ["rec"],
            "patterns": [_pattern(rule) for rule in rules()],
        },
        indent=2,
    ) + "\n"  # fmt: skip


def _pattern(rule: Rule) -> dict[str, Any]:
    scope = SCOPES[rule.role]
    pattern: dict[str, Any] = {"name": f"{scope}.recoverdsl"} if scope else {}
    # TextMate's engine writes \x{FEFF} for what Python writes \uFEFF, so it gets the character.
    pattern["match"] = re.sub(r"\\u([0-9A-F]{4})", lambda m: chr(int(m[1], 16)), rule.pattern)
    if rule.inside:
        pattern["captures"] = {"0": {"patterns": [_pattern(inner) for inner in rule.inside]}}
    return pattern


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(grammar(), encoding="utf-8", newline="\n")
