"""`recoverdsl fmt`: the files it writes, those it leaves unchanged, and its exit codes."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path

import pytest

import recoverdsl.language as language
from tests.run.commands import Outcome, cli

UNTIDY = 'recoverdsl   1\naudit "x" # why\n'
TIDY = 'recoverdsl 1\naudit "x"  # why\n'
BROKEN = 'recoverdsl 1\naudit "x\n'


@pytest.fixture
def untidy(tmp_path: Path) -> Path:
    return write(tmp_path / "untidy.rec", UNTIDY)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def from_stdin(monkeypatch: pytest.MonkeyPatch, text: str, *options: str) -> Outcome:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    return cli("fmt", "-", *options)


# --- Files ------------------------------------------------------------------------------------


def test_a_spec_is_rewritten_and_named(untidy: Path) -> None:
    done = cli("fmt", untidy)
    assert (done.code, done.out, done.err) == (0, f"{untidy}\n", "1 spec formatted, of 1.\n")
    assert untidy.read_bytes() == TIDY.encode()


def test_what_is_formatted_is_not_written_again(untidy: Path) -> None:
    cli("fmt", untidy)
    before = untidy.stat()
    done = cli("fmt", untidy)
    assert (done.code, done.out) == (0, "")
    after = untidy.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_the_mode_of_a_file_stays(untidy: Path) -> None:
    for mode in (0o600, 0o644, 0o755, 0o664):
        write(untidy, UNTIDY).chmod(mode)
        assert cli("fmt", untidy).code == 0
        assert stat.S_IMODE(untidy.stat().st_mode) == mode
        assert untidy.read_text() == TIDY


def test_a_link_stays_a_link_and_its_target_is_formatted(untidy: Path) -> None:
    inner = untidy.with_name("inner.rec")
    outer = untidy.parent / "folder" / "outer.rec"
    outer.parent.mkdir()
    inner.symlink_to(untidy.name)
    outer.symlink_to(inner)
    assert cli("fmt", outer).code == 0
    assert outer.is_symlink() and inner.is_symlink()
    assert untidy.read_text() == TIDY
    assert sorted(p.name for p in untidy.parent.iterdir()) == ["folder", "inner.rec", "untidy.rec"]


def test_a_file_is_whole_whenever_it_is_read(untidy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    replace = os.replace

    def watched(old: str, new: str) -> None:
        seen.append((Path(old).read_text(), Path(new).read_text()))
        replace(old, new)

    monkeypatch.setattr(os, "replace", watched)
    assert cli("fmt", untidy).code == 0
    assert seen == [(TIDY, UNTIDY)]


def test_folders_are_walked_and_what_is_hidden_is_left_out(tmp_path: Path) -> None:
    for name in ("b.rec", "a/c.rec", "a/.hidden/d.rec", "a/e.txt", ".f.rec"):
        write(tmp_path / name, UNTIDY)
    done = cli("fmt", tmp_path, tmp_path / "b.rec")
    assert done.out.split() == [str(tmp_path / "b.rec"), str(tmp_path / "a/c.rec")]
    assert (tmp_path / "a/e.txt").read_text() == UNTIDY


def test_an_empty_folder_is_a_mistake(tmp_path: Path) -> None:
    done = cli("fmt", tmp_path)
    assert done.code == 2
    assert "expected a spec in this folder, found none" in done.err


# --- --check and --diff -----------------------------------------------------------------------


def test_check_names_what_would_change_and_ends_with_1(untidy: Path) -> None:
    tidy = write(untidy.with_name("tidy.rec"), TIDY)
    done = cli("fmt", "--check", untidy, tidy)
    assert (done.code, done.out) == (1, f"{untidy}\n")
    assert done.err == "1 spec would change, of 2.\n"
    assert untidy.read_text() == UNTIDY
    assert cli("fmt", "--check", tidy).code == 0


def test_a_diff_is_shown_as_patch_reads_it(untidy: Path) -> None:
    write(untidy, UNTIDY.rstrip("\n"))
    done = cli("fmt", "--diff", untidy)
    assert done.code == 0
    assert untidy.read_text() == UNTIDY.rstrip("\n")
    assert done.out.splitlines() == [
        f"--- {untidy}",
        f"+++ {untidy}",
        "@@ -1,2 +1,2 @@",
        "-recoverdsl   1",
        '-audit "x" # why',
        "\\ No newline at end of file",
        "+recoverdsl 1",
        '+audit "x"  # why',
    ]
    write(untidy, TIDY)
    assert cli("fmt", "--diff", "--check", untidy) == Outcome(0, "", "Nothing to change.\n")


def test_a_diff_with_check_ends_with_1(untidy: Path) -> None:
    done = cli("fmt", "--diff", "--check", untidy)
    assert done.code == 1
    assert done.out == f"--- {untidy}\n+++ {untidy}\n@@ -1,2 +1,2 @@\n" + (
        '-recoverdsl   1\n-audit "x" # why\n+recoverdsl 1\n+audit "x"  # why\n'
    )


# --- Standard input ---------------------------------------------------------------------------


def test_standard_input_comes_out_formatted(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (UNTIDY, TIDY, UNTIDY.replace("\n", "\r\n")):
        done = from_stdin(monkeypatch, text)
        assert (done.code, done.out, done.err) == (0, TIDY, "")


def test_standard_input_that_cannot_be_read_prints_no_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    done = from_stdin(monkeypatch, BROKEN)
    assert (done.code, done.out) == (2, "")
    assert "<stdin>:2:7" in done.err


def test_standard_input_is_checked_and_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = from_stdin(monkeypatch, UNTIDY, "--check")
    assert (checked.code, checked.out) == (1, "")
    shown = from_stdin(monkeypatch, UNTIDY, "--diff")
    assert (shown.code, shown.out.splitlines()[0]) == (0, "--- <stdin>")


# --- Errors -----------------------------------------------------------------------------------


def test_a_spec_that_cannot_be_parsed_does_not_stop_the_others(untidy: Path) -> None:
    broken = write(untidy.with_name("broken.rec"), BROKEN)
    nowhere = untidy.with_name("nowhere.rec")
    done = cli("fmt", nowhere, broken, untidy)
    assert (done.code, done.out) == (2, f"{untidy}\n")
    assert f"{nowhere}: the spec cannot be read" in done.err
    assert f"{broken}:2:7" in done.err
    assert broken.read_text() == BROKEN
    assert untidy.read_text() == TIDY
    assert cli("fmt", "--check", broken, untidy).code == 2


def test_bytes_that_are_no_text_are_left_alone(untidy: Path) -> None:
    untidy.write_bytes(b"recoverdsl 1\n# \xff\n")
    done = cli("fmt", untidy)
    assert done.code == 2
    assert "REC107" in done.err
    assert untidy.read_bytes() == b"recoverdsl 1\n# \xff\n"


def test_a_printer_that_is_wrong_writes_nothing(
    untidy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language, "print_tree", lambda tree: "recoverdsl 2\n")
    done = cli("fmt", untidy)
    assert (done.code, done.out) == (3, "")
    assert "this is a bug in recoverdsl" in done.err
    assert untidy.read_text() == UNTIDY


def test_a_disk_that_fails_leaves_the_file_as_it_was(
    untidy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    done = cli("fmt", untidy)
    assert done.code == 3
    assert "No space left on device" in done.err
    assert untidy.read_text() == UNTIDY
    assert [path.name for path in untidy.parent.iterdir()] == ["untidy.rec"]
