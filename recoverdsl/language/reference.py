"""The language reference, `docs/reference/`, made from the schema.

`python -m recoverdsl.language.reference FOLDER` writes it; `make generated` knows its place. The examples are those
of `examples.rec`, which uses everything that there is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from inspect import cleandoc
from pathlib import Path
from typing import Any

from recoverdsl.language import parse, schema
from recoverdsl.language.schema.descriptions import Option, metric, option, options, signature
from recoverdsl.language.schema.fields import flat, hints, keys
from recoverdsl.language.schema.vocabulary import EXAMPLES
from recoverdsl.language.syntax import nodes
from recoverdsl.language.syntax.printer import print_expression

_MADE = "<!-- Made by `make generated` from the schema: change that, not this page. -->\n\n"

_BLOCKS = """\
# Blocks and statements

A spec is a list of statements: the version first, then blocks in any order. A new line ends a statement, and so does `;`. Blocks refer to each other by name. `#` begins a comment.

Any block may be `like` another of its kind: it then says what that one says, and replaces what it says itself.

The tables say what a block takes. *Required* options have no default. Shares may be written with `%`. The last column names the section of the [paper](https://arxiv.org/abs/2606.18322) that defines a thing.
"""

_FUNCTIONS = """\
# Functions

A function is written as a call. Arguments may be given by name, `adam(lr = 0.1)`, or without, in their order. No function runs code that a spec brings. `…` in a signature is an argument that may be left out and has no value then.
"""

_EXPRESSIONS = """\
# Expressions

The values that an attribute takes beside a literal, a word, a name or a [function](functions.md). The grammar is [`recover.lark`](../../grammar/recover.lark).

## Numbers

`20`, `0.5`, `1e-3`, `-5.0`. A share is written with `%`: `5%` is 0.05. `+`, `-`, `*` and `/` calculate with numbers and with the names of [`param`](blocks.md#param)s, exactly: `0.1 + 0.2` is 0.3. A share and a plain number cannot be added. Texts stand in `"…"`; `true` and `false` are the truth values; a list is `[a, b]`.
"""

_METRICS = """\
# Metrics

What [`measure`](blocks.md#measure) reports and [`expect`](blocks.md#expect) speaks of. Every metric is computed in every run; `measure` says with what interval. Those that it does not name get the default one. A valid flip is an example whose behavior is there without the clamp and removed with it; see [exact semantics](../semantics.md#valid-flips).

S are the protected features, z_def what the SAE reads from the defended state, z_rec what it reads from the state with δ. Norms are Frobenius norms over all perturbed positions and sites of an example.
"""

_MARGINS = """\
Conditions on the next token are read at the last token of the prompt. A score follows from each, which an attack raises where the behavior gives none: the margin by which it holds, above 0 where it does and below 0 where it does not.

| condition | margin |
|:--|:--|
| `top_token == t` | logit of t − largest logit of another token |
| `rank(t) <= k` | logit of t − k-th largest logit of another token |
| `probability(t) >= p` | log-probability of t − log p |
| `most_likely(…) == t` | logit of t − largest logit of the others that are listed |
| `logit(t) > logit(u)` | left side − right side |
| `a and b`, `a or b` | the smaller, the larger of their margins |
| `not a` | the margin of a, negated |
"""

FORMS: Mapping[str, tuple[tuple[Any, ...], tuple[str, ...]]] = {
    "Sites": ((schema.Site,), ("layers", "input", "output")),
    "Token positions": ((schema.Positions,), ()),
    "Perturbations": ((schema.Perturbation,), ()),
    "Limits": ((schema.Limit,), ("norm",)),
    "Rows": ((schema.Rows,), ()),
    "Scores": ((schema.Score, schema.Term), ("logit", "logprob")),
    "Conditions": (
        (
            schema.TopToken,
            schema.Rank,
            schema.Probability,
            schema.MostLikely,
            schema.LogitComparison,
            schema.Comparison,
            schema.TextIs,
            schema.Detector,
        ),
        ("top_token", "rank", "probability", "most_likely", "score", "judge", "text"),
    ),
    "Clamp values": (
        (schema.SetTo, schema.ScaleBy, schema.MeanWhen),
        ("activation", "mean_when"),
    ),
    "Goals": (
        (schema.LogProb, schema.AnswerOf, schema.BehaviorOf),
        ("base_answer", "another_example"),
    ),
}
"""Section of the expressions page to the forms that it describes and the words that it explains."""

_ORDER = ("recoverdsl", "import", "audit", "param", "model", "sae", "data", "behavior", "protect", "intervene",
          "budget", "attack", "stage", "control", "attribute", "measure", "sweep", "expect")  # fmt: skip
"""The blocks and statements as they stand in a spec."""


def reference() -> dict[str, str]:
    """Return the pages, as Markdown, by their file names."""
    pages = {
        "blocks.md": _blocks, "functions.md": _functions, "expressions.md": _expressions, "metrics.md": _metrics,
    }  # fmt: skip
    return {name: _MADE + "".join(parts()) for name, parts in pages.items()}


@cache
def examples() -> str:
    """Return a valid spec that uses every block, function and metric word at least once."""
    return files("recoverdsl.language").joinpath("examples.rec").read_text(encoding="utf-8")


# --- Blocks -----------------------------------------------------------------------------------


def _blocks() -> Iterator[str]:
    yield _BLOCKS
    known = (*schema.STATEMENTS, *schema.BLOCKS)
    for word in (*_ORDER, *(word for word in known if word not in _ORDER)):
        cls = schema.BLOCKS.get(word)
        yield f"\n## {word}\n\n{cls.__doc__ if cls else schema.STATEMENTS[word]}\n"
        if cls:
            yield "\n" + _table(options(cls), "option")
        if word == "measure":
            yield f"\nOne line for each [metric](metrics.md); all others get the default interval, 95%. {_linked('`wilson(…)` is for rates, `bootstrap(…)` for the others.')}\n"
        if shown := _shown(word):
            yield f"\n```rec fragment of examples\n{shown}\n```\n"


def _shown(word: str) -> str:
    """Return the examples of a block or statement, each with the comment above it."""
    tree, text = _tree(), examples()
    parts = []
    for statement in tree.statements:
        if _word_of(statement) == word:
            lines = [c for c in tree.comments if c.span.line == statement.span.line - 1]
            start = lines[0].span.start if lines else statement.span.start
            parts.append(text[start : statement.span.end])
    # Stages are shown with their attack, expectations below each other.
    return ("\n" if word == "expect" else "\n\n").join(parts)


def _word_of(statement: nodes.Statement) -> str:
    if isinstance(statement, nodes.Block):
        return statement.kind.text
    name = type(statement).__name__.lower()
    return "recoverdsl" if name == "version" else name


@cache
def _tree() -> nodes.Tree:
    tree, mistakes = parse(examples())
    assert not mistakes, mistakes
    return tree


# --- Functions --------------------------------------------------------------------------------


def _functions() -> Iterator[str]:
    yield _FUNCTIONS
    for name, cls in sorted(schema.FUNCTIONS.items()):
        yield f"\n## {name}\n\n`{signature(name)}`\n\n{cls.__doc__}\n\n"
        yield f"For {', '.join(_uses(cls))}.\n\n"
        yield _table(options(cls), "argument")
        yield f"\n```rec inside\n{_call_of(name)}\n```\n"


def _uses(cls: type) -> Iterator[str]:
    """Return where a function may stand."""
    for kind, block in schema.BLOCKS.items():
        for key, a in keys(block).items():
            if cls in flat(hints(block)[a.name]):
                yield f"`{key}` of [`{kind}`](blocks.md#{kind})"
    for name, function in schema.FUNCTIONS.items():
        for key, a in keys(function).items():
            if cls in flat(hints(function)[a.name]):
                yield f"`{key}` of [`{name}`](#{name})"
    if cls in (schema.Wilson, schema.Bootstrap):
        yield "a metric in [`measure`](blocks.md#measure)"


def _call_of(name: str) -> str:
    """Return the example that a function is declared with, or the shortest attribute of the examples that calls it."""
    return EXAMPLES.get(name) or min(
        (
            f"{print_expression(one.key)} = {print_expression(one.value)}"
            for one in _attributes(_tree().statements)
            if re.search(rf"\b{name}\(", print_expression(one.value))
        ),
        key=len,
    )


def _attributes(statements: Iterable[nodes.Statement]) -> Iterator[nodes.Attribute]:
    for statement in statements:
        if isinstance(statement, nodes.Attribute):
            yield statement
        elif isinstance(statement, nodes.Block) and statement.kind.text != "sweep":
            yield from _attributes(statement.body)


# --- Expressions ------------------------------------------------------------------------------


def _expressions() -> Iterator[str]:
    yield _EXPRESSIONS
    known = {**schema.WORDS, **schema.CALLS, **schema.PLACES}
    for title, (forms, words) in FORMS.items():
        yield f"\n## {title}\n"
        for form in forms:
            yield f"\n{cleandoc(form.__doc__)}\n"
        if title == "Token positions":
            yield "\n| word | in a clamp | in a perturbation |\n|:--|:--|:--|\n"
            for word, where in schema.POSITIONS.items():
                yield f"| `{word}` | {where.clamped or 'not allowed'} | {where.perturbed or 'not allowed'} |\n"
        if title == "Conditions":
            yield f"\n{_MARGINS}\n\nConditions are joined by `and`, `or` and `not`; `and` binds before `or`, and `!=` is `not` with `==`. The detectors:\n\n"
            for word, doc in schema.DETECTORS.items():
                yield f"- `{word}`: {doc}\n"
            yield "\nThe words that are compared:\n"
        if words:
            yield "\n| word | meaning | as in |\n|:--|:--|:--|\n"
            for word in words:
                yield f"| `{word}` | {known[word].doc} | `{known[word].example}` |\n"
        if title == "Goals":
            yield "\n" + _table([option(schema.LogProb, "tokens")], "argument of `logprob`")


# --- Metrics ----------------------------------------------------------------------------------


def _metrics() -> Iterator[str]:
    yield _METRICS
    for name in schema.METRICS:
        said = metric(name).partition("\n\n")[2]
        yield f"\n## {name}\n\n{_linked(said)}\n"


# --- What several pages do ----------------------------------------------------------------------


def _table(rows: list[Option], what: str) -> str:
    """Return what a block or function takes, one row each."""
    parts = [f"| {what} | value | default | meaning |\n|:--|:--|:--|:--|\n"]
    for row in rows:
        value = _linked(row.type)
        if row.unit:
            value += f"; {'a share' if row.unit == 'fraction' else row.unit}"
        if row.range:
            value += f"; {row.range}"
        default = "*required*" if row.required else f"`{row.default}`" if row.default else ""
        doc = row.doc + (f" Paper: {row.source}." if row.source else "")
        cells = (f"`{row.key}`", value, default, doc)
        parts.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n")
    return "".join(parts)


def _linked(text: str) -> str:
    """Return a text with its functions and forms linked to their descriptions."""
    text = re.sub(
        r"`(\w+)\(…\)`",
        lambda m: f"[{m[0]}](functions.md#{m[1]})" if m[1] in schema.FUNCTIONS else m[0],
        text,
    )
    return re.sub(r"the name of an? `(\w+)` block", r"the name of a [`\1`](blocks.md#\1)", text)


def write(folder: Path) -> None:
    """Write the pages."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in reference().items():
        (folder / name).write_text(page, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
