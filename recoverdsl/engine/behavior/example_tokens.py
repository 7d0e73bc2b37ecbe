"""The tokens that a spec names, with each example's own words in place of columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from recoverdsl.errors import UnavailableError
from recoverdsl.sources.data import Example


def fill(text: str, example: Example) -> str:
    """Return a text with each `{column}` replaced by the example's value, and `{{` and `}}` by one brace;
    no other formatting is understood.

    Raises:
        UnavailableError: the data has no such column.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        try:
            return example.fields[match[1]]
        except KeyError:
            raise UnavailableError(
                f"the data has no column '{match[1]}', which {text!r} names",
                why=f"columns: {', '.join(example.fields)}",
            ) from None

    return re.sub(r"\{\{|\}\}|\{(\w+)\}", value, text)


def token_ids(
    named: Sequence[tuple[str, str]],
    examples: Sequence[Example],
    encode: Callable[[str], list[int]],
) -> list[list[int]]:
    """Return a row of token ids for each example.

    Args:
        named: how messages show each token, and its text, which may name columns in braces.
        encode: returns the token ids of a text, without special tokens.

    Raises:
        UnavailableError: a text is not one token of this model.
    """
    rows = []
    for example in examples:
        row = []
        for shown, text in named:
            ids = encode(fill(text, example))
            if len(ids) != 1:
                raise UnavailableError(
                    f"{shown} is {len(ids)} tokens of this model in example {example.id}",
                    help="choose words that are one token, with their leading space",
                )
            row.append(ids[0])
        rows.append(row)
    return rows
