"""Completion: the values offered, and their use by the shells themselves."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from recoverdsl.commands.app import app
from recoverdsl.commands.completion import SHELLS, VARIABLE, Lines
from recoverdsl.language import check_file
from tests.commands.terminals import ROOT
from tests.run.commands import cli

IOI = ROOT / "specs/ioi.rec"
FULL = ROOT / "tests/language/full.rec"
EXAMPLES = ROOT / "recoverdsl" / "language" / "examples.rec"


Offered = Callable[[str], list[str]]


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Offered:
    def offered(line: str) -> list[str]:
        """Return what is offered at the end of a line, without help; the kind, if left to the shell."""
        monkeypatch.setenv("COMP_LINE", line)
        said = Lines(app, {}, "recoverdsl", VARIABLE).complete()
        rows = [row.split("\t") for row in said.splitlines()]
        assert all(len(row) == 3 for row in rows)
        return [value if kind == "plain" else f"<{kind}>" for kind, value, _ in rows]

    return offered


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("recoverdsl che", ["check"]),
        ("recoverdsl completion ", ["bash", "zsh", "fish"]),
        ("recoverdsl check ", ["<spec>"]),
        ("recoverdsl check a.rec b", ["<spec>"]),
        ("recoverdsl fmt --check ", ["<spec>"]),
        ("recoverdsl new ", ["<spec>"]),
        ("recoverdsl check --format ", ["text", "json", "sarif"]),
        ("recoverdsl check --format=j", ["--format=json"]),
        ("recoverdsl graph x.rec --format d", ["dot"]),
        ("recoverdsl run x.rec --out ", ["<dir>"]),
        ("recoverdsl run x.rec --device c", ["cpu", "cuda"]),
        ("recoverdsl run x.rec --re", ["--reveal"]),
        ("recoverdsl --color ", ["auto", "always", "never"]),
        ("recoverdsl new x.rec --kind ", ["scores", "refusal"]),
        ("recoverdsl new x.rec --model ", ["huggingface:", "folder:"]),
        ("recoverdsl new x.rec --sae rel", ["release:"]),
        ("recoverdsl new x.rec --sae release:gpt2-small-mlp-t", ["release:gpt2-small-mlp-tm/"]),
        ("recoverdsl new x.rec --sae release:gpt2-small-res-jb/blocks.8", ["release:gpt2-small-res-jb/blocks.8.hook_resid_pre"]),
        ("recoverdsl new x.rec --sae release:nowhere/", []),
        (f"recoverdsl new x.rec --sae folder:{ROOT}/spe", [f"folder:{ROOT}/specs/"]),
        (f"recoverdsl run {IOI} --set pro", ["prompts.", "projected."]),
        (f"recoverdsl run {IOI} --set projected.st", ["projected.steps=", "projected.stop="]),
        (f"recoverdsl run {IOI} --set=projected.ste", ["--set=projected.steps="]),
        (f"recoverdsl check {IOI} --set measure.dr", ["measure.drift="]),
        (f"recoverdsl plan {IOI} --set strong.when=", ["strong.when=active", "strong.when=always"]),
        (f"recoverdsl run {IOI} --set noise.of=", ["noise.of=projected", "noise.of=on_gentle", "noise.of=preference"]),
        (f"recoverdsl run {ROOT}/specs/budgets.rec --set strong.wh", ["strong.when="]),
        (f"recoverdsl run {EXAMPLES} --set random_draws=", ["random_draws=1", "random_draws=3", "random_draws=10"]),
        (f"recoverdsl run {FULL} --set la", ["layer=", "late."]),
        (f"recoverdsl run {FULL} --set recover.opening.s", ["recover.opening.steps="]),
        (f"recoverdsl run {FULL} --set requests.chat=", ["requests.chat=true", "requests.chat=false"]),
        ("recoverdsl run nowhere.rec --set ", []),
        ("recoverdsl run --set ", []),
        ("recoverdsl run 'a file.rec' --set 'clamp.to=3' --set \"", []),
    ],
)  # fmt: skip
def test_what_is_offered(offered: Offered, line: str, expected: list[str]) -> None:
    assert offered(line) == expected


def test_every_path_that_is_offered_is_one_that_set_takes(offered: Offered) -> None:
    begun, paths = [""], []
    while begun:
        here = begun.pop()
        for value in offered(f"recoverdsl run {FULL} --set {here}"):
            (begun if value.endswith(".") else paths).append(value)
    assert len(paths) > 100
    for i in range(0, len(paths), 40):
        # Nothing takes this value, but a path that is wrong would be reported in its place.
        overrides = {path.removesuffix("="): "[[]]" for path in paths[i : i + 40]}
        found = check_file(FULL, overrides=overrides).diagnostics
        assert found and not {d.code for d in found} & {"REC109", "REC202", "REC212"}


# --- The shells -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with `recoverdsl` on its path, the shells' scripts, and a folder of specs."""
    home = tmp_path_factory.mktemp("home")
    program = home / "bin/recoverdsl"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH="{ROOT}"; export PYTHONPATH\nexec "{sys.executable}" -m recoverdsl.cli "$@"\n'
    )
    program.chmod(0o755)
    for shell in SHELLS:
        (home / f"completion.{shell}").write_text(cli("completion", shell).out)
    for name in ("work/ioi.rec", "work/my specs/two.rec", "work/my specs/notes.txt"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(IOI, home / name)
    return home


TYPED = [
    ("recoverdsl che", "recoverdsl check "),
    ("recoverdsl check my", r"recoverdsl check my\ specs/"),
    (r"recoverdsl check my\ specs/", r"recoverdsl check my\ specs/two.rec "),
    ("recoverdsl graph ioi.rec --format=merm", "recoverdsl graph ioi.rec --format=mermaid "),
    ("recoverdsl run ioi.rec --set projected.ste", "recoverdsl run ioi.rec --set projected.steps="),
    ("recoverdsl run ioi.rec --set strong.when=ac", "recoverdsl run ioi.rec --set strong.when=active "),
    ("recoverdsl new x.rec --sae release:gpt2-small-mlp-t", "recoverdsl new x.rec --sae release:gpt2-small-mlp-tm/"),
]  # fmt: skip


def environment(place: Path) -> dict[str, str]:
    path = f"{place / 'bin'}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(place), "TERM": "dumb", "LANG": "C.UTF-8", "PS1": "$ "}


INTERACTIVE = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "bind 'set bell-style none'; source ~/completion.bash"),
    "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -u -d ~/.compdump; source ~/completion.zsh"),
}  # fmt: skip
PRESENT = [shell for shell in INTERACTIVE if shutil.which(shell)]
"""bash is always tested, the other shells where they are installed."""


@pytest.mark.parametrize("shell", PRESENT)
def test_a_shell_completes_what_is_typed(place: Path, shell: str) -> None:
    words, setup = INTERACTIVE[shell]
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        words, cwd=place / "work", env=environment(place), start_new_session=True,
        stdin=follower, stdout=follower, stderr=follower,
    )  # fmt: skip
    os.close(follower)
    try:
        # The quotes keep the echo of the command from being taken for its output.
        os.write(leader, f"{setup}; echo RE''ADY\r".encode())
        assert until(leader, "READY\r")
        for typed, completed in TYPED:
            os.write(leader, f"{typed}\t".encode())
            assert until(leader, completed), f"{shell}: {typed!r} did not become {completed!r}"
            # Ctrl-U: the line is emptied.
            os.write(leader, b"\x15")
    finally:
        process.kill()
        process.wait()
        os.close(leader)


def until(leader: int, expected: str, seconds: float = 60) -> bool:
    """Tell whether a text appears on a terminal."""
    said, end = "", time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([leader], [], [], 0.2)[0]:
            said += os.read(leader, 1 << 16).decode(errors="replace")
            if expected in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said):
                return True
    return False


@pytest.mark.parametrize("shell", [shell for shell in ["fish"] if shutil.which(shell)])
def test_fish_completes_what_is_typed(place: Path, shell: str) -> None:
    for typed, completed in TYPED:
        done = subprocess.run(
            [shell, "--no-config", "-c", f"source ~/completion.fish; complete -C '{typed}'"],
            cwd=place / "work", env=environment(place), capture_output=True, text=True,
        )  # fmt: skip
        # fish prints the word that it would put in place of the last one, unquoted, and its help.
        words = {line.partition("\t")[0] for line in done.stdout.splitlines()}
        assert completed.replace("\\ ", "\0").strip().split()[-1].replace("\0", " ") in words, done
        assert not any(word.endswith(".txt") for word in words)


def test_the_scripts_are_shell() -> None:
    for shell in PRESENT:
        script = ROOT / f"recoverdsl/commands/shells/completion.{shell}"
        subprocess.run([shell, "-n", script], check=True)
