"""Specs drawn by Hypothesis: by the grammar, which parse, and by the schema, which also check."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

import attrs
from hypothesis import strategies as st
from hypothesis.extra.lark import from_lark
from lark import Lark

from recoverdsl.language import schema
from recoverdsl.language.schema.fields import alternatives, hints, keys
from recoverdsl.language.syntax.grammar import grammar
from recoverdsl.language.syntax.printer import quote

# --- By the grammar -----------------------------------------------------------------------------

NAMES = ["mid", "score", "a1", "été", "layers", "steps"]
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=5).map(quote)
NUMBERS = st.one_of(
    st.integers(0, 99).map(str), st.sampled_from(["1.5", "2e3", "95%", "0.5e-2", "007"])
)


def grammatical() -> st.SearchStrategy[str]:
    """Texts that the grammar derives, from its own rules."""
    # What cannot be read is a rule as well, for the parser's use.
    rules = re.sub(r"(?m)^broken:.*$|^BROKEN.*$| \| broken$", "", grammar())
    lark = Lark(rules, start="file", parser="lalr")
    words = {t.name: t.pattern.value for t in lark.terminals if t.pattern.type == "str"}
    apart = {name: st.just(f" {word} ") for name, word in words.items() if word.isidentifier()}
    return from_lark(
        lark,
        start="file",
        explicit={
            **apart,
            "NAME": st.sampled_from(NAMES).map(" {} ".format),
            "NUMBER": NUMBERS.map(" {} ".format),
            "STRING": TEXTS,
            "NEWLINE": st.just("\n"),
            "MINUS": st.just(" - "),
            "DOT": st.just("."),
            "COMMENT": st.just(" "),
            "SPACE": st.sampled_from([" ", "\t", "  "]),
            "PLUS": st.just(" + "),
        },
    )


# --- By the schema ------------------------------------------------------------------------------

HEX40, HEX64 = "12fd25f77366fa6b3b4b768ec3050bf629380bac", "0123456789abcdef" * 4
COUNTS = {
    "model": 1, "sae": 2, "data": 2, "behavior": 3, "protect": 2, "intervene": 1, "budget": 1,
    "attack": 3, "control": 2, "attribute": 1,
}  # fmt: skip
"""How many blocks of each kind at most."""

Names = Mapping[str, list[str]]


class Draw:
    """Draws the blocks of one spec. Values are read off the annotations of the schema's classes."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw
        self.names = {
            kind: [f"{kind}_{i}" for i in range(draw(st.integers(1, most)))]
            for kind, most in COUNTS.items()
        }
        self.names["attribute"] = []
        self.suffixes: set[str] = set()
        self.answering: set[str] = set()
        self.searching: set[str] = set()
        self.limits: dict[str, list[int]] = {}
        self.extra = ""

    def one(self, *choices: Any) -> Any:
        """One of several things."""
        return self.draw(st.sampled_from(choices))

    def spec(self) -> str:
        """A whole spec, its blocks in any order."""
        blocks = [self.block(kind, name) for kind in COUNTS for name in self.names[kind]]
        perturbing = [name for name in self.names["attack"] if name not in self.suffixes]
        if perturbing and self.draw(st.booleans()):
            blocks.append(self.block("attribute", perturbing[0]))
        blocks += self.measures() + self.expectations()
        blocks.append('data ranking { from = file("ranking.jsonl"); split = 50% }\n')
        blocks.append("data rest like ranking { split = rest_of(ranking) }\n")
        return "recoverdsl 1\n" + "".join(self.draw(st.permutations(blocks)))

    def block(self, kind: str, name: str) -> str:
        """One block, with what it needs and some of what it may have."""
        cls = schema.BLOCKS[kind]
        given = getattr(self, f"_{kind}", lambda name: {})(name)
        lines = []
        for key, a in keys(cls).items():
            if key in given and key != "stage":
                lines += [f"  {key} = {given[key]}\n"] if given[key] is not None else []
            elif key != "stage" and (a.default is attrs.NOTHING or self.draw(st.booleans())):
                value = self.value(hints(cls)[a.name], a.metadata)
                lines.append(f"  {key} = {value}\n")
        lines += given.get("stage", [])
        return f"{kind} {name} {{\n{''.join(self.draw(st.permutations(lines)))}}}\n"

    # --- Values -------------------------------------------------------------------------------

    def value(self, annotation: Any, meta: Mapping[str, Any]) -> str:
        """A value of the annotated type."""
        one = self.one(*alternatives(annotation))
        if one in FORMS:
            return FORMS[one](self)
        if one in schema.FUNCTIONS.values():
            return self.call(one)
        if get_origin(one) is Annotated:
            kinds = one.__metadata__[0].kinds
            return str(self.one(*[name for kind in kinds for name in self.names[kind]]))
        if get_origin(one) is Literal:
            return str(self.one(*get_args(one)))
        if get_origin(one) is tuple:
            items = [self.value(get_args(one)[0], meta) for _ in range(self.one(1, 2))]
            return (
                items[0]
                if len(items) == 1 and self.draw(st.booleans())
                else f"[{', '.join(items)}]"
            )
        if one is bool:
            return str(self.one("true", "false"))
        if one is str:
            return quote(self.draw(st.text('abc é{\\"', max_size=4)))
        return self.number(one, meta)

    def number(self, kind: type, meta: Mapping[str, Any]) -> str:
        low, high = meta.get("at_least"), meta.get("at_most")
        if meta.get("unit") == "fraction":
            return str(self.one("5%", "0.1", "1e-2", "10% / 2", "20 / 100"))
        low = 1 if low is None else int(low)
        number = self.draw(st.integers(low, int(high) if high is not None else low + 200))
        return str(
            number if kind is int else self.one(f"{number}", f"{number}.5", f"2 * {number + 1}")
        )

    def call(self, cls: type) -> str:
        """A function's call, its arguments by name but for the first."""
        name = next(name for name, known in schema.FUNCTIONS.items() if known is cls)
        given = CALLS.get(cls, {})
        arguments = []
        for i, (key, a) in enumerate(keys(cls).items()):
            if a.default is attrs.NOTHING or key in given or self.draw(st.booleans()):
                value = given.get(key) or self.value(hints(cls)[a.name], a.metadata)
                tight = get_origin(hints(cls)[a.name]) is tuple
                if tight:
                    value = value.strip("[]")
                arguments.append(value if i == 0 else f"{key} = {value}")
        return f"{name}({', '.join(arguments)})"

    # --- What the rules of meaning ask of each block ------------------------------------------

    def _model(self, name: str) -> dict[str, Any]:
        return {"sha256": quote(HEX64)}

    def _sae(self, name: str) -> dict[str, Any]:
        return {"sha256": self.one(None, quote(HEX64))}

    def _behavior(self, name: str) -> dict[str, Any]:
        generates = name != "behavior_0" and self.draw(st.booleans())
        if not generates:
            score = FORMS[schema.Score](self)
            holds = self.predicate(["score"])
            removed = self.one(None, self.predicate(["score"]))
            return {"score": score, "generate": None, "phrases": None, "judge": None, "holds": holds, "removed": removed}  # fmt: skip
        self.answering.add(name)
        judge = self.one(None, self.call(schema.Classifier))
        known = ["refuses", "opens_with_safety_cue"] + ["judge"] * (judge is not None)
        return {
            "score": None, "generate": self.call(schema.Greedy), "judge": judge,
            "holds": self.predicate(known), "removed": self.one(None, self.predicate(known)),
        }  # fmt: skip

    def predicate(self, known: list[str], deep: int = 2) -> str:
        kind = self.one("leaf", "leaf", "not", "and", "or") if deep else "leaf"
        if kind == "not":
            return f"not ({self.predicate(known, deep - 1)})"
        if kind in ("and", "or"):
            left, right = (self.predicate(known, deep - 1) for _ in range(2))
            return f"({left}) {kind} ({right})"
        word = self.one(*known)
        if word == "score" and self.draw(st.booleans()):
            return str(self.one(*NEXT_TOKEN))
        if word == "refuses" and self.draw(st.booleans()):
            return str(self.one('text == "{answer}"', 'text != ""'))
        if word in ("score", "judge"):
            return f"{word} {self.one('<', '<=', '>', '>=')} {self.one('0.5', '20%' if word == 'judge' else '-3')}"
        return str(word)

    def _protect(self, name: str) -> dict[str, Any]:
        saes = self.names["sae"]
        if self.draw(st.booleans()):
            return {
                "select": f"top({self.one(1, 5)}, by = {self.ranking()}, each = {self.one('true', 'false')})"
            }
        parts = [f"features({', '.join(map(str, self.draw(st.lists(st.integers(0, 99), min_size=1, max_size=3))))}, of = {sae})" for sae in saes]  # fmt: skip
        return {"in": f"[{', '.join(saes)}]", "select": f"[{', '.join(parts)}]"}

    def ranking(self) -> str:
        # The first behavior has a score.
        return str(self.one(CALLS[schema.Top]["by"], self.call(schema.Contrast)))

    def _data(self, name: str) -> dict[str, Any]:
        split = self.one(None, "50%", "1 / 4")
        return {"split": split, "seed": self.one(None, "3") if split else None}

    def _intervene(self, name: str) -> dict[str, Any]:
        return {"at": self.positions("every_token", "first", "last_token", "generated")}

    def positions(self, *words: str) -> str:
        some = self.draw(st.lists(st.sampled_from(words), min_size=1, max_size=2, unique=True))
        listed = some[0] if len(some) == 1 else f"[{', '.join(some)}]"
        return f"{listed} except first" if self.draw(st.booleans()) else listed

    def perturbation(self) -> str:
        place = self.one(*self.names["sae"], FORMS[schema.Site](self))
        return f"{place} at {self.positions('every_token', 'last_token', 'target_tokens', 'every_generated_token')}"

    def _budget(self, name: str) -> dict[str, Any]:
        return {"limit": FORMS[schema.Limit](self)}

    def _attack(self, name: str) -> dict[str, Any]:
        answers = bool(self.answering) and self.draw(st.booleans())
        maximize = "logprob(base_answer)" if answers else "behavior_0"
        mode = self.one("perturb", "perturb", "stages", "soft_suffix", "token_suffix")
        given: dict[str, Any] = {
            "maximize": maximize, "perturb": None, "soft_suffix": None, "token_suffix": None,
            "limit": None, "find": None, "keep": None, "budget": None,
        }  # fmt: skip
        if mode == "perturb":
            given["perturb"] = self.perturbation()
            norms = sorted(self.draw(st.sets(st.integers(1, 40), min_size=1, max_size=3)))
            given["limit"] = f"norm <= {norms}" if len(norms) > 1 else f"norm <= {norms[0]}"
            given["find"] = self.one(None, self.call(schema.SmallestNorm))
            self.limits[name] = norms
            if given["find"]:
                self.searching.add(name)
        elif mode == "stages":
            given["steps"] = given["forward_passes"] = None
            given["stage"] = [
                f"  stage s{i} {{ perturb = {self.perturbation()}; limit = norm <= {self.one(3, 5)} }}\n"
                for i in range(self.one(1, 2))
            ]
        else:
            self.suffixes.add(name)
            given["preserve"] = given["restarts"] = None
            given[mode] = "8" if mode == "soft_suffix" else self.call(schema.Gcg)
            given["keep"] = self.one(None, "0.5")
            if mode == "soft_suffix":
                given["with"] = self.call(self.one(schema.Adam, schema.Gradient))
            else:
                given["with"] = None
        return given

    def _control(self, name: str) -> dict[str, Any]:
        perturbing = [n for n in self.names["attack"] if n not in self.suffixes]
        if not perturbing:
            # Without an attack that adds δ there is nothing to control.
            self.names["attack"].append("plain")
            self.limits["plain"] = [20]
            perturbing = ["plain"]
            self.extra = "attack plain { perturb = sae_0 at last_token; maximize = behavior_0; limit = norm <= 20 }\n"
        return {"of": perturbing[0], "with": "random_direction", "target": None, "on": None}

    def measures(self) -> list[str]:
        known = [n for n, m in schema.METRICS.items() if not m.generated or self.answering]
        some = self.draw(st.lists(st.sampled_from(known), max_size=4, unique=True))
        lines = [
            f"  {n} = {self.call(schema.Wilson if schema.METRICS[n].rate else schema.Bootstrap)}\n"
            for n in some
        ]
        return [f"measure {{\n{''.join(lines)}}}\n", self.extra]

    def expectations(self) -> list[str]:
        made = []
        for name in self.draw(st.lists(st.sampled_from(self.names["attack"]), max_size=2)):
            norm = f", norm = {self.limits[name][0]}" if name in self.limits else ""
            made.append(
                f"expect recovery_rate({name}{norm}) <= {self.one('5%', '0.5')}{self.one('', ' by estimate')}\n"
            )
            if name in self.searching:
                made.append(f"expect smallest_norm({name}) > 3\n")
        return made


CALLS: dict[type, dict[str, str]] = {
    schema.PyPI: {"requirement": '"a-b==1.0"'}, schema.HuggingFace: {"revision": quote(HEX40)},
    schema.Top: {"by": "attribution(behavior_0, over = ranking)"}, schema.Attribution: {"behavior": "behavior_0", "over": "ranking"},
    schema.Contrast: {"texts": "ranking", "against": "ranking"},
    schema.Adam: {"lr": "0.1"}, schema.Gradient: {"lr": "2.5"},
}  # fmt: skip
"""Arguments that the rules of meaning ask for."""

NEXT_TOKEN = (
    'top_token == " {io}"', 'top_token != "a"', 'rank(" {io}") <= 3', 'rank("a") > 1', 'probability("{io}") >= 50%',
    'most_likely("A", "B") == "{gold}"', 'logit("a") > logit("b") + 2 * logprob("c")', '-logprob("a") / 2 < 1.5',
)  # fmt: skip
"""Conditions on the next token."""

FORMS: dict[Any, Callable[[Draw], str]] = {
    schema.Site: lambda d: f"model_0.layers[{d.one('0', '14', '2 * 3', '30 / 2')}].{d.one('input', 'output')}",
    schema.Positions: lambda d: d.positions("every_token", "first", "last_token"),
    schema.Perturbation: lambda d: d.perturbation(),
    schema.Limit: lambda d: d.one("norm <= 20", "norm <= [1, 2.5, 10]", "norm <= 40 / 2"),
    schema.Rows: lambda d: d.one("0..0", "1 - 1..0"),
    schema.Score: lambda d: d.one(
        'logit(" {io}") at last_token', '2 * (logit("a") - logprob("{b}") / 4) at last_token', '-logit("{{") + logit("x") at first'
    ),
    schema.Predicate: lambda d: d.predicate(["score"]),
    schema.ClampValue: lambda d: d.one("-5.0", "0", "2 * activation", "-activation", "1.5 * mean_when(data_0)"),
    schema.LogProb: lambda d: "logprob(base_answer)",
    schema.BehaviorOf: lambda d: "behavior_0 of another_example",
    schema.AnswerOf: lambda d: "base_answer of another_example",
}  # fmt: skip


@st.composite
def checked(draw: Callable[[st.SearchStrategy[Any]], Any]) -> str:
    """Specs without a mistake."""
    return Draw(draw).spec()
