"""The tokens that a spec names: columns in braces, and braces themselves."""

from __future__ import annotations

import pytest

from recoverdsl.engine.behavior.example_tokens import fill
from recoverdsl.sources.data import Example

EXAMPLE = Example("1", "a prompt", {"io": "Mary", "s": "{io}"})


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        (" {io}", " Mary"),
        ("{{", "{"),
        ("}}", "}"),
        ("{{io}}", "{io}"),
        ("{{{io}}}", "{Mary}"),
        # A value is not read again.
        ("{s}", "{io}"),
        ("{", "{"),
    ],
)
def test_two_braces_are_one_and_a_column_its_value(text: str, filled: str) -> None:
    assert fill(text, EXAMPLE) == filled
