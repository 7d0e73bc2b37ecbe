"""Parsing and printing: the same tree, a layout that stays, comments that survive."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recoverdsl.errors import SpecError
from recoverdsl.language import check, effective_text, format_text, parse
from recoverdsl.language.syntax.printer import print_expression
from tests.language.texts import FULL, IOI, SMALL

IDENTITY = """
1
1e-3
95%
-5.0
- -5
"a \\"quoted\\" word\\n"
true
mid
smollm2.layers[2 * layer - 2].output
adam(lr = 0.1)
top(10, by = contrast("x", against = answers))
[a, b]
[]
a + b * c - d / e
(a + b) * c
a - (b - c)
a / (b / c)
-(a + b)
(-a) * b
not refuses and not long or a < b
not (a or b)
(a or b) and c
a and (b and c)
mid at every_token except first
(a at b) at c
(a < b) < c
[a, b] except first
base_answer of another_example
[features(12, 480, of = early), features(7, of = late)]
classifier(from = folder("x"), label = "harmful", prompt = true)
logprob(base_answer, tokens = 8)
judge > 0.5 and not refuses
(0..29) + 1
norm <= [1, 2]
logit(" {io}") - logit(" {s}") at last_token
"""


def expression(text: str) -> object:
    tree, diagnostics = parse(f"x = {text}\n")
    assert not diagnostics
    (statement,) = tree.statements
    return statement.value


@pytest.mark.parametrize("line", IDENTITY.strip().split("\n"))
def test_expressions_come_back_as_they_were(line: str) -> None:
    canonical = {"- -5": "--5", "(-a) * b": "-a * b"}.get(line, line)
    assert print_expression(expression(line)) == canonical
    assert expression(canonical) == expression(line)


names = st.sampled_from(["mid", "score", "a1", "été", "layers"])
leaves = st.one_of(
    names,
    st.integers(0, 99).map(str),
    st.sampled_from(["1.5", "2e3", "95%", "true", "false"]),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=5).map(
        lambda t: '"' + t.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    ),
)
OPERATORS = ["+", "-", "*", "/", "<=", "==", "and", "or", "at", "except", "of", ".."]


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({}) {} ({})".format, inner, st.sampled_from(OPERATORS), inner),
        st.builds("-({})".format, inner),
        st.builds("not ({})".format, inner),
        st.builds("{}({}, of = {})".format, names, inner, inner),
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.builds("{}.x[{}]".format, names, inner),
    )


expressions = st.recursive(leaves, larger, max_leaves=8)
above = st.sampled_from(["", "# above\n", "\n\n"])
comments = st.sampled_from(["", "  # why", "\n# on its own\n", "\n\n"])
attributes = st.builds("{} = {}{}\n".format, names, expressions, comments)
bodies = st.lists(attributes, max_size=3).map("".join)
blocks = st.builds("{}{} {} {{{}\n{}}}{}\n".format, above, names, names, comments, bodies, comments)
specs = st.lists(
    st.one_of(blocks, st.builds("expect {}{}\n".format, expressions, comments)), max_size=4
)


@settings(max_examples=60, deadline=None)
@given(specs.map("".join))
def test_printing_keeps_the_tree_and_the_comments(text: str) -> None:
    tree, diagnostics = parse(text)
    assert not diagnostics
    printed = format_text(text)
    again, _ = parse(printed)
    assert again.statements == tree.statements
    assert [c.text for c in again.comments] == [c.text for c in tree.comments]
    assert format_text(printed) == printed


@pytest.mark.parametrize("text", [IOI, FULL, SMALL], ids=["ioi", "full", "small"])
def test_real_specs_come_back(text: str) -> None:
    printed = format_text(text)
    assert parse(printed)[0].statements == parse(text)[0].statements
    assert format_text(printed) == printed
    assert check(printed).spec == check(text).spec


def test_what_is_set_is_written_into_the_text() -> None:
    overrides = {
        "picked.select": "features(1, of = late), features(2, of = early)",
        "answers.removed": "refuses or opens_with_safety_cue",
        "opening.maximize": "logprob(base_answer, tokens = 3)",
        "real_suffix.token_suffix": "gcg(5)",
    }
    checked = check(FULL, overrides=overrides)
    assert checked.spec is not None
    text = effective_text(check(FULL), overrides)
    assert check(text).spec == checked.spec != check(FULL).spec


def test_layout() -> None:
    untidy = (
        'recoverdsl   1 ;audit "x"   # said\n\n\n\n# above\nattack  a like b{ # head\n'
        "steps=5;stop =never # end\n\n\n  stage one{limit=norm<=1;  steps = 3}\n # last\n}   \n# bye"
    )
    assert format_text(untidy) == (
        'recoverdsl 1\naudit "x"  # said\n\n# above\nattack a like b {  # head\n'
        "  steps = 5\n  stop  = never  # end\n\n  stage one { limit = norm <= 1; steps = 3 }\n"
        "  # last\n}\n# bye\n"
    )


def test_long_calls_are_broken_up_and_comments_inside_them_stay() -> None:
    text = 'data d {\n  from = file(\n    "' + "x" * 100 + '", # why\n  )\n}\n'
    assert format_text(text) == (
        'data d {\n  from = file(\n    "' + "x" * 100 + '",  # why\n  )\n}\n'
    )


def test_what_cannot_be_read_is_not_formatted() -> None:
    with pytest.raises(SpecError):
        format_text("attack a {\n  steps = = 3\n}\n")


pieces = st.sampled_from(
    ["attack", " ", "\n", "{", "}", "(", ")", "[", "]", "=", ",", ";", '"', "\\", "#", "..", ".", "%",
     "5", "mid", "like", "stage", "in", "at", "not", "-", "<=", "\0", "é", "\r", "\ufeff", "recoverdsl 1\n",
     "param x = 1\n", "expect drift(go)", "sweep s { go.steps = [1, 2] }", "measure {", "limit = norm <= 2"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(pieces, max_size=25).map("".join)))
def test_no_text_makes_the_checker_raise(text: str) -> None:
    checked = check(text)
    assert (checked.spec is None) == bool(checked.errors)
    check(SMALL + text)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(FULL) - 1), pieces, st.integers(0, 5))
def test_no_edit_makes_the_checker_raise(at: int, piece: str, gone: int) -> None:
    checked = check(FULL[:at] + piece + FULL[at + gone :])
    assert (checked.spec is None) == bool(checked.errors)


@given(st.binary(max_size=50))
@settings(max_examples=40, deadline=None)
def test_no_bytes_make_the_checker_raise(data: bytes) -> None:
    assert check(b"recoverdsl 1\n" + data).tree is not None
