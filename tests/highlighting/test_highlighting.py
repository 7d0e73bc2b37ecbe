"""Highlighting: every token of the language has a role, and all lexers agree."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pygments.token import Error

from recoverdsl.highlighting import textmate
from recoverdsl.highlighting.lexer import TOKENS, RecLexer
from recoverdsl.highlighting.roles import LITERALS, SHAPES, Role, stretches
from recoverdsl.language import beside, check
from recoverdsl.language.syntax import nodes
from recoverdsl.language.syntax.grammar import lexed, terminals
from tests.highlighting.textmate import stretches as textmate_stretches
from tests.language.test_roundtrip import pieces
from tests.language.texts import FULL, IOI, SMALL

ROOT = Path(__file__).parents[2]
GRAMMAR = ROOT / "editors/vscode/syntaxes/recoverdsl.tmLanguage.json"
SPECS = {path.stem: path.read_text("utf-8") for path in sorted((ROOT / "specs").glob("*.rec"))}
TEXTS = {"full": FULL, "ioi of the tests": IOI, "small": SMALL, **SPECS}

READ = beside(ROOT / "specs/some.rec")
"""Reads the files that shipped specs import."""

by_name = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
anything = st.one_of(
    st.text(), st.lists(pieces).map("".join), st.sampled_from(list(TEXTS.values()))
)


# --- Roles ------------------------------------------------------------------------------------


def test_every_terminal_of_the_grammar_has_a_role_and_every_role_a_terminal() -> None:
    patterns = terminals()
    assert SHAPES.keys() <= patterns.keys()
    literals = {pattern for name, pattern in patterns.items() if name not in SHAPES}
    assert literals == {re.escape(text) for text in LITERALS}


@by_name
def test_every_token_of_a_spec_has_the_role_of_its_terminal(text: str) -> None:
    roles = {start: role for role, start, _ in stretches(text)}
    tokens = [token for token in lexed(text) if SHAPES.get(token.type) is not Role.SPACE]
    for token, after in pairwise(tokens):
        # Before an equals sign a word of the language is a name like any other.
        if token.value in LITERALS and after != "=":
            assert roles[token.start_pos] == LITERALS[token.value]
        elif token.type in SHAPES.keys() - {"NAME"}:
            assert roles[token.start_pos] == SHAPES[token.type]


@by_name
def test_every_name_is_one_that_the_spec_defines_or_a_word_of_the_language(text: str) -> None:
    statements = check(text, str(ROOT / "specs/some.rec"), read=READ).whole.statements
    defined = {name for statement in statements for name in names(statement)}
    for role, start, end in stretches(text):
        if role in (Role.NAME, Role.BLOCK_NAME):
            assert text[start:end] in defined


def names(statement: nodes.Statement) -> set[str]:
    match statement:
        case nodes.Param(name=name):
            return {name.text}
        case nodes.Block(name=name, body=body):
            inner = {word for one in body for word in names(one)}
            return inner | ({name.text} if name else set())
    return set()


def test_the_words_of_the_first_spec_have_the_roles_that_a_reader_expects() -> None:
    text = (ROOT / "tests/language/corpus/ioi.rec").read_text(encoding="utf-8")
    found: dict[Role, set[str]] = {role: set() for role in Role}
    for role, start, end in stretches(text):
        found[role].add(text[start:end])
    assert found[Role.STATEMENT] == {"recoverdsl", "audit", "expect"}
    assert found[Role.LINK] == {"like"}
    assert found[Role.OPERATOR_WORD] == {"at", "except"}
    assert found[Role.BLOCK] == {
        "model", "sae", "data", "behavior", "protect", "intervene", "attack", "control", "measure",
    }  # fmt: skip
    assert found[Role.BLOCK_NAME] == {
        "smollm2", "mid", "prompts", "ranking_prompts", "names_the_recipient", "ioi_features", "clamp",
        "unconstrained", "projected", "noise",
    }  # fmt: skip
    assert found[Role.NAME] == {
        "smollm2", "mid", "ranking_prompts", "names_the_recipient", "ioi_features", "projected", "noise",
    }  # fmt: skip
    assert found[Role.KEY] == {
        "from", "file", "sha256", "reads", "prompts", "seed", "rows", "score", "holds", "in", "select", "by",
        "set", "to", "when", "at", "perturb", "maximize", "steps", "with", "lr", "limit",
        "preserve", "find", "within", "of", "over",
    }  # fmt: skip
    assert found[Role.FUNCTION] == {
        "pypi", "folder", "template", "logit", "top", "attribution", "adam", "orthogonal",
        "smallest_norm", "wilson", "bootstrap",
    }  # fmt: skip
    assert found[Role.METRIC] == {
        "recovery_rate", "zero_reactivation_recovery", "drift", "activation_drift",
        "reactivated_fraction", "relative_norm", "smallest_norm",
    }  # fmt: skip
    assert found[Role.WORD] == {
        "layers", "output", "last_token", "score", "active", "every_token", "first", "norm",
        "random_direction",
    }  # fmt: skip
    assert found[Role.COLUMN] == {"{io}", "{s}"}
    assert found[Role.UNIT] == {"%"}
    assert found[Role.MISTAKE] == set()


def test_a_mistyped_word_looks_like_any_name() -> None:
    def role(text: str) -> Role:
        return next(stretches(text))[0]

    assert (role("maximize = x"), role("maximise = x")) == (Role.KEY, Role.NAME)
    assert (role("adam(1)"), role("adm(1)")) == (Role.FUNCTION, Role.NAME)
    assert (role("attack a {"), role("atack a {")) == (Role.BLOCK, Role.NAME)
    assert (role("last_token"), role("lst_token")) == (Role.WORD, Role.NAME)
    assert (role("with = x"), role("in 1..2")) == (Role.KEY, Role.OPERATOR_WORD)


# --- Pygments ---------------------------------------------------------------------------------


@settings(deadline=None)
@given(anything)
def test_the_tokens_of_any_text_are_the_text(text: str) -> None:
    tokens = list(RecLexer().get_tokens_unprocessed(text))
    assert "".join(value for _, _, value in tokens) == text
    assert all(value and text.startswith(value, at) for at, _, value in tokens)


@by_name
def test_a_valid_spec_has_no_error_tokens(text: str) -> None:
    assert Error not in {kind for _, kind, _ in RecLexer().get_tokens_unprocessed(text)}


def test_an_invalid_character_is_an_error_token() -> None:
    for text in ("x = $", 'x = "open\n', "x = 5 & 3"):
        assert Error in {kind for _, kind, _ in RecLexer().get_tokens_unprocessed(text)}


def test_pygments_finds_the_lexer() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["pygments.lexers"]["recoverdsl"].partition(":")
    assert getattr(import_module(module), name) is RecLexer
    assert RecLexer.analyse_text(IOI) == RecLexer.analyse_text("# a\n\n" + IOI) == 1
    assert RecLexer.analyse_text("recoverdsl = 1") == 0


# --- TextMate ---------------------------------------------------------------------------------


def test_the_grammar_is_up_to_date() -> None:
    assert GRAMMAR.read_text("utf-8") == textmate.grammar(), "run `make generated`"


def test_every_role_has_a_token_and_a_scope_of_its_own() -> None:
    assert {*TOKENS} == {*textmate.SCOPES} == {*Role}
    assert len({*textmate.SCOPES.values()}) == len(Role)


def agree(text: str) -> bool:
    expected = [
        (textmate.SCOPES[role], start, end)
        for role, start, end in stretches(text)
        if role is not Role.SPACE
    ]
    return [*textmate_stretches(GRAMMAR.read_text("utf-8"), text)] == expected


@by_name
def test_an_editor_sees_the_same_stretches(text: str) -> None:
    assert agree(text)


@settings(deadline=None)
@given(st.lists(pieces, max_size=30).map("".join))
def test_an_editor_sees_the_same_stretches_of_broken_texts(text: str) -> None:
    assert agree(text)
