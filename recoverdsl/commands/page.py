"""The page of the commands, `docs/commands.md`, made from the commands themselves.

`python -m recoverdsl.commands.page FILE` writes it; `make generated` knows its place.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from recoverdsl.commands.app import app
from recoverdsl.commands.command import HELP_WIDTH
from recoverdsl.errors import EXIT_CODES

_HEAD = """\
<!-- Made by `make generated` from the commands themselves: change them, not this page. -->

# Commands

`recoverdsl COMMAND --help` says the same.

"""

_MORE = """
## The one style

`recoverdsl fmt` knows one style and no options.

- Two columns of indentation, one statement a line, lines of 100 columns where that can be had, one newline at the end.
- The `=` of attributes on neighbouring lines stand below each other, and so do the comments behind neighbouring lines. A comment stays where it is: above, behind or inside what it is about.
- Empty lines stay, one at a time. One stands around every block of several lines; a block that was written on one line stays on it while it fits.
- A value that does not fit is broken between its own brackets, one item a line with a comma behind each; a condition or a sum between brackets that are put around it, at its operators. A long list of numbers fills its lines.
- Brackets that say nothing go; `\\u00e9` in a text becomes é, and what cannot be seen is written as `\\u…`.

## Colours

Commands write in colour on a terminal, and never into a pipe or a file. `--color always` and `--color never`, before or behind the command, decide otherwise; without them `NO_COLOR` (if not empty) turns colours off, and `FORCE_COLOR` (if not empty) turns them on where there is no terminal. No meaning is in a colour alone.

## Completion

`recoverdsl completion bash`, `zsh` or `fish` prints a script that completes commands, options, specs, the paths of `--set` (`projected.steps=`), and the SAEs that `recoverdsl new` can name.
"""


def page() -> str:
    """The page, as Markdown."""
    return "".join(_parts())


def _parts() -> Iterator[str]:
    yield _HEAD
    yield "| command | what it does |\n|:--|:--|\n"
    for name, command in app.commands.items():
        yield f"| [`{name}`](#{name}) | {command.get_short_help_str(limit=200)} |\n"
    yield "\n## Exit codes\n\nThey are the same for every command, and stable.\n\n| code | meaning |\n|:--|:--|\n"
    for code, meaning in EXIT_CODES.items():
        yield f"| {code} | {meaning} |\n"
    yield _MORE
    context = click.Context(app, info_name="recoverdsl", terminal_width=HELP_WIDTH)
    for name, command in app.commands.items():
        inner = click.Context(command, info_name=name, parent=context, terminal_width=HELP_WIDTH)
        yield f"\n## {name}\n\n```\n{command.get_help(inner)}\n```\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8", newline="\n")
