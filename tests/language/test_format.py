"""The one style: golden pairs, and what holds of every text however it is laid out."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

import recoverdsl.language as language
from recoverdsl.errors import BugError
from recoverdsl.language import format_text, parse, print_tree
from recoverdsl.language.format.line_wrapping import WIDTH
from recoverdsl.language.syntax.grammar import lexed
from recoverdsl.language.syntax.nodes import Comment, Span, Tree
from tests.language.texts import FULL, HERE, IOI, SMALL

ROOT = HERE.parents[1]
PAIRS = sorted((HERE / "format").glob("*.in"))
SPECS = sorted((ROOT / "specs").glob("*.rec"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def read(path: Path) -> str:
    return path.read_bytes().decode()


@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_golden_pairs(path: Path) -> None:
    assert format_text(read(path)) == read(path.with_suffix(".out"))


@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_what_is_formatted_stays_as_it_is(path: Path) -> None:
    formatted = read(path.with_suffix(".out"))
    assert format_text(formatted) == formatted


@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_line_ends_and_a_byte_order_mark_make_no_difference(path: Path) -> None:
    windows = b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n")
    assert format_text(windows) == read(path.with_suffix(".out"))


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_the_specs_that_ship_are_formatted(path: Path) -> None:
    assert format_text(path.read_bytes()) == read(path)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_specs_in_the_documentation_are_formatted(path: Path) -> None:
    for shown in re.findall(r"^```rec\n(.*?)^```", read(path), re.MULTILINE | re.DOTALL):
        assert format_text(shown) == shown


# --- However it is laid out -------------------------------------------------------------------

TEXTS = [SMALL, IOI, FULL, *map(read, SPECS), *map(read, PAIRS)]
OPENING, CLOSING = ("(", "["), (")", "]")


@st.composite
def laid_out(draw: st.DrawFn, comments: bool) -> tuple[str, str]:
    """A text, and the same with its spaces, line ends and comments put anywhere they may be."""
    text = draw(st.sampled_from(TEXTS))
    random = draw(st.randoms(use_true_random=False))
    out: list[str] = []
    depth = 0
    tokens = [t for t in lexed(text) if t.type not in ("SPACE", "COMMENT")]

    def comment(chance: float) -> str:
        return f" # {len(out)} [" if comments and random.random() < chance else ""

    for i, token in enumerate(tokens):
        depth += (token.value in OPENING) - (token.value in CLOSING)
        if token.type == "NEWLINE" and not depth:
            note = comment(0.15)
            ends = ["\n", "\r\n", "\n\n", "\n \n\n   ", f"\n{comment(0.5)}\n", "; "]
            out += [note, random.choice(ends[:-1] if note or not out else ends)]
        elif token.type != "NEWLINE":
            out.append(token.value)
            # A word of the language is a name only directly before the `=`.
            before_equals = tokens[i + 1 : i + 2] and tokens[i + 1].value == "="
            if depth and not before_equals and random.random() < 0.15:
                out += [comment(0.5), random.choice(["\n", "\n    ", "\r\n"])]
            elif token.value in ("{", "}") and random.random() < 0.1:
                out += [comment(0.5), "\n"]
            else:
                out.append(random.choice([" ", " ", "\t", "   "]))
    return text, "".join(out)


@settings(max_examples=100, deadline=None)
@given(laid_out(comments=True))
def test_any_layout_keeps_its_meaning_and_its_comments_and_then_stays(
    texts: tuple[str, str],
) -> None:
    tree, mistakes = parse(texts[1])
    assert not mistakes
    formatted = print_tree(tree)
    again = parse(formatted)
    assert again == (tree, ())
    assert print_tree(again[0]) == formatted
    assert_tidy(formatted)


def assert_tidy(formatted: str) -> None:
    lines = formatted.split("\n")
    assert lines.pop() == ""
    assert "" not in lines[:1] + lines[-1:]
    for before, line in pairwise(lines):
        assert line == line.rstrip() and "\r" not in line and "\t" not in line
        assert line or (before and not before.endswith("{"))
        assert before or line.strip() != "}"
    for line in lines:
        code = re.sub(r'#[^"]*$', "", line).rstrip()
        # A text in quotes cannot be broken.
        assert len(code) <= WIDTH or '"' in code


@settings(max_examples=40, deadline=None)
@given(laid_out(comments=False))
def test_nothing_of_the_layout_is_left_but_empty_lines_and_blocks_of_one_line(
    texts: tuple[str, str],
) -> None:
    ours, theirs = (print_tree(evolve(parse(text)[0], comments=())) for text in texts)
    # Next to other lines a value may have less room, and then be broken.
    assert re.sub(r"[\s;,()]", "", ours) == re.sub(r"[\s;,()]", "", theirs)


def test_deeply_nested_values_are_broken_without_delay() -> None:
    # Three ways to break each operand would be 3^18 in all, if they were all tried.
    name = "q" * 85
    for operator in ("at", "*", "and", "except"):
        text = "x = " + f"{name} {operator} f(" * 18 + "y" + ")" * 18 + "\n"
        formatted = format_text(text)
        assert format_text(formatted) == formatted


# --- The proof --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", ["recoverdsl 1\n", "recoverdsl 1\na = 2  # why\n", "recoverdsl 1\na = 1\n", "a = (\n"]
)
def test_a_printer_that_changes_the_spec_is_caught(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setattr(language, "print_tree", lambda tree: wrong)
    with pytest.raises(BugError, match="bug in recoverdsl"):
        format_text("recoverdsl 1\na = 1 # why\n")


def test_trees_that_differ_in_a_comment_differ() -> None:
    span = Span(0, 1, 1, 1, 1, 2)
    assert Tree((), (Comment("# a", span=span),)) != Tree((), (Comment("# b", span=span),))


@pytest.mark.parametrize("word", ["from", "like", "at", "of"])
def test_a_word_of_the_language_before_a_second_equals_is_no_name_to_be_printed(word: str) -> None:
    """What is read in place of `=` has to be read again as it is printed."""
    for text in (f"b = c at {word} = 3", f"b = c < {word} = 3"):
        tree, diagnostics = parse(f"recoverdsl 1\n\ndata a {{\n  {text}\n}}\n")
        assert diagnostics or parse(print_tree(tree))[0] == tree
