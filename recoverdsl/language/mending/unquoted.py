"""Texts that lack their quotation marks: `folder(./saes/mid)`, `sha256 = 12fd25f7…`."""

from __future__ import annotations

from collections.abc import Sequence

from lark import Token

from recoverdsl.language.tokens import adjacent

_JOINED = frozenset(["/", "\\", ".", "-", "..", "==", ":", "~", "@"])
_ENDS = frozenset([")", ",", "]", "}", ";", "\n"])
_LONGEST = 200


def unquoted_text(tokens: Sequence[Token], at: int) -> int:
    """How many tokens from `at` on are a text without its marks; 0 if they can be something else.

    A path such as `a/b` can be a division, so what can be read as a value is left to the checker,
    which knows where a text is needed.
    """
    stop = at + 1
    while stop < len(tokens) and stop - at < _LONGEST and adjacent(tokens[stop - 1], tokens[stop]) and (
        _wordlike(tokens[stop]) or tokens[stop].value in _JOINED
    ):  # fmt: skip
        stop += 1
    run = tokens[at:stop]
    if len(run) < 2 or any(hasattr(token, "mistake") for token in run):
        return 0
    if not (_wordlike(run[0]) or run[0].value in ("/", ".", "..", "~")) or (
        stop < len(tokens) and tokens[stop].value not in _ENDS
    ):
        return 0
    colons = [i for i, token in enumerate(run) if token.value == ":"]
    if any(i + 1 == len(run) or run[i + 1].value not in ("/", "\\") for i in colons):
        return 0
    return len(run) if _no_value(run) else 0


def _wordlike(token: Token) -> bool:
    return token.type == "NUMBER" or bool(token.value.isidentifier())


def _no_value(run: Sequence[Token]) -> bool:
    """Whether a run of tokens can be no value."""
    if run[0].value == "." and run[1].type == "NUMBER":
        return False
    if run[0].value in ("/", ".", "..", "~") or any(t.value in ("\\", ":", "@") for t in run):
        return True
    for first, second, third in zip(run, run[1:], [*run[2:], None], strict=False):
        if first.type == "NUMBER" and second.value.isidentifier():
            # `20px` is a number gone wrong; a digest or a file name is longer.
            if len(run) > 2 or len(first) + len(second) > 8:
                return True
        elif first.type == "NUMBER" and second.value == "." and third is not None:
            return bool(len(run) > 3 and third.type == "NUMBER")
    return False
