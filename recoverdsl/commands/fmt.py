"""`recoverdsl fmt`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path

import click

from recoverdsl.commands import candidates
from recoverdsl.commands.command import Command
from recoverdsl.commands.files import replace, walk
from recoverdsl.commands.terminal import complain, say, shown
from recoverdsl.errors import RecoverdslError

STANDARD_INPUT = Path("-")


@click.command(
    cls=Command,
    examples=[
        ("recoverdsl fmt specs/ioi.rec", "rewrite a spec in the canonical style"),
        ("recoverdsl fmt --check specs", "list the specs of a folder that are not in that style"),
        ("recoverdsl fmt --diff specs/ioi.rec", "show the changes without making them"),
        ("recoverdsl fmt - < specs/ioi.rec", "format standard input to standard output, for an editor"),
    ],
    codes={
        0: "every spec is in the canonical style; with --diff, the changes are shown",
        1: "with --check, a spec would change",
        2: "a spec cannot be parsed or the command is wrong; the other specs are formatted nevertheless",
        3: "a file cannot be written, or a bug was detected; that file is unchanged",
    },
)  # fmt: skip
@click.argument(
    "files",
    metavar="FILE|FOLDER|-…",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    shell_complete=candidates.specs,
)
@click.option("--check", is_flag=True, help="Change nothing; list the specs that would change.")
@click.option("--diff", is_flag=True, help="Change nothing; show the changes.")
def fmt(files: tuple[Path, ...], check: bool, diff: bool) -> int:
    """Rewrite specs in the canonical style. Comments stay where they are.

    The result is parsed again before it is written: a spec that would change its meaning or lose a
    comment is left unchanged. A folder means every `*.rec` in it.
    """
    from recoverdsl.language import format_text

    named = [path for path in files if path != STANDARD_INPUT]
    changed, codes = 0, {0}
    paths = [STANDARD_INPUT] * (len(named) < len(files)) + walk(named)
    for path in paths:
        try:
            before = _read(path)
            after = format_text(before, _name(path)).encode()
            changed += after != before
            if diff:
                for line in _difference(before, after, _name(path)):
                    say(line, sys.stdout)
            elif path == STANDARD_INPUT:
                sys.stdout.write("" if check else after.decode())
            elif after != before:
                if not check:
                    replace(path, after)
                say(shown(str(path), sys.stdout), sys.stdout)
        except RecoverdslError as error:
            complain(error, sys.stderr)
            codes.add(error.exit_code)
    if named:
        say(_summary(changed, len(paths), len(codes) > 1, check or diff), sys.stderr)
    return max(codes) or int(check and changed > 0)


def _name(path: Path) -> str:
    return "<stdin>" if path == STANDARD_INPUT else str(path)


def _read(path: Path) -> bytes:
    from recoverdsl.language import read_file

    return sys.stdin.buffer.read() if path == STANDARD_INPUT else read_file(path)


def _difference(before: bytes, after: bytes, name: str) -> Iterator[str]:
    """Yield a unified diff for `patch`; on a terminal, with control characters made visible."""
    styles = {"+": "green", "-": "red", "@": "cyan"}
    old, new = (_lines(text.decode()) for text in (before, after))
    for line in unified_diff(old, new, name, name):
        body, newline, rest = line.partition("\n")
        text = click.style(shown(body, sys.stdout), fg=styles.get(line[0]))
        yield text + (newline + rest).rstrip("\n")
        if not newline:
            yield r"\ No newline at end of file"


def _lines(text: str) -> list[str]:
    *whole, last = text.split("\n")
    return [f"{line}\n" for line in whole] + [last] * bool(last)


def _summary(changed: int, files: int, failed: bool, only_shown: bool) -> str:
    noun = "1 spec" if changed == 1 else f"{changed} specs"
    said = f"{noun} would change" if only_shown else f"{noun} formatted"
    if not changed and not failed:
        return "Nothing to change."
    return f"{said}, of {files}."
