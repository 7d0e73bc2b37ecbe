"""What a file imports stands in it as if it were written there, and is wrong where it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from recoverdsl.language import (
    Checked,
    Reader,
    check,
    check_file,
    digest,
    effective_text,
    format_text,
    render_text,
)
from recoverdsl.language.syntax.grammar import LONGEST
from tests.language.texts import IOI
from tests.run.commands import cli

SHARED = IOI[: IOI.index("attack unconstrained")]
"""Model, SAE, data, behavior, features and clamp."""
OWN = IOI[IOI.index("attack unconstrained") :]


def files(folder: Path, texts: Mapping[str, str]) -> Path:
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder / next(iter(texts))


def said(checked: Checked) -> list[tuple[str, str, int]]:
    return [(d.code, Path(d.file).name, d.span.line) for d in checked.diagnostics]


@pytest.mark.parametrize(
    "statement", ['import "shared.rec"', 'import clamp, prompts from "shared.rec"']
)
def test_it_means_the_same_as_what_it_imports_written_out(tmp_path: Path, statement: str) -> None:
    audit = IOI[IOI.index("audit ") : IOI.index("model ")]
    own = files(
        tmp_path, {"own.rec": f"recoverdsl 1\n{audit}\n{statement}\n{OWN}", "shared.rec": SHARED}
    )
    checked = check_file(own)
    assert said(checked) == said(check(IOI))
    assert digest(checked.spec) == digest(check(IOI).spec)
    # Written out, it is one file that means the same.
    text = effective_text(checked, {})
    assert "import" not in text
    assert digest(check(text).spec) == digest(check(IOI).spec)
    assert format_text(text) == text


def test_what_names_need_comes_with_them_and_nothing_else(tmp_path: Path) -> None:
    other = '\nmodel other { from = folder("m") }\nsae lonely { from = folder("s"); reads = other.layers[0].output }\n'
    own = files(
        tmp_path,
        {"own.rec": 'recoverdsl 1\nimport clamp from "shared.rec"\n', "shared.rec": SHARED + other},
    )
    spec = check_file(own).spec
    assert spec is not None
    assert list(spec.models) == ["smollm2"]
    assert list(spec.saes) == ["mid"]
    assert list(spec.intervenes) == ["clamp"]
    # Attribution ranks by a behavior, over data that is like other data; nothing needs the rest.
    assert list(spec.behaviors) == ["names_the_recipient"]
    assert list(spec.data) == ["prompts", "ranking_prompts"]


def test_what_is_done_with_a_spec_stays_with_it(tmp_path: Path) -> None:
    own = files(
        tmp_path,
        {
            "own.rec": 'recoverdsl 1\nimport "ioi.rec"\n',
            "ioi.rec": IOI + "sweep s { projected.steps = [1, 2] }\n",
        },
    )
    checked = check_file(own)
    assert checked.spec is not None
    assert set(checked.spec.attacks) == {"unconstrained", "projected"}
    assert checked.spec.audit is None
    assert not checked.spec.measures and not checked.spec.expects and not checked.points


def test_params_are_imported_and_set(tmp_path: Path) -> None:
    shared = SHARED.replace("to   = -5.0", "to   = low").replace(
        "audit ", "param low = -5 in -9..0\naudit "
    )
    own = files(
        tmp_path,
        {"own.rec": 'recoverdsl 1\nimport clamp from "shared.rec"\n', "shared.rec": shared},
    )
    for overrides, value in (({}, -5.0), ({"low": "-2"}, -2.0), ({"clamp.to": "-1"}, -1.0)):
        spec = check_file(own, overrides=overrides).spec
        assert spec is not None
        assert spec.intervenes["clamp"].to.value == value  # type: ignore[union-attr]
    (wrong,) = check_file(own, overrides={"low": "3"}).diagnostics
    assert (wrong.code, wrong.file) == ("REC302", "--set")


def test_two_ways_to_one_file_are_no_clash(tmp_path: Path) -> None:
    own = files(
        tmp_path,
        {
            "own.rec": 'recoverdsl 1\nimport "a.rec"\nimport "b.rec"\n',
            "a.rec": 'recoverdsl 1\nimport mid from "shared.rec"\n',
            "b.rec": 'recoverdsl 1\nimport "shared.rec"\n',
            "shared.rec": SHARED,
        },
    )
    checked = check_file(own)
    assert said(checked) == []
    assert checked.spec is not None and list(checked.spec.saes) == ["mid"]


# --- Mistakes ---


def test_a_clash_names_both_places(tmp_path: Path) -> None:
    own = files(
        tmp_path,
        {
            "own.rec": 'recoverdsl 1\nimport "shared.rec"\n\nmodel smollm2 { from = folder("m") }\n',
            "shared.rec": SHARED,
        },
    )
    (clash,) = check_file(own).diagnostics
    assert (clash.code, clash.span.line) == ("REC207", 4)
    first = SHARED[: SHARED.index("model smollm2")].count("\n") + 1
    assert f"::: {tmp_path / 'shared.rec'}:{first}:1" in render_text(clash)
    assert "model smollm2 {" in render_text(clash).split(":::")[1]


def test_a_mistake_is_said_where_it_is_written(tmp_path: Path) -> None:
    shared = SHARED.replace("dtype", "dtpe").replace("holds = score > 0", "holds = score >")
    own = files(
        tmp_path, {"own.rec": f'recoverdsl 1\nimport "shared.rec"\n{OWN}', "shared.rec": shared}
    )
    mistakes = check_file(own).errors
    assert {Path(d.file).name for d in mistakes} == {"shared.rec"}
    for d in mistakes:
        assert shared.split("\n")[d.span.line - 1] == d.line(d.span)
        # Editing this file would not mend it.
        assert d.fix == ()


def test_what_an_imported_file_may_have_defined_is_not_missing(tmp_path: Path) -> None:
    broken = SHARED.replace("sae mid {", "sae mid = {")
    own = files(
        tmp_path,
        {
            "own.rec": f'recoverdsl 1\nimport mid, names_the_recipient, clamp from "shared.rec"\n{OWN}',
            "shared.rec": broken,
        },
    )
    assert {name for _, name, _ in said(check_file(own))} == {"shared.rec"}


def test_an_imported_file_has_its_version_too(tmp_path: Path) -> None:
    own = files(
        tmp_path,
        {
            "own.rec": 'recoverdsl 1\nimport "shared.rec"\n',
            "shared.rec": SHARED.replace("recoverdsl 1", "", 1),
        },
    )
    assert said(check_file(own))[0][:2] == ("REC112", "shared.rec")


def test_a_name_that_the_file_does_not_have(tmp_path: Path) -> None:
    own = files(
        tmp_path, {"own.rec": 'recoverdsl 1\nimport clmp from "shared.rec"\n', "shared.rec": SHARED}
    )
    (unknown,) = check_file(own).diagnostics
    assert unknown.code == "REC205"
    assert unknown.help == "did you mean `clamp`?"
    assert [e.text for e in unknown.fix] == ["clamp"]


def test_circles_through_files_are_told_once(tmp_path: Path) -> None:
    own = files(
        tmp_path,
        {
            "own.rec": 'recoverdsl 1\nimport "a.rec"\nimport "b.rec"\n',
            "a.rec": 'recoverdsl 1\nimport "b.rec"\n',
            "b.rec": 'recoverdsl 1\nimport "a.rec"\n',
        },
    )
    circles = check_file(own).diagnostics
    assert {d.code for d in circles} == {"REC216"}
    assert "a.rec imports b.rec imports a.rec" in [d.message for d in circles]


@pytest.mark.parametrize(
    "name",
    ["../shared.rec", "sub/shared.rec", ".rec", "shared.txt", "/etc/passwd", "a\\\\b.rec", ""],
)
def test_only_a_file_beside_can_be_imported(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    for place in (
        tmp_path.parent / "shared.rec",
        tmp_path / "sub" / "shared.rec",
        tmp_path / "shared.txt",
    ):
        place.write_text(SHARED)
    own = files(tmp_path, {"own.rec": f'recoverdsl 1\nimport "{name}"\n'})
    assert [d.code for d in check_file(own).diagnostics] == ["REC215"]


def test_a_link_out_of_the_folder_is_no_file_beside(tmp_path: Path) -> None:
    folder = tmp_path / "specs"
    folder.mkdir()
    (tmp_path / "secret").write_text("not yours")
    (folder / "link.rec").symlink_to(tmp_path / "secret")
    own = files(folder, {"own.rec": 'recoverdsl 1\nimport "link.rec"\n'})
    (refused,) = check_file(own).diagnostics
    assert refused.code == "REC215"
    assert "not yours" not in render_text(refused)


def test_a_text_without_a_place_imports_nothing() -> None:
    (refused,) = check('recoverdsl 1\nimport "shared.rec"\n').diagnostics
    assert refused.code == "REC215"
    assert refused.why == "this text is no file, so there is nothing beside it"


def test_names_are_found_in_the_file_where_they_are_given(tmp_path: Path) -> None:
    own = files(
        tmp_path, {"own.rec": f'recoverdsl 1\nimport "shared.rec"\n{OWN}', "shared.rec": SHARED}
    )
    index = check_file(own).index
    text = own.read_text()
    found = index.at(text.index("mid at last_token"))
    assert found is not None
    (definition,) = index.definitions[found[0]]
    assert definition.place.file == str(tmp_path / "shared.rec")
    assert SHARED[definition.place.span.start : definition.place.span.end] == "mid"
    assert {place.file for place in index.places(found[0])} == {
        str(own),
        str(tmp_path / "shared.rec"),
    }


def reading(files: dict[str, str]) -> Reader:
    return files.get


def test_what_cannot_be_right_in_an_imported_file_is_told() -> None:
    broken = "recoverdsl 1\nmodle { from = 3 }\nsteps = 3\nbudget { steps = 3 }\n"
    found = check('recoverdsl 1\nimport "b.rec"\n', "a.rec", read=reading({"b.rec": broken}))
    assert {(d.file, d.code) for d in found.errors} >= {
        ("b.rec", "REC201"), ("b.rec", "REC213"), ("b.rec", "REC214"),
    }  # fmt: skip
    assert all(d.fix == () for d in found.errors)


def test_many_ways_to_one_file_are_read_once() -> None:
    files = {
        f"f{i}.rec": f'recoverdsl 1\nimport "f{i + 1}.rec"\nimport "f{i + 1}.rec"\n'
        for i in range(25)
    }
    files["f25.rec"] = "recoverdsl 1\nparam k = 2\n"
    found = check('recoverdsl 1\nimport "f0.rec"\n', "a.rec", read=reading(files))
    assert found.errors == ()
    assert found.spec is not None
    assert set(found.spec.params) == {"k"}


def test_a_long_chain_is_refused() -> None:
    files = {f"f{i}.rec": f'recoverdsl 1\nimport "f{i + 1}.rec"\n' for i in range(2000)}
    found = check('recoverdsl 1\nimport "f0.rec"\n', "a.rec", read=reading(files))
    assert [d.code for d in found.errors] == ["REC106"]


@pytest.mark.parametrize(
    ("content", "code"), [("", "REC112"), (b"\xff", "REC107"), ("a" * (LONGEST + 1), "REC108")]
)
def test_a_file_that_cannot_be_read_is_told_where_it_is(content: str | bytes, code: str) -> None:
    text = 'recoverdsl 1\nimport k from "b.rec"\n'
    found = check(text, "a.rec", read={"b.rec": content}.get)
    (there,) = [d for d in found.errors if d.file == "b.rec"]
    assert (there.code, there.span.line) == (code, 1)
    assert len(found.errors) == (2 if content == "" else 1)


def test_a_name_that_no_file_can_have_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.rec").write_text(f'recoverdsl 1\nimport "{"a" * 300}.rec"\n')
    assert [d.code for d in check_file(tmp_path / "a.rec").errors] == ["REC215"]


def test_a_file_that_several_import_is_wrong_once(tmp_path: Path) -> None:
    (tmp_path / "lib.rec").write_text("recoverdsl 1\nmodle m { from = 3 }\n")
    for name in ("a", "b"):
        (tmp_path / f"{name}.rec").write_text('recoverdsl 1\nimport "lib.rec"\n')
    done = cli("check", tmp_path, "--format", "json")
    assert done.code == 2
    assert [d["code"] for d in json.loads(done.out)].count("REC201") == 1
