"""One broken spec and its expected text for each code, and what holds for all diagnostics."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from recoverdsl.errors import SpecError, UsageError
from recoverdsl.language import (
    CODES,
    beside,
    check,
    check_file,
    load_spec,
    render_json,
    render_text,
)
from tests.language.fixing import unfixed
from tests.language.texts import DIAGNOSTICS, FULL, IOI, SMALL

BROKEN = sorted(DIAGNOSTICS.glob("*.rec"))
ELSEWHERE = {"REC107", "REC108", "REC109"}
"""Codes of files that are not kept as fixtures."""


def codes(text: str | bytes) -> list[str]:
    return [d.code for d in check(text).diagnostics]


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_broken_spec_is_explained(path: Path) -> None:
    checked = check(path.read_text(encoding="utf-8"), path.name, read=beside(path))
    text = "\n\n".join(render_text(d) for d in checked.diagnostics) + "\n"
    assert text == path.with_suffix(".txt").read_text(encoding="utf-8")
    assert {d.code for d in checked.diagnostics} == {path.stem}


def test_every_code_has_a_broken_spec_and_a_way_to_mend_it() -> None:
    assert {path.stem for path in BROKEN} | ELSEWHERE == set(CODES)
    for path in BROKEN:
        assert "= help: " in path.with_suffix(".txt").read_text(encoding="utf-8"), path.stem


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_fix_takes_its_mistake_away_and_adds_none(path: Path) -> None:
    assert unfixed(path.read_text(encoding="utf-8")) == []


def test_parser_terminals_never_reach_a_user() -> None:
    names = re.compile(
        r"\b(LPAR|RPAR|LSQB|RSQB|LBRACE|RBRACE|NEWLINE|_NL|EQUAL|__ANON\w*|BROKEN|\$END)\b"
    )
    for path in BROKEN:
        for diagnostic in check(path.read_text(encoding="utf-8")).diagnostics:
            assert not names.search(f"{diagnostic.message} {diagnostic.help} {diagnostic.why}")


def test_json_has_places_from_one() -> None:
    (record,) = json.loads(
        render_json(check(SMALL + "expect drit(go) <= 5%\n", "x.rec").diagnostics)
    )
    assert record == {
        "code": "REC210",
        "severity": "error",
        "message": "there is no metric `drit`",
        "why": None,
        "help": "did you mean `drift`?",
        "file": "x.rec",
        "line": 9,
        "column": 8,
        "end_line": 9,
        "end_column": 12,
        "related": [],
        "fix": [{"line": 9, "column": 8, "end_line": 9, "end_column": 12, "text": "drift"}],
    }


def test_mistakes_of_reading_and_of_meaning_come_together() -> None:
    text = (
        SMALL
        + "attack a like go { steps = 1 2 }\nattack b like go {\n  stps = 1\n  limit = norm <=\n}\n"
    )
    assert codes(text) == ["REC101", "REC202", "REC101"]


def test_what_a_broken_statement_defines_is_not_missing() -> None:
    text = SMALL.replace("behavior says {", "behavior says = {")
    assert codes(text) == ["REC120"]
    text = SMALL.replace("behavior says {", "behavior says 3 {")
    assert codes(text) == ["REC120"]


def test_a_block_with_a_broken_attribute_is_not_said_to_lack_it() -> None:
    assert codes(SMALL + 'data more {\n  from = file("x"\n}\n') == ["REC105"]


def test_the_inside_of_a_block_with_a_broken_head_is_checked() -> None:
    text = SMALL + "attack other 3 go {\n  steps = 1 2\n  stop = never\n  with = adam(\n}\n"
    assert codes(text) == ["REC101", "REC101", "REC105"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("attack a like go { steps = 1 } steps\n", ["REC101"]),
        ("x { y {\n", ["REC201", "REC105", "REC105"]),
        ("attack a like go { steps = }\n", ["REC101"]),
        ("}\nattack a like go { stps = 1 }\n", ["REC105", "REC202"]),
        ("attack a like go { steps = 1 } attack b like go { stps = 1 }\n", ["REC104", "REC202"]),
    ],
)
def test_braces_out_of_place(text: str, expected: list[str]) -> None:
    assert codes(SMALL + text) == expected


def test_a_param_cannot_take_the_place_of_a_word() -> None:
    assert codes(SMALL + "param norm = 3\n") == ["REC207"]


def test_an_inherited_mistake_is_reported_once() -> None:
    text = SMALL + "attack a like go { steps = 0 }\nattack b like a { stop = never }\n"
    assert codes(text) == ["REC302"]


@pytest.mark.parametrize(
    ("attribute", "help"),
    [
        ("maximise = says", "did you mean `maximize`?"),
        ("fidn = smallest_norm()", "did you mean `find`?"),
        ("OPTIMIZER = adam()", None),
        ("optimizer = adam()", "did you mean `with`?"),
        ("Steps = 3", "did you mean `steps`?"),
        ("stop = Recovered", "did you mean `recovered`?"),
        ("maximize = SAYS", "did you mean `says`?"),
    ],
)
def test_did_you_mean(attribute: str, help: str | None) -> None:
    (diagnostic,) = check(SMALL + f"attack a like go {{ {attribute} }}\n").diagnostics
    assert help is None or diagnostic.help == help


def test_did_you_mean_keeps_its_distance() -> None:
    (diagnostic,) = check(SMALL + "attack a like go { zz = 1 }\n").diagnostics
    assert diagnostic.help is not None
    assert "did you mean" not in diagnostic.help


def test_control_characters_are_written_out() -> None:
    (diagnostic,) = check(
        SMALL + 'model n { from = folder("a\x1b[31m\u202eb"); dtype = float3 }\n'
    ).diagnostics
    text = render_text(diagnostic)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert r"\x1b[31m\u202e" in text


def test_carets_stand_under_wide_characters() -> None:
    (diagnostic,) = check(SMALL + 'model n { from = folder("模型"); dtype = float3 }\n').diagnostics
    *_, source, marks, _ = render_text(diagnostic).split("\n")
    assert len(marks) - len("float3") == len(source[: source.index("float3")]) + 2
    assert marks.endswith("^^^^^^")


def test_color_only_when_asked() -> None:
    (diagnostic,) = check(SMALL + "expect drit(go) <= 5%\n").diagnostics
    plain, colored = render_text(diagnostic), render_text(diagnostic, color=True)
    assert "\x1b[" not in plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == plain


# --- Files that are hardly specs --------------------------------------------------------------


def test_byte_order_mark_and_carriage_returns_change_nothing() -> None:
    text = "\ufeff" + IOI.replace("\n", "\r\n")
    assert load_spec(text.encode()) == load_spec(IOI)


def test_bytes_that_are_not_utf8() -> None:
    (diagnostic,) = check(SMALL.encode() + b'audit "caf\xe9"\n').diagnostics
    assert (diagnostic.code, diagnostic.span.line, diagnostic.span.column) == ("REC107", 9, 11)
    assert "0xe9" in diagnostic.message


def test_nul_bytes() -> None:
    assert codes(SMALL + "\0\0\0\n") == ["REC103"]
    assert r"\x00" in render_text(check(SMALL + "\0\n").diagnostics[0])


def test_a_file_that_is_too_large() -> None:
    assert codes("#" * (1 << 20)) == ["REC112"]
    assert codes("#" * ((1 << 20) + 1)) == ["REC108"]


def test_too_many_mistakes() -> None:
    found = codes(SMALL + "= \n" * 5000)
    assert len(found) == 101
    assert found.count("REC109") == 1


@pytest.mark.parametrize("text", ["", "\n", "# only a comment", "\ufeff"])
def test_an_empty_file_lacks_its_version(text: str) -> None:
    assert codes(text) == ["REC112"]


@pytest.mark.parametrize(
    "value",
    [
        "(" * 10_000,
        "(" * 10_000 + "1" + ")" * 10_000,
        "[" * 10_000 + "1" + "]" * 10_000,
        "f(" * 10_000 + "1" + ")" * 10_000,
        "- " * 10_000 + "1",
        "not " * 10_000 + "refuses",
        "1 + " * 10_000 + "1",
        "a." * 10_000 + "b",
    ],
    ids=["open", "brackets", "lists", "calls", "minus", "not", "sum", "path"],
)
def test_deep_nesting_is_a_mistake(value: str) -> None:
    found = codes(SMALL + f"param deep = {value}\n")
    assert len(found) <= 101
    assert set(found) <= {"REC106", "REC105", "REC109"}


def test_deep_blocks_are_a_mistake() -> None:
    assert "REC106" in codes(SMALL + "attack a { " * 1000 + "}" * 1000)


def test_long_chains_of_like_are_a_mistake() -> None:
    chain = "".join(f"attack a{i} like a{i - 1} {{ steps = 1 }}\n" for i in range(1, 100))
    assert "REC106" in codes(SMALL + "attack a0 like go { steps = 1 }\n" + chain)


# --- Errors -----------------------------------------------------------------------------------


def test_load_spec_raises_with_every_mistake() -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(SMALL + "expect drit(go) <= 5%\nexpect drift(g) <= 5%\n", file="x.rec")
    assert [d.code for d in caught.value.diagnostics] == ["REC210", "REC205"]
    assert "2 mistakes" in str(caught.value)
    assert caught.value.exit_code == 2


def test_warnings_do_not_keep_a_spec_from_loading() -> None:
    text = SMALL + 'model n { from = huggingface("a/b") }\n'
    assert codes(text) == ["REC403"]
    assert load_spec(text).models["n"].source.repository == "a/b"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        check_file(tmp_path / "none.rec")


def test_load_spec_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "full.rec"
    path.write_text(FULL, encoding="utf-8")
    assert load_spec(path) == load_spec(str(path)) == load_spec(FULL)


def test_json_is_ascii_so_that_any_stream_takes_it() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    stream.write(render_json(check('recoverdsl 1\naudit "é\ud800" 3\n').diagnostics))


@pytest.mark.parametrize(
    ("old", "new", "code", "help"),
    [
        ("smollm2.layers[14].output", "blocks.14.hook_resid_post", "REC123", "write `smollm2.layers[14].output`"),
        ("smollm2.layers[14].output", "blocks.14.hook_resid_pre", "REC123", "write `smollm2.layers[14].input`"),
        ("recovery_rate(projected) <= 5%", "recovery_rate(projected) < recovery_rate(noise)", "REC301",
         "compare each with a number, such as `recovery_rate(projected) < 0.5`"),
        ("  maximize = names_the_recipient\n", "", "REC304", "add `maximize = …`"),
    ],
)  # fmt: skip
def test_what_others_write_is_answered_once_and_in_this_language(
    old: str, new: str, code: str, help: str
) -> None:
    text = IOI.replace(old, new, 1)
    assert text != IOI
    (found,) = check(text).diagnostics
    assert (found.code, found.help) == (code, help)
    if found.fix:
        assert unfixed(text) == []
