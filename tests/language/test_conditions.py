"""Conditions on the next token and on a text: how they are read, and what is said of mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from recoverdsl.language import check, format_text, schema
from recoverdsl.language.diagnostics import Diagnostic, apply_edits
from recoverdsl.language.schema import (
    And,
    Comparison,
    LogitComparison,
    MostLikely,
    Not,
    Or,
    Probability,
    Rank,
    Term,
    TextIs,
    TopToken,
)
from tests.language.fixing import unfixed
from tests.language.texts import SMALL


def spec_with(holds: str, more: str = "") -> str:
    return SMALL + f"behavior b {{ {more}holds = {holds} }}\n"


def mistakes(text: str) -> list[Diagnostic]:
    """Return what is said of a spec, apart from that nothing uses a behavior."""
    return [d for d in check(text).diagnostics if d.code != "REC421"]


def read(holds: str, more: str = "") -> Any:
    spec = check(spec_with(holds, more)).spec
    assert spec is not None, check(spec_with(holds, more)).diagnostics
    return spec.behaviors["b"].holds


IO, S = Term(1, "logit", " {io}"), Term(-1, "logit", " {s}")


@pytest.mark.parametrize(
    ("holds", "expected"),
    [
        ('top_token == " {io}"', TopToken(" {io}")),
        ('top_token != " {io}"', Not(TopToken(" {io}"))),
        ('rank(" {io}") <= 3', Rank(" {io}", "<=", 3)),
        ('rank(" {io}") > 1 + 1', Rank(" {io}", ">", 2)),
        ('probability(" {io}") >= 50%', Probability(" {io}", ">=", 0.5)),
        ('probability(" {io}") < 0.1', Probability(" {io}", "<", 0.1)),
        ('most_likely("A", "B") == "{gold}"', MostLikely(("A", "B"), "{gold}")),
        ('most_likely("{a}", "{b}") != "A"', Not(MostLikely(("{a}", "{b}"), "A"))),
        ('logit(" {io}") > logit(" {s}")', LogitComparison((IO, S), ">")),
        ('logit(" {io}") >= 2', LogitComparison((IO,), ">=", 2.0)),
        ('3 < logit(" {io}") - logit(" {s}")', LogitComparison((Term(-1, "logit", " {io}"), Term(1, "logit", " {s}")), "<", -3.0)),
        ('2 * logprob("a") <= -1 / 2', LogitComparison((Term(2, "logprob", "a"),), "<=", -0.5)),
        ('top_token == "a" and not rank("b") < 4', And((TopToken("a"), Not(Rank("b", "<", 4))))),
        ('(top_token == "a") or top_token == "b"', Or((TopToken("a"), TopToken("b")))),
    ],
)  # fmt: skip
def test_conditions_on_the_next_token(holds: str, expected: schema.Predicate) -> None:
    assert read(holds) == expected


def test_conditions_on_a_text() -> None:
    generate = "generate = greedy(4); "
    assert read('text == "{answer}"', generate) == TextIs("{answer}")
    assert read('text != ""', generate) == Not(TextIs(""))


def test_a_score_and_another_condition_stand_side_by_side() -> None:
    spec = check(spec_with('top_token == "a" and score > 0', 'score = logit("a") at last_token; ')).spec  # fmt: skip
    assert spec is not None
    assert spec.behaviors["b"].holds == And((TopToken("a"), Comparison("score", ">", 0.0)))


def test_a_behavior_without_a_score_can_be_maximized_and_attributed() -> None:
    text = spec_with('top_token == " {io}"') + (
        "attack raise like go { maximize = b }\n"
        'data others { from = file("others.jsonl") }\n'
        "protect first { in = mid; select = top(3, by = attribution(b, over = others)) }\n"
    )
    assert check(text).diagnostics == ()


FIXED = [
    ('" {io}" == top_token', "REC301", 'top_token == " {io}"'),
    ('3 >= rank(" {io}")', "REC301", 'rank(" {io}") <= 3'),
    ('rank(" {io}") == 1', "REC301", 'rank(" {io}") <= 1'),
    ("top_token == Mary", "REC301", 'top_token == "Mary"'),
    ("rank(Mary) <= 3", "REC301", 'rank("Mary") <= 3'),
    ('probability(" {io}") >= 50', "REC302", 'probability(" {io}") >= 50%'),
    ('rank(" {io}") <= 3%', "REC303", 'rank(" {io}") <= 3'),
    ('logit("a") > 3%', "REC303", 'logit("a") > 3'),
    ('logit("a") > logit("b") at last_token', "REC301", 'logit("a") > logit("b")'),
    ('top_token == " {io}" at last_token', "REC301", 'top_token == " {io}"'),
    ('(top_token == " {io}") at last_token', "REC301", '(top_token == " {io}")'),
    ('most_likely(A, "B") == "A"', "REC301", 'most_likely("A", "B") == "A"'),
    ('top_tokn == " {io}"', "REC301", None),
    ('ranks(" {io}") <= 3', "REC301", None),
    ('probabilty(" {io}")', "REC203", None),
]


@pytest.mark.parametrize(("holds", "code", "fixed"), FIXED)
def test_a_mistake_with_a_fix(holds: str, code: str, fixed: str | None) -> None:
    text = spec_with(holds)
    (found,) = mistakes(text)
    assert found.code == code
    assert found.fix or fixed is None
    if fixed is not None:
        after = apply_edits(text, found.fix)
        assert f"holds = {fixed} }}" in after
        assert mistakes(after) == []
    assert unfixed(text) == []


@pytest.mark.parametrize(
    ("holds", "code", "message"),
    [
        ("top_token == 3", "REC301", "`top_token` is compared with a token, as a text in quotes"),
        ('top_token > " {io}"', "REC301", "`top_token` is compared by `==` or `!=`"),
        ("top_token", "REC211", "there is no detector `top_token`"),
        ('top_token == ""', "REC310", "expected a token with columns of the data in braces"),
        ('top_token == "{i o}"', "REC310", "expected a token with columns of the data in braces"),
        ('rank(" {io}")', "REC301", "`rank(…)` alone is no condition"),
        ('rank(" {io}") <= 0', "REC302", "this never holds: a rank is at least 1"),
        ('rank(" {io}") < 1', "REC302", "this never holds: a rank is at least 1"),
        ('rank(" {io}") >= 1', "REC302", "this always holds: a rank is at least 1"),
        ('rank(" {io}") > 0', "REC302", "this always holds: a rank is at least 1"),
        ('rank(" {io}") <= 2.5', "REC301", "`rank` needs a whole number"),
        ('rank(" {io}") == 2', "REC301", "`rank` is compared by `<`, `<=`, `>` or `>=`"),
        ('rank("a") < rank("b")', "REC301", "`rank` is compared with a number"),
        ('rank("a", "b") <= 2', "REC301", "`rank` needs one token, as a text in quotes"),
        ('probability(" {io}") > 150%', "REC302", "`probability` must be at most 1"),
        ('probability(" {io}") >= 100%', "REC302", "`probability` must be below 100%"),
        ('probability(" {io}") > 0', "REC302", "`probability` must be above 0"),
        ('probability("a") == 50%', "REC301", "`probability` is compared by `<`, `<=`, `>` or `>=`"),
        ('probability("a") > probability("b")', "REC301", "`probability` is compared with a number"),
        ('most_likely("A") == "A"', "REC301", "`most_likely` needs two tokens or more, as texts in quotes"),
        ('most_likely("A", "B", "A") == "A"', "REC208", '`"A"` is given twice'),
        ('most_likely("A", "B") == "C"', "REC211", '"C" is not among the tokens of `most_likely`'),
        ('most_likely("A", "B") == 1', "REC301", "`most_likely` is compared with one of its tokens, as a text in quotes"),
        ('most_likely("A", "B") > "A"', "REC301", "`most_likely` is compared by `==` or `!=`"),
        ('logit("a") == logit("b")', "REC301", "two sums of logits are compared by `<`, `<=`, `>` or `>=`"),
        ('logit("a") > logit("b") + 2', "REC301", 'a score is a sum of `logit("…")` and `logprob("…")`'),
        ('logit("a")', "REC301", "`logit(…)` alone is no condition"),
        ('text == "yes"', "REC408", "`holds` judges a text that this behavior does not generate"),
        ("text == refuses(3)", "REC301", "`text` is compared with a text, as a text in quotes"),
        ('text < "b"', "REC301", "`text` is compared by `==` or `!=`"),
        ("score != 0", "REC301", "expected a condition"),
        ("mid > 0", "REC301", "this cannot be compared in a condition"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_once_with_help(holds: str, code: str, message: str) -> None:
    text = spec_with(holds, 'score = logit("x") at last_token; ')
    (found,) = mistakes(text)
    assert (found.code, found.message) == (code, message)
    assert found.help
    assert unfixed(text) == []


def test_the_formatter_writes_conditions_in_one_way() -> None:
    text = spec_with('top_token!=" {io}"  and ( rank( " {io}" )<=3 )', "")
    assert "top_token != \" {io}\" and rank(\" {io}\") <= 3" in format_text(text)  # fmt: skip


def test_a_figure_of_the_next_token_needs_a_behavior_that_reads_it() -> None:
    text = spec_with("refuses", "generate = greedy(4); ")
    assert mistakes(text + "expect target_rank(go) <= 3\n") == []
    lines = [line for line in text.splitlines() if not line.startswith(("behavior says", "attack go"))]  # fmt: skip
    only = "\n".join([*lines, "attack go { perturb = mid at last_token; maximize = logprob(base_answer); limit = norm <= 20 }", "expect target_rank(go) <= 3\n"])  # fmt: skip
    (found,) = mistakes(only)
    assert found.code == "REC407"
    assert unfixed(only) == []


def test_a_behavior_that_nothing_uses_is_warned_of() -> None:
    text = spec_with('top_token == "a"')
    assert [d.code for d in check(text).diagnostics] == ["REC421"]
    for use in (
        "attack more like go { maximize = b }\n",
        'data others { from = file("others.jsonl") }\n'
        "protect first { in = mid; select = top(3, by = attribution(b, over = others)) }\n",
        "sweep both { go.maximize = [says, b] }\n",
    ):
        assert check(text + use).diagnostics == ()
    # Without an attack, both are tested.
    assert check(text[: text.index("attack")] + text[text.index("behavior b") :]).diagnostics == ()
