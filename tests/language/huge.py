"""Large texts, made to be slow: by name, at any size."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, islice

from tests.language.texts import SMALL

SIZE = 1 << 20
"""Characters of the largest text that is read."""


def _filled(size: int, piece: str, *, before: str = "", behind: str = "") -> str:
    """As many times the piece as fit."""
    room = size - len(before) - len(behind)
    return before + piece * (room // len(piece)) + behind


def _numbered(
    size: int, piece: str, *, before: str = "", behind: str = "", share: float = 1
) -> str:
    """As many pieces as fit, each with its number in place of `#`, and `@` for the one before."""
    room = int(share * (size - len(before) - len(behind)))
    made: list[str] = []
    for i in count(1):
        one = piece.replace("#", str(i)).replace("@", str(i - 1))
        room -= len(one)
        if room < 0:
            return before + "".join(made) + behind
        made.append(one)
    raise AssertionError


def _indented(size: int) -> str:
    lines = (f"{' ' * i}a b {{\n" for i in count())
    return "".join(islice(lines, int(1.4 * size**0.5)))


def _heirs(size: int, inside: str, heir: str) -> str:
    """One attack with a lot in it, and as many that are like it."""
    head = SMALL + "attack base {\n  maximize = says\n"
    first = _numbered(size, inside, before=head, share=0.5) + "}\n"
    return _numbered(size, heir, before=first)


_PIECES = {
    "round": "(", "square": "[", "braces": "{", "closing round": ")", "closing braces": "}",
    "quotes": '"', "single quotes": "'", "smart quotes": "“a” ", "equals": "=", "commas": ",",
    "semicolons": ";", "newlines": "\n", "names": "a ", "one name": "a", "letters é": "é",
    "digits": "1", "numbers": "1 ", "minus": "- ", "not": "not ", "sum": "1+", "dots": "a.", "percent": "%",
    "colons": "a:", "lines of colons": "a:\n", "indented colons": " a:\n", "dollars": "$a ", "slashes": "/", "comments": "//\n",
    "open comments": "/*\n", "backslashes": "\\", "nul": "\0", "no-break spaces": "\u00a0",
    "zero width": "\u200b", "carriage returns": "\r", "carriage returns and names": "a\r", "hash": "#", "hashes": "#\n",
    "brackets over lines": "(\n", "calls": "f(", "pairs": "()", "lists": "[],", "blocks": "a b {}\n",
    "open blocks": "a b {\n", "heads": "a b\n", "heads and braces": "a b\n{\n", "closed": "}\n",
    "statements": "a = 1\n", "no equals": "a 1\n", "twice equals": "a = = 1\n", "prose": "It is said that clamps hold. ",
    "lines of prose": "It is said that clamps hold.\n", "lists of mistakes": "= \n", "expectations": "expect a(b) < 1\n",
    "versions": "recoverdsl 1\n", "audits": 'audit "a"\n', "strings": '"a" ', "open strings": '("a\n',
    "escapes": '"\\d" ', "joined": "a,\n", "going on": "a +\n", "on a line of its own": "+ a\n", "kebabs": "a-", "brackets of blocks": "a (\n",
    "values in braces": "a = {b, c}\n", "open values in braces": "a = {", "open lists": "a = [\n", "dashes": "--\n",
}  # fmt: skip

_INSIDE = {
    "sum of a param": ("param p = ", "1+"), "argument": ("data d { from = file(", "a,"),
    "list": ("protect p { in = mid; select = features(", "1,"),
    "missing commas": ("protect p { in = mid; select = features(", "1 "),
    "list of lists": ("protect p { in = ", "[mid],"), "string": ('data d { from = file("', "a"),
    "path": ("attack a { maximize = ", "a."), "score": ("behavior b { score = ", 'logit("a")+'),
    "condition": ("behavior b { holds = ", "refuses or "), "attributes": ("attack a like go {", "\nsteps = 1"),
    "unknown attributes": ("attack a like go {", "\nstep = 1"), "positions": ("intervene c { at = ", "first,"),
}  # fmt: skip

_MANY = {
    "data": 'data d# { from = file("x") }\n',
    "attacks": "attack a# like go { steps = # }\n",
    "attacks like each other": "attack a# like a@ { steps = 1 }\n",
    "attacks in a circle": "attack a# like a# { steps = 1 }\n",
    "of one name": "attack a like go { steps = # }\n",
    "unknown kinds": "attck a# like go {}\n",
    "unknown names": "attack a# like b# {}\n",
    "nameless": "attack { steps = # }\n",
    "params": "param p# = #\n",
    "params of params": "param p# = p@\n",
    "uses": "param p# = #\nattack a# like go { steps = p# }\n",
    "expectations": "expect recovery_rate(go) <= 0.#\n",
    "expectations of controls": "control c# { of = go; with = random_direction }\nexpect recovery_rate(c#) <= 5%\n",
    "expectations of norms": "attack a# like go { limit = norm <= # }\nexpect recovery_rate(a#, norm = #) <= 5%\n",
    "behaviors": "behavior b# { score = logit(\"a\") at first; holds = score > # }\n",
    "generated": "behavior b# { generate = greedy(#); holds = refuses }\nattack a# like go { maximize = logprob(base_answer) }\n",
    "stages": "attack a# { maximize = says; stage s { perturb = mid at first; limit = norm <= # } }\n",
    "sweeps": "sweep s# { go.steps = [#, 2] }\n",
    "axes of many": "attack a# like go { steps = 1 }\nsweep s# { a#.steps = [#] }\n",
    "suffixes": "attack a# { maximize = says; soft_suffix = # }\nattribute a# { parts = residual }\n",
    "strays": "steps# = 1\n",
    "slips": "attack a#: { steps ≤ # }\n",
    "metrics": "measure { drift = bootstrap() }\n",
}  # fmt: skip


def _texts() -> dict[str, Callable[[int], str]]:
    made: dict[str, Callable[[int], str]] = {}
    for name, piece in _PIECES.items():
        made[name] = lambda size, piece=piece: _filled(size, piece)
        made[f"{name}, behind a spec"] = lambda size, piece=piece: _filled(
            size, piece, before=SMALL
        )
    for name, (head, piece) in _INSIDE.items():
        made[f"inside: {name}"] = lambda size, head=head, piece=piece: _filled(
            size, piece, before=SMALL + head
        )
        made[f"inside, closed: {name}"] = lambda size, head=head, piece=piece: _filled(
            size, piece, before=SMALL + head, behind="1)\n}\n"
        )
    for name, piece in _MANY.items():
        made[f"many {name}"] = lambda size, piece=piece: _numbered(size, piece, before=SMALL)
    made["indented blocks"] = _indented
    made["one line"] = lambda size: _numbered(
        size, "attack a# like go { steps = # }; ", before=SMALL
    )
    made["heirs of stages"] = lambda size: _heirs(
        size,
        "  stage s# { perturb = mid at first; limit = norm <= # }\n",
        "attack a# like base {}\n",
    )
    made["heirs of attributes"] = lambda size: _heirs(
        size, "  a# = 1\n", "attack a# like base {}\n"
    )
    made["heirs of a list"] = lambda size: _heirs(size, "", "attack a# like base { steps = # }\n").replace(
        "maximize = says\n", "maximize = says\n limit = norm <= [" + ", ".join(map(str, range(1, size // 17))) + "]\n"
    )[:size]  # fmt: skip
    made["uses of a large param"] = lambda size: _numbered(
        size,
        "attack a# like go { limit = p }\n",
        before=SMALL + "param p = [" + "1, " * (size // 10) + "1]\n",
    )
    made["uses of a long param"] = lambda size: _numbered(
        size,
        "attack a# like go { limit = p }\n",
        before=SMALL + f'param p = "{"a" * (size // 3)}"\n',
    )
    made["a column of one letter"] = lambda size: _filled(size, "\na")
    made["controls of heirs"] = lambda size: _heirs(
        size,
        "  stage s# { perturb = mid at first; limit = norm <= # }\n",
        "control c# { of = base; with = random_direction }\nexpect recovery_rate(c#) <= 5%\n",
    )
    return made


TEXTS = _texts()
"""Name to the function that makes the text of some size."""
