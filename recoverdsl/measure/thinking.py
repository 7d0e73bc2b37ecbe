"""The answer of a reasoning model, read apart from its thinking.

A model writes its thinking between tags before the answer. The tags differ between families:
`<think>` (DeepSeek-R1, Qwen 3 and QwQ), `<thinking>`, `<thought>`, `<reasoning>`, `<seed:think>`
(Seed-OSS), `[THINK]` (Magistral), `◁think▷` (Kimi), `<|begin_of_thought|>` (OpenThinker) and the channels
of gpt-oss.
"""

from __future__ import annotations

import re

from attrs import frozen

TAGS = (
    *((f"<{name}>", f"</{name}>") for name in ("think", "thinking", "thought", "reasoning", "seed:think")),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
)  # fmt: skip
"""How thinking begins, and how it ends."""
SPECIAL_TOKENS = frozenset(
    ["<|channel|>", "<|message|>", *(tag for pair in TAGS[:-1] for tag in pair)]
)
"""Tokens that make up a tag; a tokenizer may count them among its special ones."""

_ANSWER_TAGS = (
    ("<answer>", "</answer>"), ("<response>", "</response>"),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
)  # fmt: skip
"""How some models begin and end the answer after their thinking."""

_CLOSING = dict(TAGS)
_OPEN = re.compile(rf"\s*({'|'.join(re.escape(tag) for tag, _ in TAGS)})")
_LEFT = re.compile(
    rf"^[ \t]*(?:{'|'.join(re.escape(tag) for _, tag in TAGS)})"
    rf"|(?:{'|'.join(re.escape(tag) for _, tag in TAGS)})[ \t]*$",
    re.MULTILINE,
)
"""An end of thinking whose beginning is not in the text, alone at the start or the end of a line."""
_ENDS_OPEN = re.compile(rf"(?:{'|'.join(re.escape(tag) for tag, _ in TAGS)})\s*\Z")


@frozen
class Parts:
    """A generated text in two parts."""

    answer: str
    """The text without its thinking; empty if it ends within or right after it."""
    thought: bool
    """Whether there is any thinking."""


def apart(text: str) -> Parts:
    """Return the answer of a text apart from the thinking that precedes it.

    Thinking that never ends, because the limit of tokens cut it, is no answer. An end without a
    beginning ends thinking too, at the start or the end of a line: many chat templates write the
    beginning into the prompt.
    """
    rest = text.lstrip("\ufeff\u200b \t\r\n")
    thought = False
    while opened := _OPEN.match(rest):
        thought = True
        _, _, rest = rest[opened.end() :].partition(_CLOSING[opened[1]])
    if not thought and (left := _LEFT.search(rest)):
        thought, rest = True, rest[left.end() :]
    return Parts(_unwrapped(rest), True) if thought else Parts(text, False)


def opened_at_the_end(prompt: str) -> str:
    """Return the tag that a prompt ends with and that opens thinking, or an empty text."""
    found = _ENDS_OPEN.search(prompt[-200:])
    return found[0].strip() if found else ""


def _unwrapped(answer: str) -> str:
    """Return an answer without the tags around it."""
    for opening, closing in _ANSWER_TAGS:
        if answer.lstrip().startswith(opening):
            return answer.lstrip().removeprefix(opening).rstrip().removesuffix(closing)
    return answer
